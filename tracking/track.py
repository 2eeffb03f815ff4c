"""Many videos followed in lock step by one tracker or several, on frames that are decoded once.

What was followed is kept video by video, and of those under way every minute: a run that is killed goes on in their middle.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rice_core.datasets import Video
from rice_core.record import Skipped
from tracking.decode import Picture, decoded
from tracking.kept import Tracked, kept_as
from tracking.lanes import Lane, LaneFrame, lane_of
from tracking.schedule import lock_steps, steps_of
from tracking.tracker import VideoFollower

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


class FollowerFailed(Exception):
    """One of several trackers failed; what all of them had followed is kept. Its cause is what happened."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


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
        UserError: the tracker's features are not finite. FollowerFailed: one of several trackers failed.
        StoreError: nothing can be kept.
    """
    twice = [name for name, times in Counter(video.id for video in videos).items() if times > 1]
    if twice:
        raise ValueError(f"two videos are called {twice[0]}")
    files = [[[kept_as(folder, video.id)] for folder in keep] for video in videos]
    lanes = [lane_of(video, len(trackers), its) for video, its in zip(videos, files, strict=True)]
    speed = in_lock_step(trackers, lanes, slots=slots, workers=workers, progress=progress, what=what)
    whole = [lane for lane in lanes if not lane.dropped]
    return TrackResults(
        tuple({lane.video.id: lane.trails[k].tracked(lane.video) for lane in whole} for k in range(len(trackers))),
        tuple(Skipped(item=lane.video.id, reason=lane.dropped) for lane in lanes if lane.dropped),
        speed,
    )


def in_lock_step(
    trackers: Sequence[VideoFollower],
    lanes: Sequence[Lane],
    *,
    slots: int,
    workers: int,
    progress: Progress,
    what: str,
) -> Speed:
    """All of them to their ends; see `track`."""
    run, visits = _Run(trackers, lanes), [lane.visits for lane in lanes]
    steps, plan = steps_of(visits, slots), lock_steps(visits, slots)
    looked_at = ((lanes[place], visit) for step in lock_steps(visits, slots) for place, visit in step)
    frames = decoded((lane.video.frames[lane.frame(visit)] for lane, visit in looked_at), workers)
    began = time.perf_counter()
    for _ in progress(range(steps), what):
        run.step([(lanes[place], visit) for place, visit in next(plan)], frames)
    return Speed(sum(visits), time.perf_counter() - began, run.waited, steps * slots)


class _Run:
    """The steps of `in_lock_step`."""

    def __init__(self, trackers: Sequence[VideoFollower], lanes: Sequence[Lane]) -> None:
        self.trackers, self.lanes = trackers, lanes
        self.waited, self.saved = 0.0, time.perf_counter()

    def step(self, wanted: Sequence[tuple[Lane, int]], frames: Iterator[Picture | str]) -> None:
        """One frame of each video that is under way."""
        began = time.perf_counter()
        shown = [LaneFrame(lane, visit, next(frames)) for lane, visit in wanted]
        waited = time.perf_counter() - began
        self.waited += waited
        seen = [each for each in shown if each.usable()]
        for k, tracker in enumerate(self.trackers):
            began = time.perf_counter()
            try:
                _begin(tracker, k, [each for each in seen if not each.visit])
                _follow(tracker, k, [each for each in seen if each.visit])
            except Exception as error:
                self._save([lane for lane, _ in wanted if not lane.dropped], due=True)
                if len(self.trackers) == 1:
                    raise
                raise FollowerFailed(k) from error
            took = time.perf_counter() - began
            for each in seen:
                each.lane.trails[k].seconds += took / len(seen)
                each.lane.trails[k].waited += waited / len(shown) / len(self.trackers)
                each.lane.trails[k].beside = max(each.lane.trails[k].beside, len(self.trackers))
        due = time.perf_counter() - self.saved > SAVED_EVERY
        self._save([lane for lane, _ in wanted if not lane.dropped], due=due)

    def _save(self, lanes: Sequence[Lane], *, due: bool) -> None:
        """What has ended, and now and then all that is under way."""
        for lane in lanes:
            if lane.ended or due:
                lane.save()
            if lane.ended:
                lane.templates.clear()
        if due:
            self.saved = time.perf_counter()


def _begin(tracker: VideoFollower, k: int, shown: Sequence[LaneFrame]) -> None:
    """Templates of first frames; of a video that is gone on with the box is known."""
    if not shown:
        return
    boxes_B4 = np.stack([each.lane.truth_T4[0] for each in shown])
    for each, template in zip(shown, tracker.begin([each.seen for each in shown], boxes_B4), strict=True):
        each.lane.templates[k] = template
        if not each.lane.trails[k]:
            each.lane.trails[k].add(each.lane.truth_T4[0], 1.0, each.size)


def _follow(tracker: VideoFollower, k: int, shown: Sequence[LaneFrame]) -> None:
    if not shown:
        return
    boxes_B4, score_B = tracker.step(
        [each.lane.templates[k] for each in shown],
        [each.seen for each in shown],
        np.stack([each.lane.trails[k].boxes[-1] for each in shown]),
    )
    for each, box_4, score in zip(shown, boxes_B4, score_B.tolist(), strict=True):
        each.lane.trails[k].add(box_4, score, each.size)
