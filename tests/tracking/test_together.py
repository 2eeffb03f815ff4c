"""`ricebench run --together`: trackers of several cells, of several encoders too, on frames that are decoded once."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_clips import moving

from rice_core.cli import main
from rice_core.datasets import Dataset, Video
from rice_core.encoders.synthetic import Untold
from rice_core.errors import StoreError, UserError
from rice_core.measure import together as engine
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.measure.verify import verify
from rice_core.progress import Progress
from rice_core.ranks import Ranks
from rice_core.record import Record
from rice_core.spec import DatasetSpec, EncoderSpec
from rice_core.store import Store
from tracking import decode
from tracking import track as module
from tracking.matching import TemplateMatching
from tracking.probe import LasotTracking, Tnl2kTracking
from tracking.results import read_results
from tracking.tracker import ObjectTracker

ENCODERS = ("synthetic:random-weights", "synthetic:noise")


class Heard(Progress):
    """What a user would read."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """Two benchmarks that one tracker is judged on; videos of one name in both."""
    folder = tmp_path_factory.mktemp("videos")
    train = _made("videos", "train", train=(moving(folder / "train", "t", 6),))
    judged = {
        name: tuple(moving(folder / name, each, n) for each, n in lengths)
        for name, lengths in {"lasot": (("a", 5), ("b", 9)), "tnl2k": (("a", 7), ("d", 4))}.items()
    }
    sets = [replace(_made(name, name, test=videos), learnt_from=(train,)) for name, videos in judged.items()]
    return (LasotTracking(recipe="smoke"), sets[0]), (Tnl2kTracking(recipe="smoke"), sets[1])


def _made(layout: str, name: str, **splits: tuple[Video, ...]) -> Dataset:
    return Dataset(DatasetSpec(name=name, layout=layout, fingerprint=name), (), splits, frozenset({"videos"}))


@pytest.fixture(scope="module")
def apart(pairs: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """The store of a run that follows encoder by encoder, and its records."""
    root = tmp_path_factory.mktemp("apart")
    return root, run(root, pairs)[0]


@pytest.fixture
def trained(apart: tuple[Path, list[Record]], tmp_path: Path) -> Path:
    """A store that has its trackers alone."""
    shutil.copytree(apart[0] / "stages", tmp_path / "trained" / "stages")
    return tmp_path / "trained"


def run(
    root: Path, pairs: Sequence[Any], encoders: Sequence[str] = ENCODERS, *, seeds: tuple[int, ...] = (0,), **how: Any
) -> tuple[list[Record], list[str]]:
    plan = Plan(tuple(map(EncoderSpec.parse, encoders)), tuple(pairs), seeds)
    heard, ranks = Heard(), how.pop("ranks", None)
    records = Runner(Store(root), Settings(device="cpu", **how), heard, ranks=ranks).run(plan).records
    return list(records), heard.lines


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Frames of what is judged, as often as they are decoded."""
    found, load = list[Path](), decode.load_image

    def counting(path: Path) -> Any:
        found.append(path)
        return load(path)

    monkeypatch.setattr(decode, "load_image", counting)
    return found


def frames(*pairs: Any) -> Counter[Path]:
    return Counter(path for _, dataset in pairs for video in dataset.splits["test"] for path in video.frames)


def boxes(root: Path, record: Record, pairs: Sequence[Any]) -> dict[str, np.ndarray]:
    (videos,) = (dataset.splits["test"] for probe, dataset in pairs if probe.name == record.cell.probe.name)
    exported = Store(root).exports(record.cell.id) / record.cell.probe.name
    return {one.video: one.boxes_T4 for one in read_results(exported, videos).results}


def test_the_same_cells_numbers_and_boxes_and_each_frame_is_decoded_once(
    pairs: Sequence[Any], apart: tuple[Path, list[Record]], tmp_path: Path, opened: list[Path]
) -> None:
    joint, said = run(tmp_path / "joint", pairs, together=True)
    assert Counter(opened) == frames(*pairs)
    assert not [line for line in said if "together" in line]
    assert [record.cell for record in joint] == [record.cell for record in apart[1]]
    found = list[np.ndarray]()
    for one, other in zip(apart[1], joint, strict=True):
        assert one.status == other.status == "done"
        assert one.evidence is not None
        assert other.evidence is not None
        assert one.evidence.reuse_key() == other.evidence.reuse_key()
        assert one.assumptions == other.assumptions
        assert [m.value for m in other.metrics] == pytest.approx([m.value for m in one.metrics], abs=1e-3)
        mine, theirs = boxes(tmp_path / "joint", other, pairs), boxes(apart[0], one, pairs)
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_allclose(mine[name], theirs[name], atol=1e-3)
        found.append(mine["a"])
    # random-weights on both benchmarks, then noise: videos of one name are not taken for each other, nor are encoders.
    assert not np.allclose(found[0], found[2], atol=1)
    assert len(found[0]) != len(found[1])
    assert not verify(Store(tmp_path / "joint"), Progress(quiet=True)).problems
    assert not list((tmp_path / "joint").rglob("*.npz"))
    opened.clear()
    again, _ = run(tmp_path / "joint", pairs, together=True)
    assert [record.created for record in again] == [record.created for record in joint]
    assert not opened


