"""A video while it is followed, by one tracker or several, and a frame of it that was decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rice_core.datasets import Video
from rice_core.errors import UserError
from tracking.decode import Picture
from tracking.kept import Floats, Trail
from tracking.tracker import VideoFrame


@dataclass
class Lane:
    """A video under way."""

    video: Video
    truth_T4: Floats
    """Of pixels that count from 0."""
    trails: list[Trail]
    """By tracker, as long as each other."""
    dropped: str
    """Why it cannot be begun with; empty where it can."""
    files: Sequence[Sequence[Path]] = ()
    """By tracker, where its trail is kept, for each who asks for it; empty: nowhere."""
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

    def save(self) -> None:
        """Raises StoreError: the disk is full, or the folder cannot be written."""
        for paths, trail in zip(self.files, self.trails, strict=False):
            for path in paths:
                trail.save(path)


def lane_of(video: Video, trackers: int, files: Sequence[Sequence[Path]]) -> Lane:
    """From the beginning on, or from where all its trackers were when it was kept."""
    try:
        length, truth_T4 = len(video.frames), video.track().boxes_T4.astype(np.float64)
    except (OSError, UserError) as error:
        said = str(error).removeprefix(f"{video.id} ")  # the line that it stands in begins so
        words = "its frames cannot be listed" if isinstance(error, OSError) else said
        return Lane(video, np.empty((0, 4)), [Trail() for _ in range(trackers)], words)
    truth_T4[:, :2] -= video.origin
    trails = [Trail.load(paths[0]) for paths in files] or [Trail() for _ in range(trackers)]
    known = min(length, *map(len, trails))
    for trail in trails:
        trail.cut(known)
    return Lane(video, truth_T4, trails, _no_beginning(truth_T4) if length else "it has no frames", files)


def _no_beginning(truth_T4: Floats) -> str:
    """Why no tracker can begin with the first box; empty where one can, for all that is known without the frame."""
    if not len(truth_T4) or not np.isfinite(truth_T4[0]).all():
        return "its first frame has no box to begin with"
    return "" if (truth_T4[0, 2:] > 0).all() else f"the box of its first frame has no size: {_words(truth_T4[0])}"


@dataclass(frozen=True)
class LaneFrame:
    """A frame that was decoded for a video."""

    lane: Lane
    visit: int
    frame: Picture | str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.seen.size

    @property
    def seen(self) -> VideoFrame:
        """As a tracker gets it."""
        assert not isinstance(self.frame, str)
        place, truth_T4 = self.lane.frame(self.visit), self.lane.truth_T4
        truth_4 = truth_T4[place] if place < len(truth_T4) else np.full(4, np.nan)
        return VideoFrame(self.lane.video.id, self.frame, truth_4)

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


def _words(box_4: Floats) -> str:
    return ", ".join(f"{value:g}" for value in box_4)
