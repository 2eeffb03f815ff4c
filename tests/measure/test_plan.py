"""Plans over several data sets: which probe is measured on which, in one run that equals single ones."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reports.bench import Bench
from rice_core.cli import main
from rice_core.errors import UserError
from rice_core.measure import plan as planning
from rice_core.measure import subject
from rice_core.measure.config import RunConfig, load_config
from rice_core.measure.data import open_data
from rice_core.measure.plan import Plan, plan_of
from rice_core.measure.roles import address, addressed
from rice_core.measure.run import Runner, Settings
from rice_core.measure.summary import Summary
from rice_core.progress import Progress
from rice_core.record import Record
from rice_core.store import Store


@pytest.fixture(scope="module")
def boxes(small_world: Path) -> str:
    """A folder in COCO format, called coco."""
    return str(small_world)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folders per class, without regions."""
    folder = tmp_path_factory.mktemp("classes") / "kinds"
    for k in range(40):
        path = folder / ("train" if k < 24 else "val") / ("red" if k % 2 else "blue") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 120, (32, 32, 3), dtype=np.uint8)
        pixels[..., 0 if k % 2 else 2] += 100
        Image.fromarray(pixels).save(path)
    return str(folder)


def asked(store: Store, *data: str, probes: tuple[str, ...] = ("knn?k=3", "linear-seg?grid=6&images=20")) -> Plan:
    return plan_of(RunConfig(encoders=("random-weights",), probes=probes, data=data), store)


def measure(root: Path, *data: str, **more: Any) -> Summary:
    store = Store(root)
    return Runner(store, Settings(batch=64), Progress(quiet=True)).run(asked(store, *data, **more))


def told(plan: Plan) -> list[tuple[str, str]]:
    return [(probe.name, dataset.spec.name) for probe, dataset in plan.pairs]


def numbers(records: list[Record]) -> dict[str, list[tuple[str, float]]]:
    return {record.cell.id: [(m.name, m.value) for m in record.metrics] for record in records}


