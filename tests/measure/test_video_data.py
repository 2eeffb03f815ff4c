"""Videos of a folder as the data of a cell: what was left out stands in its record, and what changes makes it another measurement."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from rice_core.cli import main
from rice_core.datasets import Video
from rice_core.features import Encoder
from rice_core.measure.data import open_data
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Read, Work
from rice_core.progress import Progress
from rice_core.record import Metric, Outcome, Record
from rice_core.spec import EncoderSpec, ProbeSpec
from rice_core.store import Store


@dataclass(frozen=True)
class Rows:
    """Counts rows of the annotations."""

    name: ClassVar[str] = "rows"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "rows"
    needs: ClassVar[frozenset[str]] = frozenset()
    data: ClassVar[frozenset[str]] = frozenset({"videos"})
    trains: ClassVar[bool] = False
    reads: ClassVar[tuple[Read, ...]] = ()

    @property
    def spec(self) -> ProbeSpec:
        return ProbeSpec(name=self.name, version=self.version)

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        videos = work.samples("all", Video)
        rows = sum(len(video.track().boxes_T4) for video in videos)
        return Outcome(metrics=(Metric(name="rows", value=rows, n=len(videos)),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, n in (("walk", 4), ("run", 4), ("gap", 4), ("long", 6)):
        place = tmp_path / "mine" / name
        place.mkdir(parents=True)
        for k in range(n):
            if (name, k) != ("gap", 2):
                Image.new("L", (16, 12), 9 * k).save(place / f"{k}.png")
        (place / "groundtruth.txt").write_text("1,2,5,6\n" * 4)
    return tmp_path / "mine"


def measured(folder: Path, limit: int | None = None) -> Record:
    store = folder.parent / "store"
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), (Rows(),), open_data(str(folder), store, limit=limit))
    (record,) = Runner(Store(store), Settings(device="cpu"), Progress(quiet=True)).run(plan).records
    return record


def test_what_is_left_out_stands_in_the_record(folder: Path) -> None:
    record = measured(folder)
    assert [(metric.value, metric.n) for metric in record.metrics] == [(12, 3)]
    said = {skip.item: skip.reason for skip in record.skipped}
    assert said == {
        "gap": "has a gap: frame 2 is missing of 0 to 3; copy or extract its frames again",
        "long": "is read without 2 frames past the annotation",
    }
    assert measured(folder, limit=2).metrics[0].n == 2


@pytest.mark.parametrize("change", ["box", "pixels", "frame", "video"])
def test_what_changes_is_measured_again(folder: Path, change: str) -> None:
    first, same = measured(folder), measured(folder)
    assert same == first
    if change == "box":  # as many bytes as before: the fingerprint stays, the evidence does not
        (folder / "walk/groundtruth.txt").write_text("1,2,5,7\n" * 4)
    elif change == "pixels":
        Image.new("L", (16, 12), 200).save(folder / "run/3.png")
    elif change == "frame":
        (folder / "run/1.png").rename(folder / "run/01.png")
    else:
        (folder / "walk").rename(folder / "stroll")
    again = measured(folder)
    assert first.evidence is not None
    assert again.evidence is not None
    assert again.evidence.data != first.evidence.data
    assert (again.cell.id != first.cell.id) == (change == "video")


def test_plan_says_what_was_read_and_what_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["plan", "-e", "synthetic:noise", "-p", "knn", "--data", str(folder), "--store", str(folder.parent / "s")])
    assert stop.value.code == 0
    out, err = capsys.readouterr()
    said = re.sub(r"\s+", " ", out + err)
    assert "data set mine (videos): 3 all videos, 12 frames" in said
    assert "left out: gap: has a gap: frame 2 is missing of 0 to 3" in said
    assert "left out: long: is read without 2 frames past the annotation" in said
