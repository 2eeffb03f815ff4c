"""Trackers of several cells, of several encoders too, on frames that are decoded once: `ricebench run --together`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rice_core.datasets import Video
from rice_core.errors import StoreError, lacks_memory, one_line
from rice_core.features import Encoder
from tracking.kept import Trail, kept_as
from tracking.lanes import lane_of
from tracking.schedule import slots_of
from tracking.steady import steady
from tracking.track import FollowerFailed, in_lock_step
from tracking.tracker import VideoFollower

if TYPE_CHECKING:
    from tracking.follow import Following

Progress = Callable[[Sequence[Any], str], Iterator[Any]]


def follow_together(parts: Sequence[tuple[Encoder, Following]], progress: Progress) -> list[str]:
    """Follow in all their videos, and keep the boxes where each of the followings looks for them; see `rice_core.joint.JointErrand`.

    Videos that the same trackers are asked for are one queue, of whatever data sets they are: LaSOT, TrackingNet and TNL2K are
    followed by one tracker an encoder. A tracker that fails is left out, and the others go on where they were.

    Raises:
        StoreError: nothing can be kept.
    """
    trackers, said = _Trackers(parts), list[str]()
    for queue in _queues(trackers, parts):
        going = [k for k in queue.trackers if trackers.made(k, said)]
        # One that is left alone with its own cell's videos is followed there.
        while going and (len(going) > 1 or queue.pooled):
            try:
                _through(queue, going, trackers, parts[0][1].workers, progress)
                break
            except FollowerFailed as failed:
                trackers.give_up(going.pop(failed.place), failed.__cause__, said)
            except Exception as error:
                if len(going) > 1:
                    raise
                trackers.give_up(going.pop(), error, said)
    return said


def _through(queue: _Queue, going: Sequence[int], trackers: _Trackers, workers: int, progress: Progress) -> None:
    lanes = [lane_of(each.video, len(going), [each.files[k] for k in going]) for each in queue.videos]
    in_lock_step(
        [trackers.ready[k] for k in going],
        lanes,
        slots=slots_of(trackers.device),
        workers=workers,
        progress=progress,
        what=f"{len(lanes)} videos, {len(going)} trackers together",
    )


class _Trackers:
    """Those that the parts ask for, each made once."""

    def __init__(self, parts: Sequence[tuple[Encoder, Following]]) -> None:
        self.device = parts[0][0].device
        self.ready: dict[int, VideoFollower] = {}
        self._wanted: list[tuple[Encoder, Following]] = []
        self._failed: set[int] = set()
        self._known: dict[tuple[int, Any], int] = {}
        for encoder, following in parts:
            if (id(encoder), following.maker) not in self._known:
                self._known[id(encoder), following.maker] = len(self._wanted)
                self._wanted.append((encoder, following))

    def of(self, encoder: Encoder, following: Following) -> int:
        return self._known[id(encoder), following.maker]

    def made(self, k: int, said: list[str]) -> bool:
        """Whether there is such a tracker, and it has not failed."""
        if k not in self.ready and k not in self._failed:
            encoder, following = self._wanted[k]
            try:
                self.ready[k] = steady(following.maker.on(encoder), encoder.device)
            except Exception as error:
                self.give_up(k, error, said)
        return k in self.ready

    def give_up(self, k: int, error: BaseException | None, said: list[str]) -> None:
        if isinstance(error, StoreError):
            raise error
        assert error is not None
        self.ready.pop(k, None)
        self._failed.add(k)
        why = lacks_memory(error) or one_line(error)
        said.append(f"{self._wanted[k][1].what} does not follow together with the others any more: {why}")


@dataclass
class _Asked:
    """A video that is not followed to its end."""

    video: Video
    files: defaultdict[int, list[Path]]
    """By tracker, where its boxes are kept: once for each cell, as seeds of a tracker that draws nothing."""


@dataclass
class _Queue:
    """Videos that the same trackers are asked for."""

    trackers: tuple[int, ...]
    videos: list[_Asked]

    @property
    def pooled(self) -> bool:
        """Whether they are of several cells of a tracker."""
        return len({path.parent for each in self.videos for path in each.files[self.trackers[0]]}) > 1


def _queues(trackers: _Trackers, parts: Sequence[tuple[Encoder, Following]]) -> list[_Queue]:
    asked: dict[int, _Asked] = {}
    for encoder, following in parts:
        k = trackers.of(encoder, following)
        for video in following.videos:
            path = kept_as(following.keep, video.id)
            if not _ended(video, path):
                # Cells of one data set have the same videos, each of them there once.
                asked.setdefault(id(video), _Asked(video, defaultdict(list))).files[k].append(path)
    queues = defaultdict[tuple[int, ...], list[_Asked]](list)
    for each in asked.values():
        queues[tuple(sorted(each.files))].append(each)
    return [_Queue(those, videos) for those, videos in queues.items()]


def _ended(video: Video, path: Path) -> bool:
    try:
        return len(Trail.load(path)) >= len(video.frames) > 0
    except OSError:
        return False
