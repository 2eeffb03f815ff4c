"""Passes of one shape, whatever is followed: in deterministic mode a video's boxes depend on no other video's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tracking.schedule import slots_of
from tracking.tracker import Floats, VideoFollower, VideoFrame


@dataclass(frozen=True)
class SteadyFollower:
    """A `VideoFollower` that makes another's templates one by one, and its steps always of `width` videos.

    Libraries choose how they multiply by the shape of what they are given, so the last bits of a row depend on how many rows are beside it, and not on
    what stands in them: on a CPU that was found so, on a GPU it is how cuBLAS and cuDNN choose, with no promise by either.
    """

    follower: VideoFollower
    width: int

    def begin(self, frames: Sequence[VideoFrame], boxes_B4: Floats) -> Sequence[Any]:
        return [self.follower.begin([frame], box_4[None])[0] for frame, box_4 in zip(frames, boxes_B4, strict=True)]

    def step(self, templates: Sequence[Any], frames: Sequence[VideoFrame], boxes_B4: Floats) -> tuple[Floats, Floats]:
        B, more = len(frames), self.width - len(frames)
        boxes_B4 = np.concatenate([boxes_B4, np.repeat(boxes_B4[:1], more, axis=0)])
        found_B4, score_B = self.follower.step(
            [*templates, *[templates[0]] * more], [*frames, *[frames[0]] * more], boxes_B4
        )
        return found_B4[:B], score_B[:B]


def steady(follower: VideoFollower, device: torch.device) -> VideoFollower:
    """In torch's deterministic mode one whose boxes depend on no other video's."""
    return SteadyFollower(follower, slots_of(device)) if torch.are_deterministic_algorithms_enabled() else follower
