"""Crowd regions through the runner: counted, ignored, and never taken for objects or background."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes.knn import Knn
from probes.linear_seg import LinearSeg
from probes.tokens import Tokens
from rice_core.datasets import Dataset, limit, open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Probe
from rice_core.progress import Progress
from rice_core.record import Record
from rice_core.spec import EncoderSpec
from rice_core.store import Store

SEG = LinearSeg(grid=12)
Entry = dict[str, Any]


def changed(world: Path, folder: Path, change: Callable[[list[Entry]], None]) -> Dataset:
    """The small world, its annotations changed split by split."""
    shutil.copytree(world, folder)
    for path in (folder / "annotations").glob("instances_*.json"):
        body = json.loads(path.read_text())
        change(body["annotations"])
        path.write_text(json.dumps(body))
    return limit(open_dataset(folder, name="mini"), 40)


def crowd_of(box: list[int]) -> Callable[[list[Entry]], None]:
    """Lays a crowd, a box alone, over every image."""

    def change(annotations: list[Entry]) -> None:
        first = annotations[0]
        for k, image in enumerate(sorted({entry["image_id"] for entry in annotations})):
            crowd = {"id": 10**6 + k, "image_id": image, "bbox": box, "iscrowd": 1, "segmentation": []}
            annotations.append(first | crowd)

    return change


def run(dataset: Dataset, root: Path, *probes: Probe, encoder: str = "synthetic:oracle") -> dict[str, Record]:
    runner = Runner(Store(root), Settings(device="cpu", debug=True), Progress(quiet=True))
    records = runner.run(Plan.over((EncoderSpec.parse(encoder),), probes, dataset)).records
    return {record.cell.probe.name: record for record in records}


def by_category(root: Path, record: Record) -> dict[str, Any]:
    listed = json.loads(Store(root).artifact(record, "linear-seg.json"))["categories"]
    return {row["name"]: row for row in listed}


def test_a_crowd_over_the_left_half_is_not_judged_and_moves_no_object(small_world: Path, tmp_path: Path) -> None:
    plain = changed(small_world, tmp_path / "plain", lambda _: None)
    crowded = changed(small_world, tmp_path / "crowded", crowd_of([0, 0, 48, 96]))
    before, after = (
        run(dataset, tmp_path / name, SEG, Tokens(images=10, tsne_objects=30, perplexity=5))
        for dataset, name in ((plain, "a"), (crowded, "b"))
    )
    images = sum(len(split) for split in crowded.splits.values())
    assert sum(len(s.crowds) for split in crowded.splits.values() for s in split) == images
    # Objects and their features are what they were; the oracle's alone know what the crowd hides.
    blind = [
        run(d, tmp_path / f"{n}-blind", Knn(k=3), encoder="synthetic:random-weights")["knn"].metrics
        for d, n in ((plain, "a"), (crowded, "b"))
    ]
    assert blind[0] == blind[1]
    # Background alone turned to nothing: where an object holds half of a cell, the other half is no rival any more.
    was, now = (by_category(tmp_path / n, r["linear-seg"]) for n, r in (("a", before), ("b", after)))
    gained = {name: now[name]["cells"] - row["cells"] for name, row in was.items() if name != "background"}
    assert min(gained.values()) == 0
    assert sum(gained.values()) < 40
    val = len(crowded.splits["val"])
    lost = 144 * val - sum(row["cells"] for row in now.values())
    assert was["background"]["cells"] - now["background"]["cells"] == lost + sum(gained.values())
    assert 0.5 * 72 * val < lost < 72 * val
    said = next(line for line in after["linear-seg"].assumptions if "validation cells" in line)
    assert said.startswith(f"{lost} of {144 * val} validation cells hold more pixels of a crowd region")
    assert any("tokens lie in crowd regions" in line for line in after["tokens"].assumptions)
    counted = [skip.item for skip in after["linear-seg"].skipped]
    assert [item.split(" (")[0] for item in counted] == [
        "annotations/instances_train.json: 140 crowd regions",
        "annotations/instances_val.json: 80 crowd regions",
    ]


def test_the_oracle_is_told_of_another_crowd(small_world: Path, tmp_path: Path) -> None:
    """Its features depend on it, so those kept under another crowd must not be found."""
    first = changed(small_world, tmp_path / "first", crowd_of([0, 0, 48, 96]))
    second = changed(small_world, tmp_path / "second", crowd_of([0, 0, 96, 40]))
    run(first, tmp_path / "store", SEG)
    found, fresh = (run(second, tmp_path / name, SEG)["linear-seg"] for name in ("store", "fresh"))
    assert found.metrics == fresh.metrics
    assert Store(tmp_path / "store").scores(found) == Store(tmp_path / "fresh").scores(fresh)


@pytest.mark.parametrize("probe", [Knn(k=3), SEG])
def test_a_set_of_crowds_alone_says_so_and_what_to_do(small_world: Path, tmp_path: Path, probe: Probe) -> None:
    def brush(annotations: list[Entry]) -> None:
        for entry in annotations:
            entry["iscrowd"] = 1

    dataset = changed(small_world, tmp_path / "brush", brush)
    record = run(dataset, tmp_path / "store", probe)[probe.name]
    crowds = sum(len(sample.crowds) for split in dataset.splits.values() for sample in split)
    assert record.status == "not_applicable"
    assert record.error is not None
    assert f"it has no object, only {crowds} crowd regions (iscrowd 1)" in record.error
    assert "set iscrowd to 0 or export polygons" in record.error


def test_a_set_without_any_region_is_told_nothing_of_crowds(small_world: Path, tmp_path: Path) -> None:
    dataset = changed(small_world, tmp_path / "bare", lambda annotations: annotations.clear())
    record = run(dataset, tmp_path / "store", SEG)["linear-seg"]
    assert record.error == "linear-seg needs boxes, masks or label maps, which the data set mini does not have"


def test_the_case_of_cvats_brush(tmp_path: Path) -> None:
    case = Path(__file__).parents[2] / ".." / "shared" / "cases" / "03-cvat-iscrowd"
    if not case.is_dir():
        pytest.skip("the cases are not beside the checkout")
    subprocess.run([sys.executable, "make.py", str(tmp_path)], cwd=case, check=True)
    dataset = open_dataset(tmp_path / "brush")
    (line,) = dataset.skipped
    assert "40 crowd regions (iscrowd 1; annotation 1 the first)" in line.item
    records = run(dataset, tmp_path / "store", Knn(k=3), SEG, Tokens(), encoder="synthetic:random-weights")
    assert {name: record.status for name, record in records.items()} == {
        "knn": "not_applicable",
        "linear-seg": "not_applicable",
        "tokens": "done",
    }
    assert line in records["tokens"].skipped
