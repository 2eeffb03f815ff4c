"""A split that was followed: its videos, their boxes, and what of it can be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from rice_core.datasets import Track, Video
from tracking.dialects import OFFICIAL
from tracking.kept import Tracked
from tracking.overall import Followed
from tracking.results import rounded, stated_size
from tracking.track import TrackResults


@dataclass(frozen=True)
class FollowedSplit:
    """The videos that are judged, and where their objects were found."""

    name: str
    """Of the probe."""
    layout: str
    """Whose dialect and whose server it is for."""
    split: str
    videos: tuple[Video, ...]
    results: TrackResults

    @property
    def tracked(self) -> Mapping[str, Tracked]:
        return self.results.tracked[0]

    @property
    def dialect(self) -> str:
        """The official one."""
        return OFFICIAL[self.layout]

    @cached_property
    def followed(self) -> tuple[Followed, ...]:
        """What can be judged, in the numbers that stand in the files of results; videos of hidden truth cannot."""
        found = []
        for video in self.videos:
            if (one := self.tracked.get(video.id)) is not None:
                track = video.track()
                if not _hidden(video, track):
                    # Toolkits know one size a video: the stated one, or the first frame's.
                    width, height = stated_size(video) or one.sizes_T2[0].tolist()
                    found.append(Followed(video.id, rounded(one.boxes_T4), track, (width, height)))
        return tuple(found)


def _hidden(video: Video, track: Track) -> bool:
    """Whether only the first box is known."""
    return len(track.boxes_T4) < len(video.frames)
