"""Many videos followed in lock step by one tracker or several, on frames that are decoded once.

What was followed is kept video by video, and of those under way every minute: a run that is killed goes on in their middle.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rice_core.datasets import Video
from rice_core.errors import UserError
from rice_core.record import Skipped
from tracking.decode import Pixels, decoded
from tracking.kept import Floats, Tracked, Trail, kept_as
from tracking.schedule import lock_steps, steps_of
from tracking.tracker import VideoFollower, VideoFrame

SAVED_EVERY = 60.0
"""Seconds after which what is under way is kept."""
Progress = Callable[[Sequence[Any], str], Iterator[Any]]


@dataclass(frozen=True)
class Speed:
    """Of a run, or of what several ranks did of it."""

    frames: int = 0
    """Looked at, by however many trackers."""
    seconds: float = 0.0
    """From the first to the last, decoding included."""
    waited: float = 0.0
    """Of them, for frames to be decoded."""
    slots: int = 0
    """Places for frames in all steps."""

    @property
    def occupancy(self) -> float:
        """Share of the places that were taken."""
        return self.frames / max(1, self.slots)

    @property
    def frames_per_second(self) -> float:
        return self.frames / max(1e-9, self.seconds)


@dataclass(frozen=True)
class TrackResults:
    """What came of it."""

    tracked: tuple[dict[str, Tracked], ...]
    """By tracker: the videos in the order in which they were given."""
    left_out: tuple[Skipped, ...]
    """Videos that cannot be read or begun with, with the reason."""
    speed: Speed


@dataclass
class _Lane:
    """A video under way."""

    video: Video
    truth_T4: Floats
    """Of pixels that count from 0."""
    trails: list[Trail]
    """By tracker, as long as each other."""
    dropped: str
    """Why it cannot be begun with; empty where it can."""
    templates: dict[int, Any] = field(default_factory=dict)
    """By tracker, while it is under way."""

    def __post_init__(self) -> None:
        self.known = len(self.trails[0])
        """Frames that were followed before."""

    @property
    def visits(self) -> int:
        """Frames to look at: the first one in any case, for the template."""
        if self.dropped:
            return 0
        left = len(self.video.frames) - self.known
        return left + bool(self.known) if left else 0

    def frame(self, visit: int) -> int:
        return visit + max(0, self.known - 1) if visit else 0

    @property
    def ended(self) -> bool:
        return len(self.trails[0]) == len(self.video.frames)


def track(
    trackers: Sequence[VideoFollower],
    videos: Sequence[Video],
    *,
    slots: int,
    workers: int = 0,
    keep: Sequence[Path] = (),
    progress: Progress = lambda sequence, _: iter(sequence),
    what: str = "tracking",
) -> TrackResults:
    """Follow the object of each video from the first frame's true box on.

    The boxes of a video do not depend on which others are looked at beside it, but for the last bits.

    Args:
        videos: of one data set or several; no two of one id.
        slots: videos that are followed at a time.
        workers: as `decode.decoded`.
        keep: a folder for each tracker, where it finds what it kept before; empty: nothing is kept.
        what: it is called in a bar.

    Raises:
        UserError: a tracker's features are not finite. StoreError: nothing can be kept.
    """
    twice = [name for name, times in Counter(video.id for video in videos).items() if times > 1]
    if twice:
        raise ValueError(f"two videos are called {twice[0]}")
    run = _Run(trackers, [_lane(video, len(trackers), keep) for video in videos], keep)
    speed = run.through(slots, workers, progress, what)
    whole = [lane for lane in run.lanes if not lane.dropped]
    return TrackResults(
        tuple({lane.video.id: lane.trails[k].tracked(lane.video) for lane in whole} for k in range(len(trackers))),
        tuple(Skipped(item=lane.video.id, reason=lane.dropped) for lane in run.lanes if lane.dropped),
        speed,
    )


def _lane(video: Video, trackers: int, keep: Sequence[Path]) -> _Lane:
    try:
        length, truth_T4 = len(video.frames), video.track().boxes_T4.astype(np.float64)
    except (OSError, UserError) as error:
        said = str(error).removeprefix(f"{video.id} ")  # the line that it stands in begins so
        words = "its frames cannot be listed" if isinstance(error, OSError) else said
        return _Lane(video, np.empty((0, 4)), [Trail() for _ in range(trackers)], words)
    truth_T4[:, :2] -= video.origin
    trails = [Trail.load(kept_as(folder, video.id)) for folder in keep] or [Trail() for _ in range(trackers)]
    known = min(length, *map(len, trails))
    for trail in trails:
        trail.cut(known)
    return _Lane(video, truth_T4, trails, _no_beginning(truth_T4) if length else "it has no frames")


def _no_beginning(truth_T4: Floats) -> str:
    """Why no tracker can begin with the first box; empty where one can, for all that is known without the frame."""
    if not len(truth_T4) or not np.isfinite(truth_T4[0]).all():
        return "its first frame has no box to begin with"
    return "" if (truth_T4[0, 2:] > 0).all() else f"the box of its first frame has no size: {_words(truth_T4[0])}"


class _Run:
    """The steps of `track`."""

    def __init__(self, trackers: Sequence[VideoFollower], lanes: Sequence[_Lane], keep: Sequence[Path]) -> None:
        self.trackers, self.lanes, self.keep = trackers, lanes, keep
        self.waited, self.saved = 0.0, time.perf_counter()

    def through(self, slots: int, workers: int, progress: Progress, what: str) -> Speed:
        """All of them."""
        visits = [lane.visits for lane in self.lanes]
        steps, plan = steps_of(visits, slots), lock_steps(visits, slots)
        looked_at = ((self.lanes[place], visit) for step in lock_steps(visits, slots) for place, visit in step)
        frames = decoded((lane.video.frames[lane.frame(visit)] for lane, visit in looked_at), workers)
        began = time.perf_counter()
        for _ in progress(range(steps), what):
            self.step([(self.lanes[place], visit) for place, visit in next(plan)], frames)
        return Speed(sum(visits), time.perf_counter() - began, self.waited, steps * slots)

    def step(self, wanted: Sequence[tuple[_Lane, int]], frames: Iterator[Pixels | str]) -> None:
        """One frame of each video that is under way."""
        began = time.perf_counter()
        shown = [_Shown(lane, visit, next(frames)) for lane, visit in wanted]
        waited = time.perf_counter() - began
        self.waited += waited
        seen = [each for each in shown if each.usable()]
        for k, tracker in enumerate(self.trackers):
            began = time.perf_counter()
            _begin(tracker, k, [each for each in seen if not each.visit])
            _follow(tracker, k, [each for each in seen if each.visit])
            took = time.perf_counter() - began
            for each in seen:
                each.lane.trails[k].seconds += took / len(seen)
                each.lane.trails[k].waited += waited / len(shown)
        self._save([lane for lane, _ in wanted if not lane.dropped])

    def _save(self, lanes: Sequence[_Lane]) -> None:
        """What has ended, and now and then all that is under way."""
        due = time.perf_counter() - self.saved > SAVED_EVERY
        for lane in lanes:
            if lane.ended or due:
                for folder, trail in zip(self.keep, lane.trails, strict=False):
                    trail.save(kept_as(folder, lane.video.id))
            if lane.ended:
                lane.templates.clear()
        if due:
            self.saved = time.perf_counter()


@dataclass(frozen=True)
class _Shown:
    """A frame that was decoded for a video."""

    lane: _Lane
    visit: int
    frame: Pixels | str

    @property
    def pixels_HW3(self) -> Pixels:
        assert not isinstance(self.frame, str)
        return self.frame

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels_HW3.shape[1], self.pixels_HW3.shape[0]

    @property
    def seen(self) -> VideoFrame:
        """As a tracker gets it."""
        place, truth_T4 = self.lane.frame(self.visit), self.lane.truth_T4
        truth_4 = truth_T4[place] if place < len(truth_T4) else np.full(4, np.nan)
        return VideoFrame(self.lane.video.id, self.pixels_HW3, truth_4)

    def usable(self) -> bool:
        """Whether there is something to see; where there is not, what becomes of it is settled here."""
        lane = self.lane
        if self.visit == 0:
            lane.dropped = f"its first frame {self.frame}" if isinstance(self.frame, str) else self._outside()
        elif isinstance(self.frame, str) and not lane.dropped:
            for trail in lane.trails:
                trail.repeat(self.frame)
        return not lane.dropped and not isinstance(self.frame, str)

    def _outside(self) -> str:
        x, y, w, h = self.lane.truth_T4[0].tolist()
        inside = min(x + w, self.size[0]) > max(x, 0) and min(y + h, self.size[1]) > max(y, 0)
        words = f"{_words(self.lane.truth_T4[0])} in {self.size[0]} x {self.size[1]} pixels"
        return "" if inside else f"the box of its first frame lies outside it: {words}"


def _begin(tracker: VideoFollower, k: int, shown: Sequence[_Shown]) -> None:
    """Templates of first frames; of a video that is gone on with the box is known."""
    if not shown:
        return
    boxes_B4 = np.stack([each.lane.truth_T4[0] for each in shown])
    for each, template in zip(shown, tracker.begin([each.seen for each in shown], boxes_B4), strict=True):
        each.lane.templates[k] = template
        if not each.lane.trails[k]:
            each.lane.trails[k].add(each.lane.truth_T4[0], 1.0, each.size)


def _follow(tracker: VideoFollower, k: int, shown: Sequence[_Shown]) -> None:
    if not shown:
        return
    boxes_B4, score_B = tracker.step(
        [each.lane.templates[k] for each in shown],
        [each.seen for each in shown],
        np.stack([each.lane.trails[k].boxes[-1] for each in shown]),
    )
    for each, box_4, score in zip(shown, boxes_B4, score_B.tolist(), strict=True):
        each.lane.trails[k].add(box_4, score, each.size)


def _words(box_4: Floats) -> str:
    return ", ".join(f"{value:g}" for value in box_4)
