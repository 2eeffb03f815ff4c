"""Finished trackers of several records on frames that are decoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_clips import moving

from rice_core.datasets import Dataset, Video
from rice_core.errors import UserError
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.record import Record
from rice_core.spec import DatasetSpec, EncoderSpec
from rice_core.store import Store
from tracking import decode
from tracking.probe import VideoTracking
from tracking.results import read_results
from tracking.together import follow_together

Measured = tuple[Store, dict[str, Record], tuple[Video, ...]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Two encoders, and one of them with another window."""
    folder = tmp_path_factory.mktemp("together")
    videos = tuple(moving(folder, name, n) for name, n in (("a", 5), ("b", 9), ("c", 7)))
    spec = DatasetSpec(name="drawn", layout="videos", fingerprint="drawn")
    dataset = Dataset(spec, (), {"train": videos[2:], "val": videos[:2]}, frozenset({"videos"}))
    store = Store(folder / "store")
    encoders = tuple(EncoderSpec.parse(f"synthetic:{name}") for name in ("random-weights", "noise"))
    probes = tuple((VideoTracking(recipe="smoke", window=window), dataset) for window in (None, 0.0))
    found = Runner(store, Settings(device="cpu"), Progress(quiet=True)).run(Plan(encoders, probes)).records
    return store, {f"{r.cell.encoder.model}{r.cell.probe.params.get('window', '')}": r for r in found}, videos[:2]


def test_their_files_are_those_of_the_cells_and_each_frame_is_decoded_once(
    measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, records, videos = measured
    assert set(records) == {"random-weights", "random-weights0.0", "noise", "noise0.0"}
    opened, load = list[Path](), decode.load_image
    monkeypatch.setattr(decode, "load_image", lambda path: opened.append(path) or load(path))
    found = follow_together(store, records, videos, tmp_path)
    assert sorted(opened) == sorted(path for video in videos for path in video.frames)
    assert found.left_out == ()
    files = dict[str, np.ndarray]()
    for name, record in records.items():
        mine = {one.video: one.boxes_T4 for one in read_results(tmp_path / name, videos).results}
        theirs = {
            one.video: one.boxes_T4 for one in read_results(store.exports(record.cell.id) / "videos", videos).results
        }
        for video in videos:
            np.testing.assert_allclose(mine[video.id], theirs[video.id], atol=2e-3)
        files[name] = mine["b"]
    assert not np.allclose(files["random-weights"], files["noise"], atol=1)
    assert not np.allclose(files["random-weights"], files["random-weights0.0"], atol=1)


def test_a_tracker_that_is_gone_or_another_is_refused(measured: Measured, tmp_path: Path) -> None:
    store, records, videos = measured
    record = records["noise"]
    assert record.evidence is not None
    bare = record.model_copy(update={"evidence": record.evidence.model_copy(update={"stages": ()})})
    with pytest.raises(UserError, match="has no tracker; give finished records"):
        follow_together(store, {"x": bare}, videos, tmp_path)
    with pytest.raises(UserError, match="no longer in the store as it was"):
        follow_together(Store(tmp_path / "elsewhere"), {"x": record}, videos, tmp_path)
    other = record.model_copy(update={"evidence": record.evidence.model_copy(update={"weights": "0" * 64})})
    with pytest.raises(UserError, match="has other weights than"):
        follow_together(store, {"x": other}, videos, tmp_path)
    assert not (tmp_path / "x").exists()
