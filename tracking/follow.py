"""Following in the videos of a split, over all ranks together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from rice_core.datasets import Video
from rice_core.errors import UserError, room_for
from rice_core.features import Encoder
from rice_core.ranks import Ranks
from rice_core.record import Skipped
from tracking.kept import Tracked
from tracking.recipe import TrackerConfig
from tracking.schedule import longest_first, slots_of
from tracking.steady import steady
from tracking.together import follow_together
from tracking.track import Speed, TrackResults, track
from tracking.tracker import ObjectTracker, VideoFollower
from tracking.training import load_tracker


class FollowerMaker(Protocol):
    """What makes a follower on an encoder; a plain value, since it is sent to the ranks."""

    def on(self, encoder: Encoder) -> VideoFollower:
        """Raises UserError: the encoder cannot be followed with."""


@dataclass(frozen=True)
class WithHead:
    """Of a head that has been trained."""

    config: TrackerConfig
    precision: str
    folder: Path
    """Of the weights."""

    def on(self, encoder: Encoder) -> VideoFollower:
        head = load_tracker(self.folder, self.config, channels=encoder.dim, device=encoder.device)
        return ObjectTracker(encoder, head.eval(), self.config, self.precision)


@dataclass(frozen=True)
class Following:
    """A `rice_core.joint.JointErrand`. Each rank follows in every so many-th video, the longest first."""

    maker: FollowerMaker
    videos: tuple[Video, ...]
    keep: Path
    """For what is followed, until the cell is measured."""
    what: str
    """It is called in a bar."""
    workers: int

    def run(
        self, encoder: Encoder, ranks: Ranks, progress: Callable[[Sequence[Any], str], Iterator[Any]]
    ) -> TrackResults:
        """On the first rank all of it, in the order of the videos.

        Raises:
            UserError: as `track.track`, or memory is full.
        """
        found, failed = None, ""
        try:
            with room_for(self.what, "use another device, or an encoder that takes less"):
                found = self._followed(encoder, ranks, progress)
        except UserError as error:
            failed = str(error)
        told: list[tuple[TrackResults | None, str]] = ranks.collect((found, failed))
        for _, said in told:
            if said:
                raise UserError(said)
        return _joined([part for part, _ in told if part is not None], [video.id for video in self.videos])

    @staticmethod
    def together(
        parts: Sequence[tuple[Encoder, Following]], progress: Callable[[Sequence[Any], str], Iterator[Any]]
    ) -> list[str]:
        """See `tracking.together.follow_together`."""
        return follow_together(parts, progress)

    def _followed(
        self, encoder: Encoder, ranks: Ranks, progress: Callable[[Sequence[Any], str], Iterator[Any]]
    ) -> TrackResults:
        order = longest_first([1 + _frames(video) for video in self.videos])
        return track(
            [steady(self.maker.on(encoder), encoder.device)],
            [self.videos[place] for place in order[ranks.rank :: ranks.size]],
            slots=slots_of(encoder.device),
            workers=decoders_of(encoder.device, self.workers),
            keep=[self.keep],
            progress=progress,
            what=self.what,
        )


def _frames(video: Video) -> int:
    """None where they cannot be listed, which `track` says."""
    try:
        return len(video.frames)
    except OSError:
        return 0


def decoders_of(device: torch.device, workers: int) -> int:
    """On a CPU the tracker takes all cores, and processes that decode would only wait for them."""
    return 0 if device.type == "cpu" else workers


def _joined(parts: Sequence[TrackResults], names: Sequence[str]) -> TrackResults:
    """What the ranks found, in the order of the videos."""
    tracked: dict[str, Tracked] = {name: one for part in parts for name, one in part.tracked[0].items()}
    left_out: dict[str, Skipped] = {skip.item: skip for part in parts for skip in part.left_out}
    return TrackResults(
        ({name: tracked[name] for name in names if name in tracked},),
        tuple(left_out[name] for name in names if name in left_out),
        Speed(
            sum(part.speed.frames for part in parts),
            max((part.speed.seconds for part in parts), default=0.0),
            max((part.speed.waited for part in parts), default=0.0),
            sum(part.speed.slots for part in parts),
        ),
    )