def test_one_run_over_two_data_sets_is_two_single_runs(
    boxes: str, classes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(
        subject, "load_encoder", lambda spec, _load=subject.load_encoder: loaded.append(spec) or _load(spec)
    )
    together = measure(tmp_path / "together", f"knn={classes}", f"linear-seg={boxes}")
    assert together.counts == {"done": 2}
    assert len(loaded) == 1
    assert [(r.cell.probe.name, r.cell.dataset.name) for r in together.records] == [
        ("knn", "kinds"),
        ("linear-seg", "coco"),
    ]
    alone = [
        *measure(tmp_path / "alone", classes, probes=("knn?k=3",)).records,
        *measure(tmp_path / "alone", boxes, probes=("linear-seg?grid=6&images=20",)).records,
    ]
    assert numbers(together.records) == numbers(alone)
    # What single runs have measured, the run over both finds, and the other way round.
    assert measure(tmp_path / "alone", f"knn={classes}", f"linear-seg={boxes}").counts == {"reused": 2}
    assert measure(tmp_path / "together", classes, probes=("knn?k=3",)).counts == {"reused": 1}
    assert len(loaded) == 3


def test_one_probe_over_two_data_sets(boxes: str, classes: str, tmp_path: Path) -> None:
    summary = measure(tmp_path, classes, boxes, probes=("knn?k=3",))
    assert [record.cell.dataset.name for record in summary.records] == ["kinds", "coco"]
    assert len({record.cell.id for record in summary.records}) == 2
    accuracy = [record.metric("accuracy") for record in summary.records]
    objects = open_data(boxes, tmp_path).splits["val"]
    assert [metric.n for metric in accuracy if metric] == [16, sum(len(sample.regions) for sample in objects)]
    assert [round(metric.chance or 0) for metric in accuracy if metric] == [50, 2]


def test_a_folder_for_all_is_for_the_probes_that_can_use_it(boxes: str, classes: str, tmp_path: Path) -> None:
    plan = asked(Store(tmp_path), classes, boxes)
    assert told(plan) == [("knn", "kinds"), ("knn", "coco"), ("linear-seg", "coco")]
    lines = list(plan.described())
    assert "  not for linear-seg: no boxes, masks or label maps" in lines
    assert "  for knn, linear-seg" in lines
    # Where it can use none, its records say why, as over a single folder.
    summary = measure(tmp_path, classes)
    assert summary.counts == {"done": 1, "not_applicable": 1}
    assert "linear-seg needs boxes, masks or label maps" in (summary.records[1].error or "")


@dataclass(frozen=True)
class Stub:
    name: str
    role: str = ""
    data: frozenset[str] = frozenset()


def test_what_is_more_particular_wins(boxes: str, classes: str, tmp_path: Path) -> None:
    open_ = {text: open_data(text, tmp_path) for text in (boxes, classes, f"{classes}@photos")}
    probes = (Stub("one"), Stub("two", "pair"), Stub("three", "pair"))
    words = [boxes, f"pair={classes}", f"three={classes}@photos"]
    pairs = addressed(probes, [(role, open_[folder]) for role, folder in address(words, probes)])
    assert [(probe.name, dataset.spec.layout) for probe, dataset in pairs] == [
        ("one", "coco"),
        ("two", "class-folders"),
        ("three", "photos"),
    ]


def test_detectors_declare_a_role() -> None:
    from rice_core.measure.config import build_probes
    from rice_core.spec import ProbeRequest

    probes = build_probes([ProbeRequest.parse(text) for text in ("coco-det", "rf100-det", "knn")])
    assert address(["detection=x", "knn=y"], probes) == [("detection", "x"), ("knn", "y")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pear=F"], "--data pear=F: none of these probes is called 'pear' or has that role; did you mean pair? "),
        (["Tow=F"], "write one of one, pair, two before the =, or ./Tow=F for a folder of that name."),
        (
            ["one=F"],
            "two: no --data is for it; add --data two=FOLDER, or --data FOLDER for every probe that can use it.",
        ),
        (["one="], "--data one=: the folder is missing; write --data one=FOLDER."),
        (["pair=F", "=F"], "--data =F: none of these probes"),
        ([""], "the folder is missing"),
    ],
)
def test_words_that_cannot_be_meant_are_one_sentence(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        address(words, (Stub("one"), Stub("two", "pair")))
    assert said in str(error.value)


def test_names_are_checked_before_a_folder_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="linear-seg: no --data is for it"):
        asked(Store(tmp_path), f"knn={tmp_path / 'nothing'}")


