"""Many videos in lock step: schedule, decoding ahead, what is broken, and going on after a kill. Followed by a stub that finds red."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rice_core.datasets import KnownTrack, Track, Video
from rice_core.datasets.listed import Frames
from rice_core.errors import UserError
from tracking import track as module
from tracking.decode import decoded
from tracking.kept import Trail, kept_as
from tracking.schedule import lock_steps, steps_of
from tracking.track import track
from tracking.tracker import VideoFrame

SIDE = 8.0


@dataclass
class Finder:
    """Puts the box where most red is, and says how much it saw at a time."""

    batches: list[int] = field(default_factory=list)
    begun: int = 0
    fails_after: int | None = None

    def begin(self, frames: Sequence[VideoFrame], boxes_B4: np.ndarray) -> list[Any]:
        self.begun += len(frames)
        return [frame.name for frame in frames]

    def step(self, templates: Sequence[Any], frames: Sequence[VideoFrame], boxes_B4: np.ndarray) -> Any:
        if self.fails_after is not None and sum(self.batches) >= self.fails_after:
            raise KeyboardInterrupt
        assert list(templates) == [frame.name for frame in frames]
        assert len(frames) == len(boxes_B4)
        self.batches.append(len(frames))
        found = []
        for frame in frames:
            frame_HW3 = np.asarray(frame.picture)
            y, x = np.argwhere((frame_HW3[:, :, 0] > 128) & (frame_HW3[:, :, 2] < 100)).mean(0)
            found.append([x + 0.5 - SIDE / 2, y + 0.5 - SIDE / 2, SIDE, SIDE])
        return np.array(found), np.full(len(frames), 0.5)


def video(
    folder: Path, name: str, length: int, *, origin: int = 0, first: Sequence[float] | None = None, sizes: Any = None
) -> Video:
    """A red square that goes to the right a pixel a frame."""
    (folder / name).mkdir(parents=True)
    boxes, paths = [], []
    for k in range(length):
        w, h = sizes[k] if sizes else (64, 48)
        pixels_HW3 = np.zeros((h, w, 3), np.uint8) + 120
        pixels_HW3[20:28, 10 + k : 18 + k] = (255, 0, 0)
        paths.append(folder / name / f"{k}.png")
        Image.fromarray(pixels_HW3).save(paths[-1])
        boxes.append([10 + k + origin, 20 + origin, SIDE, SIDE])
    if first is not None:
        boxes[0] = list(first)
    return Video(name, paths, KnownTrack(Track(np.array(boxes, float), np.zeros(length, bool))), origin=origin)


def test_longest_first_and_a_slot_is_never_idle_while_something_waits() -> None:
    lengths = [2, 5, 0, 3, 1]
    steps = list(lock_steps(lengths, 2))
    assert steps[0] == [(1, 0), (3, 0)]
    assert [len(step) for step in steps] == [2, 2, 2, 2, 2, 1]
    seen = [each for step in steps for each in step]
    assert sorted(seen) == [(place, k) for place, length in enumerate(lengths) for k in range(length)]
    for some in ([], [4], [7, 7, 7], list(range(20))):
        for slots in (1, 3, 50):
            assert steps_of(some, slots) == len(list(lock_steps(some, slots)))


def test_frames_come_in_order_from_workers_as_without_them(tmp_path: Path) -> None:
    one, other = video(tmp_path, "a", 11), video(tmp_path, "b", 9, sizes=[(40 + k, 50) for k in range(9)])
    paths = [*one.frames, tmp_path / "none.png", *other.frames]
    here, there = (
        [each if isinstance(each, str) else np.asarray(each) for each in decoded(paths, 0)],
        list(decoded(iter(paths), 2)),
    )
    assert len(here) == len(there) == 21
    assert isinstance(here[11], str)
    assert here[11] == there[11]
    assert all(np.array_equal(a, b) for a, b in zip(here, there, strict=True))
    assert there[20].shape == (50, 48, 3)  # type: ignore[union-attr]


def test_boxes_are_the_same_whatever_is_followed_beside_and_come_back_in_their_origin(tmp_path: Path) -> None:
    videos = [video(tmp_path, name, n, origin=n % 2) for name, n in (("a", 3), ("b", 9), ("TEST/c", 5), ("d", 1))]
    results = [track([Finder()], some, slots=slots) for slots in (1, 2, 8) for some in (videos, videos[::-1])]
    for each in results:
        assert set(each.tracked[0]) == {"a", "b", "TEST/c", "d"}
        assert not each.left_out
        for one in videos:
            found = each.tracked[0][one.id]
            np.testing.assert_allclose(found.boxes_T4, one.track().boxes_T4, atol=1e-9)
            assert found.score_T.tolist() == [1.0] + [0.5] * (len(one.frames) - 1)
            assert found.sizes_T2.tolist() == [[64, 48]] * len(one.frames)
            assert found.seconds > 0
            assert found.waited > 0
    assert list(results[0].tracked[0]) == [one.id for one in videos]
    speed = results[2].speed  # nine steps of two slots
    assert (speed.frames, speed.slots) == (18, 18)
    assert speed.occupancy == 1
    assert 0 < speed.waited < speed.seconds
    assert speed.frames_per_second == pytest.approx(18 / speed.seconds)


def test_several_trackers_see_frames_that_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, counted = [video(tmp_path, name, 4) for name in "ab"], []

    def counting(paths: Any, workers: int) -> Iterator[Any]:
        for frame in decoded(paths, workers):
            counted.append(1)
            yield frame

    monkeypatch.setattr(module, "decoded", counting)
    found = track([Finder(), Finder(), Finder()], videos, slots=2)
    assert len(found.tracked) == 3
    assert len(counted) == 8
    for each in found.tracked:
        np.testing.assert_allclose(each["b"].boxes_T4, videos[1].track().boxes_T4)


def test_a_broken_frame_repeats_the_box_before_and_is_named(tmp_path: Path) -> None:
    one, other = video(tmp_path, "a", 6), video(tmp_path, "b", 6)
    one.frames[2].write_bytes(one.frames[2].read_bytes()[:90])
    one.frames[5].unlink()
    found = track([Finder()], [one, other], slots=2).tracked[0]
    assert [frame for frame, _ in found["a"].broken] == ["2.png", "5.png"]
    assert all(reason for _, reason in found["a"].broken)
    boxes_T4, truth_T4 = found["a"].boxes_T4, one.track().boxes_T4
    assert boxes_T4.tolist() == truth_T4[[0, 1, 1, 3, 4, 4]].tolist()
    assert found["a"].score_T.tolist() == [1, 0.5, 0, 0.5, 0.5, 0]
    assert not found["b"].broken


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ((10, 20, 0, 8), "no size"),
        ((10, 20, 8, -3), "no size"),
        ((float("nan"), 20, 8, 8), "no box"),
        ((64, 20, 8, 8), "outside"),
        ((-9, 20, 9, 8), "outside"),
        ((1, -30, 9, 30), "outside"),
    ],
)
def test_a_video_that_cannot_be_begun_with_is_left_out_by_name(
    tmp_path: Path, first: Sequence[float], said: str
) -> None:
    videos = [video(tmp_path, "bad", 4, first=first), video(tmp_path, "good", 3)]
    found = track([Finder()], videos, slots=1)
    assert [skip.item for skip in found.left_out] == ["bad"]
    assert said in found.left_out[0].reason
    assert list(found.tracked[0]) == ["good"]


def test_a_box_that_is_partly_outside_is_begun_with(tmp_path: Path) -> None:
    found = track([Finder()], [video(tmp_path, "a", 3, first=(-8, 20, 9, 8))], slots=1)
    assert found.tracked[0]["a"].boxes_T4[0].tolist() == [-8, 20, 9, 8]


def test_without_a_first_frame_or_any_a_video_is_left_out(tmp_path: Path) -> None:
    lost, good = video(tmp_path, "lost", 4), video(tmp_path, "good", 3)
    lost.frames[0].write_bytes(b"")
    none = Video("none", [], good.truth)
    found = track([Finder()], [lost, none, good], slots=2)
    assert {skip.item: skip.reason for skip in found.left_out} == {
        "lost": "its first frame is empty (0 bytes)",
        "none": "it has no frames",
    }
    assert list(found.tracked[0]) == ["good"]


def test_each_frame_has_its_own_size(tmp_path: Path) -> None:
    sizes = [(64, 48), (70, 60), (70, 60), (64, 48)]
    found = track([Finder()], [video(tmp_path, "a", 4, sizes=sizes)], slots=1)
    assert found.tracked[0]["a"].sizes_T2.tolist() == [list(size) for size in sizes]


@pytest.mark.parametrize("saved_every", [0.0, 1e9])
def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved_every: float) -> None:
    """With what had ended; where time was up before, from the middle of the others."""
    monkeypatch.setattr(module, "SAVED_EVERY", saved_every)
    videos = [video(tmp_path, name, n, origin=1) for name, n in (("a", 3), ("b", 12), ("c", 6))]
    videos[1].frames[1].write_bytes(b"x")
    whole, keep = track([Finder()], videos, slots=2).tracked[0], tmp_path / "keep"
    killed = Finder(fails_after=13)
    with pytest.raises(KeyboardInterrupt):
        track([killed], videos, slots=2, keep=[keep])
    again = Finder()
    found = track([again], videos, slots=2, keep=[keep])
    # 21 boxes but for three first ones and a broken frame; a step of two is lost at most where all is kept.
    lost = sum(killed.batches) + sum(again.batches) - 17
    assert lost == 0 if saved_every == 0 else lost > 2
    for name, one in found.tracked[0].items():
        np.testing.assert_array_equal(one.boxes_T4, whole[name].boxes_T4)
        assert one.broken == whole[name].broken
        assert one.score_T.tolist() == whole[name].score_T.tolist()
    third = Finder()
    assert track([third], videos, slots=2, keep=[keep]).speed.frames == 0
    assert not third.batches


def test_trackers_go_on_from_where_all_of_them_were(tmp_path: Path) -> None:
    one, keep = video(tmp_path, "a", 8), [tmp_path / "keep0", tmp_path / "keep1"]
    track([Finder(), Finder()], [one], slots=1, keep=keep)
    ahead = Trail.load(kept_as(keep[1], "a"))
    ahead.cut(5)
    ahead.save(kept_as(keep[1], "a"))
    again = [Finder(), Finder()]
    found = track(again, [one], slots=1, keep=keep)
    assert [sum(each.batches) for each in again] == [3, 3]
    for each in found.tracked:
        np.testing.assert_allclose(each["a"].boxes_T4, one.track().boxes_T4)


def test_what_is_kept_and_damaged_is_made_again(tmp_path: Path) -> None:
    one, keep = video(tmp_path, "a", 4), tmp_path / "keep"
    track([Finder()], [one], slots=1, keep=[keep])
    path = kept_as(keep, "a")
    path.write_bytes(path.read_bytes()[:-30])
    again = Finder()
    track([again], [one], slots=1, keep=[keep])
    assert sum(again.batches) == 3


def test_two_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    one = video(tmp_path, "a", 2)
    with pytest.raises(ValueError, match="two videos are called a"):
        track([Finder()], [one, one], slots=1)


def test_a_video_that_cannot_be_read_is_left_out_with_the_readers_words(tmp_path: Path) -> None:
    class Torn:
        files = ()

        def read(self) -> Track:
            raise UserError("groundtruth.txt, row 3: no number; mend it.")

    one = video(tmp_path, "a", 2)
    gone = Video("gone", Frames(tmp_path / "nowhere"), one.truth)
    found = track([Finder()], [Video("torn", one.frames, Torn()), one, gone], slots=1)
    assert list(found.tracked[0]) == ["a"]
    assert [(skip.item, skip.reason[-20:]) for skip in found.left_out] == [
        ("torn", "3: no number; mend it."[-20:]),
        ("gone", "its frames cannot be listed"[-20:]),
    ]
