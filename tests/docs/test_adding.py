"""docs/adding.md, built as the package that it describes and run as its reader would; no file of the product is touched."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from reports.beside.mapping import parse
from rice_core.catalogue import CatalogueRow
from rice_core.cli import main
from rice_core.datasets import open_dataset
from rice_core.errors import UserError
from rice_core.record import Metric
from rice_core.store import Store
from rice_core.world.layouts.coco import write_coco

PAGE = Path(__file__).parents[2] / "docs" / "adding.md"
BLOCKS = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE.read_text(), re.DOTALL | re.MULTILINE))
Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """The package of the page is installed; gives (exit code, stdout, stderr) of a command in an empty folder."""
    for title, body in BLOCKS.items():
        if title.startswith("extras/"):
            path = tmp_path / "site" / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
    told = tomllib.loads(BLOCKS["pyproject.toml"])["project"]
    about = tmp_path / "site" / "extras-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {told['version']}\n")
    points = [
        line
        for group, names in told["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in names.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(points) + "\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def asked(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        code = ended.value.code
        return code if isinstance(code, int) else 0, *capsys.readouterr()

    return asked


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("small") / "coco", seed=7, train=60, val=40)


def metrics(name: str) -> dict[str, Metric]:
    """By encoder, of the store in the current folder."""
    records = Store(Path("ricebench-runs")).records()
    found = {record.cell.encoder.model: record.metric(name) for record in records}
    return {model: metric for model, metric in found.items() if metric is not None}


def test_a_row_of_the_catalogue_is_one() -> None:
    (entry,) = TypeAdapter(tuple[CatalogueRow, ...]).validate_python(tuple(yaml.safe_load(BLOCKS["catalogue.yaml"])))
    assert (entry.source, entry.model, entry.resolution) == ("timm", "vit_base_patch16_224", 224)


def test_a_column_and_a_row_of_a_table_are_ones() -> None:
    (mapping,) = parse(BLOCKS["beside.yaml"])
    assert [column.key for column in mapping.printed.columns if column.key in mapping.columns] == ["coco_det"]
    (row,) = [row for row in mapping.printed.rows if row.key == "siglip"]
    assert "hf:google/siglip-base-patch16-512?res=512" in {spec.shorthand for spec in mapping.specs(row)}
    with pytest.raises(UserError, match="no such column"):
        parse(BLOCKS["beside.yaml"].replace("coco_det:", "coco_dot:"))


def test_a_module_is_an_encoder(ask: Ask, small_set: Path) -> None:
    exec(BLOCKS["measure.py"].replace("FOLDER", str(small_set)), {})
    (record,) = Store(Path("ricebench-runs")).records()
    assert record.cell.encoder.title == "patches"
    assert record.evidence is not None
    assert (record.evidence.dim, record.evidence.patch) == (192, 8)
    assert "patches" in ask("table")[1]


def test_a_probe_is_listed_and_its_controls_land_where_they_must(ask: Ask, small_set: Path) -> None:
    assert "spread" in ask("list", "probes")[1]
    told = ("--data", str(small_set), "--device", "cpu")
    code, _, err = ask("run", "-e", "noise,constant", "-p", "spread?images=8", *told)
    assert code == 0, err
    found = metrics("distance")
    assert found["constant"].value == pytest.approx(0, abs=1e-6)
    assert 0.8 < found["noise"].value < 1  # the mean of 144 independent tokens has 1/12 of the length of one
    assert found["noise"].n == 8
    code, _, err = ask("run", "-e", "noise", "-p", "spread?images=many", *told)
    assert (code, "images=many" in err) == (2, True)


def test_a_metric_has_its_chance_and_its_ceiling(ask: Ask, small_set: Path) -> None:
    code, _, err = ask(
        "run", "-e", "noise,oracle,constant", "-p", "centroid", "--data", str(small_set), "--device", "cpu"
    )
    assert code == 0, err
    found = metrics("accuracy")
    noise, oracle = found["noise"], found["oracle"]
    assert noise.chance is not None
    assert noise.stderr is not None
    assert abs(noise.value - noise.chance) < 3 * noise.stderr
    assert oracle.value > 90
    assert "lead" in ask("table", "-f", "csv", "--all")[1]


def test_a_figure_stands_in_the_report(ask: Ask, small_set: Path) -> None:
    code, _, err = ask(
        "run", "-e", "noise,constant", "-p", "neighbours?images=8", "--data", str(small_set), "--device", "cpu"
    )
    assert code == 0, err
    found = metrics("cosine")
    assert found["constant"].value == pytest.approx(1, abs=1e-6)
    assert abs(found["noise"].value) < 0.05
    assert ask("report", "--out", "site")[0] == 0
    words = Path("site/index.html").read_text()
    assert "How far tokens reach" in words
    assert len(list(Path("site/figures").glob("lines-neighbours-*.png"))) == 1


def test_a_stage_is_trained_once_however_often_it_is_judged(ask: Ask, small_set: Path) -> None:
    told = ("-e", "random-weights,noise", "--data", str(small_set), "--device", "cpu")
    code, _, err = ask("run", *told, "-p", "colour")
    assert code == 0, err
    found = metrics("error")
    assert found["random-weights"].value < 0.5 * found["noise"].value
    trained = {path: path.stat().st_mtime_ns for path in Path("ricebench-runs/stages").glob("*/head.safetensors")}
    assert len(trained) == 2
    assert ask("run", *told, "-p", "colour", "--only", "all")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert "colour-head" in ask("status")[1]
    assert ask("verify")[0] == 0


def test_a_layout_reads_its_folder_and_says_what_it_left_out(ask: Ask, small_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    images = sorted((small_set / "train").glob("*.png"))[:20]
    for image in images:
        (folder / image.name).write_bytes(image.read_bytes())
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = [(image.name, ("even", "odd")[k % 2]) for k, image in enumerate(images)]
        csv.writer(file).writerows([("file", "class"), *rows, ("gone.png", "even")])
    dataset = open_dataset(folder)
    assert (dataset.spec.layout, dataset.classes) == ("listed", ("even", "odd"))
    assert {split: len(items) for split, items in dataset.splits.items()} == {"train": 16, "val": 4}
    assert [(each.item, each.reason) for each in dataset.skipped] == [("gone.png", "is not there")]
    code, out, err = ask("plan", "-e", "noise", "-p", "centroid", "--data", str(folder))
    assert code == 0, err
    assert "labels.csv" in out
    (folder / "labels.csv").write_text("file,class\ngone.png,even\n")
    with pytest.raises(UserError, match="put the images beside it"):
        open_dataset(folder)


def test_a_scorer_judges_and_checks(ask: Ask) -> None:
    Path("truth").write_text("yes\nno\nred\n")
    Path("found").write_text("yes\nyes\n\n")
    code, out, err = ask("evaluate", "replies", "--results", "found", "--data", "truth", "-f", "json")
    assert code == 3, err
    body = json.loads(out)
    assert [(row["metric"], row["value"], row["n"]) for row in body["numbers"]] == [("accuracy", 50, 2)]
    assert body["left_out"] == ["1 lines are empty"]
    Path("found").write_text("Yes\nNo\nRed\n")
    code, out, _ = ask("evaluate", "replies?ignore_case=yes", "--results", "found", "--data", "truth", "-f", "json")
    assert (code, json.loads(out)["numbers"][0]["value"]) == (0, 100)
    Path("found").write_text("yes\n")
    code, _, err = ask("evaluate", "replies", "--results", "found", "--data", "truth")
    assert (code, "answer each on its own line" in err) == (2, True)