def test_a_record_says_that_frames_were_shared(pairs: Sequence[Any], trained: Path) -> None:
    records, _ = run(trained, pairs, together=True)
    store, lasot = Store(trained), records[0]
    (speed,) = (each for each in lasot.artifacts if each.name == "lasot-speed.json")
    assert "Of 2 of its 2 videos frames were decoded once for 2 trackers" in speed.caption
    ((followed, per_second, busy, _),) = json.loads(store.artifact(lasot, "lasot-speed.json") or b"")["rows"]
    assert (followed, busy) == (14, None)
    assert per_second > 0
    rows = [json.loads(line) for line in (store.artifact(lasot, "lasot-videos.jsonl") or b"").splitlines()]
    assert [row["beside"] for row in rows] == [2, 2]


def test_benchmarks_of_one_encoder_are_one_queue(
    pairs: Sequence[Any], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, step = list[int](), ObjectTracker.step

    def counted(self: ObjectTracker, *given: Any) -> Any:
        sizes.append(len(given[1]))
        return step(self, *given)

    monkeypatch.setattr(ObjectTracker, "step", counted)
    run(trained, pairs, ENCODERS[:1], together=True)
    assert sizes == [4, 4, 4, 3, 2, 2, 1, 1]  # videos of 9, 7, 5 and 4 frames, the first of each without a step


def test_seeds_and_another_probe_of_the_same_videos_share_them_too(
    pairs: Sequence[Any], tmp_path: Path, opened: list[Path]
) -> None:
    few = [pairs[0], (TemplateMatching(template_grid=4, search_grid=8, scales=1), pairs[0][1])]
    records, _ = run(tmp_path, few, ENCODERS[:1], seeds=(0, 1), together=True)
    assert [record.status for record in records] == ["done"] * 4
    assert Counter(opened) == frames(pairs[0])
    first, second = (boxes(tmp_path, r, few[:1]) for r in records if r.cell.probe.name == "lasot")
    assert not np.allclose(first["b"], second["b"], atol=0.5)


def test_killed_in_the_middle_it_goes_on(
    pairs: Sequence[Any],
    apart: tuple[Path, list[Record]],
    trained: Path,
    opened: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SAVED_EVERY", 0)
    opened.clear()
    step, steps = ObjectTracker.step, list[int]()

    def killed(self: ObjectTracker, *given: Any) -> Any:
        steps.append(len(given[1]))
        if len(steps) == 8:  # the second tracker's fourth step: the first one is ahead of it
            raise KeyboardInterrupt
        return step(self, *given)

    monkeypatch.setattr(ObjectTracker, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(trained, pairs, together=True)
    before = len(opened)
    records, _ = run(trained, pairs, together=True)
    # What had been followed is decoded again for the first frames alone, and for the step that was lost.
    assert len(opened) - before == sum(frames(*pairs).values()) - 16 + 3
    for one, other in zip(apart[1], records, strict=True):
        assert [m.value for m in other.metrics] == pytest.approx([m.value for m in one.metrics], abs=1e-3)
        mine, theirs = boxes(trained, other, pairs), boxes(apart[0], one, pairs)
        for name in mine:
            np.testing.assert_allclose(mine[name], theirs[name], atol=1e-3)


@pytest.mark.parametrize("error", [UserError("its features are not finite"), RuntimeError("CUDA out of memory. Tried")])
def test_a_tracker_that_fails_takes_nothing_from_the_others(
    pairs: Sequence[Any],
    apart: tuple[Path, list[Record]],
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[Path],
    error: Exception,
) -> None:
    step, noisy = ObjectTracker.step, list[int]()

    def failing(self: ObjectTracker, *given: Any) -> Any:
        if self.encoder.spec.model == "noise":
            noisy.append(1)
            if len(noisy) >= 3:
                raise error
        return step(self, *given)

    monkeypatch.setattr(ObjectTracker, "step", failing)
    records, said = run(trained, pairs, together=True)
    (line,) = (line for line in said if "together" in line)
    assert line.startswith("synthetic:noise?res=96: lasot does not follow together with the others any more: ")
    assert [record.status for record in records] == ["done", "done", "failed", "failed"]
    for one, other in zip(apart[1][:2], records[:2], strict=True):
        mine, theirs = boxes(trained, other, pairs), boxes(apart[0], one, pairs)
        for name in mine:
            np.testing.assert_allclose(mine[name], theirs[name], atol=1e-3)
    # The other one went on where both had been, and the failed cells failed at once.
    steps = [path for path in opened if path.name > "0003.png"]
    assert Counter(steps) == Counter(path for path in frames(*pairs).elements() if path.name > "0003.png")


def test_a_tracker_alone_that_fails_is_told_by_its_cells(
    pairs: Sequence[Any], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> Any:
        raise UserError("its features are not finite")

    monkeypatch.setattr(ObjectTracker, "step", failing)
    records, said = run(trained, pairs, ENCODERS[:1], together=True)
    assert [(record.status, record.error) for record in records] == [("failed", "its features are not finite")] * 2
    assert sum("any more: UserError: its features are not finite" in line for line in said) == 1


def test_a_disk_that_is_full_ends_the_run(pairs: Sequence[Any], trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("tracking.kept.Trail.save", full)
    with pytest.raises(StoreError, match="the disk is full"):
        run(trained, pairs, together=True)


@pytest.mark.parametrize("error", [UserError("it cannot be read"), MemoryError("too much")])
def test_an_encoder_that_does_not_fit_beside_the_others_follows_by_itself(
    pairs: Sequence[Any], trained: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Path], error: Exception
) -> None:
    beforehand, load = engine.Beforehand._share, Untold.to

    def sharing(self: Any, left: Any) -> None:
        def to(encoder: Any, device: Any) -> Any:
            if encoder.spec.model == "noise":
                raise error
            return load(encoder, device)

        with monkeypatch.context() as patch:
            patch.setattr(Untold, "to", to)
            beforehand(self, left)

    monkeypatch.setattr(engine.Beforehand, "_share", sharing)
    records, said = run(trained, pairs, together=True)
    assert [record.status for record in records] == ["done"] * 4
    (line,) = (line for line in said if "together" in line)
    assert line.startswith("synthetic:noise does not work together with the others: ")
    assert Counter(opened) == frames(*pairs, *pairs)


def test_an_encoder_that_changes_while_it_follows_leaves_nothing(
    pairs: Sequence[Any], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rice_core.measure.subject import Subject

    kept = set[Path]()

    def changed(self: Subject, by: str) -> str:
        if by == "working together":
            kept.update(trained.glob("unfinished/*/followed-*"))
            return "the weights are others"
        return ""

    monkeypatch.setattr(Subject, "changed", changed)
    measured = list[int]()
    step = ObjectTracker.step
    monkeypatch.setattr(ObjectTracker, "step", lambda self, *given: measured.append(1) or step(self, *given))
    records, _ = run(trained, pairs, together=True)
    assert len(kept) == 4
    assert [record.status for record in records] == ["done"] * 4
    assert len(measured) == 2 * 8 + 2 * (8 + 6)  # all of it again, cell by cell


def test_what_is_finished_is_not_followed_again(pairs: Sequence[Any], tmp_path: Path, opened: list[Path]) -> None:
    """One encoder has been through a benchmark: of that the other is followed alone, of the other one both together."""
    run(tmp_path, pairs[:1], ENCODERS[:1])
    opened.clear()
    records, _ = run(tmp_path, pairs, together=True)
    assert [record.status for record in records] == ["done"] * 4
    assert Counter(opened) == frames(*pairs)


def test_ranks_go_on_encoder_by_encoder_and_say_so(pairs: Sequence[Any], tmp_path: Path) -> None:
    heard = Heard()
    runner = Runner(Store(tmp_path), Settings(device="cpu", together=True), heard)
    two = replace(runner._engine, ranks=Ranks(0, 2, torch.device("cpu")))
    engine.Beforehand(two, Plan((), ()), {}, {}, lambda _: None, lambda *_: True).run()
    assert heard.lines == ["--together is for one process: these ranks share the work of one encoder at a time."]


def test_the_command_of_a_user(tmp_path: Path, opened: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    videos = [
        moving(tmp_path / "data" / split, name, n)
        for split, name, n in (("train", "t", 4), ("val", "a", 6), ("val", "b", 8))
    ]
    for video in videos:
        (video.frames[0].parent / "groundtruth.txt").write_text(
            "".join(",".join(map(str, row)) + "\n" for row in video.track().boxes_T4.tolist())
        )
    words = ["run", "-e", ",".join(ENCODERS), "-p", "videos?recipe=smoke", "--data", str(tmp_path / "data")]
    opened.clear()
    with pytest.raises(SystemExit) as stop:
        main([*words, "--store", str(tmp_path / "store"), "--device", "cpu", "--limit", "1", "--together"])
    said = capsys.readouterr()
    assert stop.value.code == 0, said.err
    assert "2 done" in said.out
    judged = [path for path in opened if path.parent.parent.name == "val"]
    assert len(judged) == len(set(judged)) in (6, 8)