def test_a_folder_that_is_called_so_is_a_folder(classes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(classes, tmp_path / "knn=kinds")
    monkeypatch.chdir(tmp_path)
    for word in ("knn=kinds", "./knn=kinds", str(tmp_path / "knn=kinds")):
        assert told(asked(Store(tmp_path / "store"), word, probes=("knn",))) == [("knn", "knn=kinds")]


def test_a_folder_that_no_probe_would_see_is_refused(boxes: str, classes: str, tmp_path: Path) -> None:
    for words, probes in (((boxes, f"knn={classes}"), ("knn",)), ((boxes, classes), ("linear-seg",))):
        unused = boxes if probes == ("knn",) else classes
        with pytest.raises(UserError, match=f"--data {unused} is for no probe here"):
            asked(Store(tmp_path), *words, probes=probes)


def test_probes_of_one_name_are_told_apart_in_the_lines_of_a_run(classes: str, tmp_path: Path) -> None:
    plan = asked(Store(tmp_path), classes, probes=("knn?k=3", "knn?k=4", "linear"))
    (encoder,) = plan.encoders
    assert [plan.called(cell).split(" / ")[1] for cell, _ in plan.cells(encoder)] == [
        "knn?k=3&temperature=0.0",
        "knn?k=4&temperature=0.0",
        "linear",
    ]


def test_a_data_set_named_twice_is_opened_once(classes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        planning, "open_data", lambda *a, _open=planning.open_data, **k: opened.append(a[0]) or _open(*a, **k)
    )
    monkeypatch.chdir(Path(classes).parent)
    probes = ("knn?k=3", "linear", "tokens")
    plan = asked(Store(tmp_path), "kinds", "linear=./kinds", f"tokens={classes}", "kinds", probes=probes)
    assert opened == ["kinds"]
    assert told(plan) == [("knn", "kinds"), ("linear", "kinds"), ("tokens", "kinds")]
    (tmp_path / "link").symlink_to(classes)
    opened.clear()
    words = ("kinds@class-folders", f"linear={tmp_path}/link/../kinds/@class-folders", f"tokens={tmp_path}/link")
    assert told(asked(Store(tmp_path), *words, probes=probes)) == told(plan)
    assert len(opened) == 2  # the layout that was told, and the one that was seen


def test_two_folders_that_records_could_not_tell_apart_are_refused(classes: str, tmp_path: Path) -> None:
    shutil.copytree(classes, tmp_path / "kinds")
    with pytest.raises(UserError, match=r"are both called kinds and list the same files.*rename one of the folders"):
        asked(Store(tmp_path / "store"), f"knn={classes}", f"linear={tmp_path / 'kinds'}", probes=("knn", "linear"))


def test_a_limit_is_of_each_data_set(boxes: str, classes: str, tmp_path: Path) -> None:
    config = RunConfig(encoders=("noise",), probes=("knn",), data=(classes, boxes), limit=8)
    plan = plan_of(config, Store(tmp_path))
    assert [len(dataset.splits["val"]) for dataset in plan.datasets.values()] == [8, 8]
    assert {cell.limit for cell, _ in plan.cells(plan.encoders[0])} == {8}


def test_a_configuration_takes_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("encoders: [noise]\nprobes: [knn, tokens]\ndata: photos\n")
    assert load_config(path).data == ("photos",)
    path.write_text("encoders: [noise]\nprobes: [knn, tokens]\ndata: [photos, knn=kinds]\n")
    assert load_config(path).data == ("photos", "knn=kinds")
    path.write_text("encoders: [noise]\nprobes: [knn]\ndata: []\n")
    with pytest.raises(UserError, match="write data, or annotations and images"):
        load_config(path)


def test_the_python_api_takes_the_same_words(boxes: str, classes: str, tmp_path: Path) -> None:
    summary = Bench(tmp_path).run("noise", ["knn", "linear"], [Path(classes), f"linear={boxes}"], limit=20)
    assert [(r.cell.probe.name, r.cell.dataset.name) for r in summary.records] == [("knn", "kinds"), ("linear", "coco")]


def ricebench(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_plan_and_run_say_what_each_data_set_was_read_as_once(
    boxes: str, classes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "-e",
        "noise,constant",
        "-p",
        "knn,linear",
        f"--data=knn={classes}",
        "--data",
        f"linear={boxes}",
        "--limit=20",
    )
    store = f"--store={tmp_path}"
    assert ricebench("plan", *words, store) == 0
    lines = capsys.readouterr().out.splitlines()
    sets = [
        "data set kinds (class-folders): 20 train, 16 val images, 2 classes",
        "data set coco (coco): 20 train, 20 val images, 48 classes",
    ]
    assert [line for line in lines if line.startswith("data set")] == sets
    assert lines[lines.index(sets[0]) + 3] == "  for knn"
    cells = [re.sub(r"\?\S+", "", line.split("  ")[2]) for line in lines if line.endswith("to be measured")]
    assert cells == [
        "noise / knn / kinds / seed 0: to be measured",
        "noise / linear / coco / seed 0: to be measured",
        "constant / knn / kinds / seed 0: to be measured",
        "constant / linear / coco / seed 0: to be measured",
    ]
    assert sum("at most 76 images" in line for line in lines) == 2
    assert ricebench("run", *words, store) == 0
    said = capsys.readouterr()
    assert said.out.startswith("4 done.")
    assert [line for line in said.err.splitlines() if line.startswith("data set")] == sets
    assert "[1/4] noise / knn / kinds: accuracy " in said.err
    assert ricebench("run", *words, store, "--rerun", "noise/*/coco", "--quiet") == 0
    assert capsys.readouterr().out.startswith("1 done, 3 reused.")
    assert ricebench("status", store) == 0
