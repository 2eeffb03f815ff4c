"""A folder of one's own videos, read, learnt from and followed to a record that says what was not used of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_clips import moving

from rice_core.datasets import open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.record import Record
from rice_core.spec import EncoderSpec
from rice_core.store import Store
from tracking.probe import VideoTracking


def record_of(folder: Path, store: Path) -> Record:
    pairs = ((VideoTracking(recipe="smoke"), open_dataset(folder)),)
    plan = Plan((EncoderSpec.parse("synthetic:random-weights"),), pairs)
    (record,) = Runner(Store(store), Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan).records
    return record


@pytest.mark.parametrize("looked_through", [200, 0])
def test_what_is_not_used_of_a_video_is_said_whether_it_was_looked_through_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_through: int
) -> None:
    monkeypatch.setattr("rice_core.datasets.videos.opening.LOOKED_THROUGH", looked_through)
    rows = {"train/a": 6, "train/b": 6, "val/c": 5, "val/d": 4, "val/e": 7}
    for place, n in rows.items():
        split, name = place.split("/")
        video = moving(tmp_path / "mine" / split, name, 6)
        boxes = video.track().boxes_T4
        lines = [",".join(map(str, boxes[min(k, 5)])) for k in range(n)]
        video.frames[0].parent.joinpath("groundtruth.txt").write_text("\n".join(lines) + "\n")
    gap = moving(tmp_path / "mine" / "val", "gap", 6)
    gap.frames[3].unlink()
    gap.frames[0].parent.joinpath("groundtruth.txt").write_text("1,2,30,40\n" * 6)
    record = record_of(tmp_path / "mine", tmp_path / "store")
    assert (record.status, record.error) == ("done", None)
    assert record.metrics[0].n == 3
    said = [(skip.item, skip.reason.rstrip(".")) for skip in record.skipped]
    assert sorted(said) == [
        ("c", "is read without 1 frame past the annotation"),
        ("d", "is read without 2 frames past the annotation"),
        ("e", "is read without 1 row past the last frame"),
        ("gap", "has a gap: frame 3 is missing of 0 to 5; copy or extract its frames again"),
    ]
