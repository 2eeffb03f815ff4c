"""Boxes, and the square crop around one that the tracker looks at.

A box is x, y, w, h in pixels of a frame, which counts from 0, and inside a crop cx, cy, w, h in [0, 1] of its side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

Box = tuple[float, float, float, float]
Style = Literal["exact", "ostrack"]
_TINY = 1e-12
"""Of an area in squares of a crop's side: far below a pixel's, and boxes without area give no NaN."""


@dataclass(frozen=True)
class Crop:
    """A square of whole pixels of a frame, which may reach beyond it, resized to `size` x `size` pixels."""

    cx: float
    cy: float
    """Of the box that it was made around, in pixels of the frame."""
    side: int
    """In pixels of the frame."""
    size: int
    style: Style = "exact"

    @classmethod
    def around(cls, box: Sequence[float], factor: float, size: int, style: Style = "exact") -> Crop:
        """`factor` times the side of the object, sqrt(w h), rounded up, as OSTrack does; at least a pixel.

        Raises:
            ValueError: the box is not finite, or has a negative size.
        """
        x, y, w, h = map(float, box)
        if not (all(map(math.isfinite, (x, y, w * h))) and w >= 0 and h >= 0):
            raise ValueError(f"no crop is around the box {x}, {y}, {w}, {h}")
        return cls(x + w / 2, y + h / 2, max(1, math.ceil(math.sqrt(w * h) * factor)), size, style)

    @property
    def left(self) -> int:
        """The first column of the frame that it shows; Python's rounding, half to even, as in OSTrack."""
        return round(self.cx - self.side / 2)

    @property
    def top(self) -> int:
        return round(self.cy - self.side / 2)

    def into(self, box: Sequence[float]) -> Box:
        """A box of the frame (x, y, w, h in pixels) -> cx, cy, w, h in [0, 1] of the crop, beyond it outside."""
        x, y, w, h = map(float, box)
        cx, cy = x + w / 2, y + h / 2
        if self.style == "exact":
            return (cx - self.left) / self.side, (cy - self.top) / self.side, w / self.side, h / self.side
        # OSTrack's labels: the crop's middle is at (size - 1) / 2, and it is the box's, not that of the pixels shown.
        middle = (self.size - 1) / 2 / self.size
        return (cx - self.cx) / self.side + middle, (cy - self.cy) / self.side + middle, w / self.side, h / self.side

    def back(self, box: Sequence[float]) -> Box:
        """cx, cy, w, h in [0, 1] of the crop -> x, y, w, h in pixels of the frame.

        With style "ostrack" half a pixel of the crop is lost on the way there and back: its tracker maps from size / 2.
        """
        cx, cy, w, h = (float(each) * self.side for each in box)
        left, top = (
            (self.left, self.top) if self.style == "exact" else (self.cx - self.side / 2, self.cy - self.side / 2)
        )
        return left + cx - w / 2, top + cy - h / 2, w, h


def clip(box: Sequence[float], size_hw: tuple[int, int], margin: int) -> Box:
    """A followed box (x, y, w, h) kept at least `margin` pixels large and inside the frame by as much, as OSTrack's `clip_box`.

    A frame that is smaller than the margin takes its place.
    """
    x, y, w, h = map(float, box)
    (x, w), (y, h) = _clipped(x, w, size_hw[1], margin), _clipped(y, h, size_hw[0], margin)
    return x, y, w, h


def _clipped(start: float, length: float, size: int, margin: int) -> tuple[float, float]:
    margin = min(margin, size)
    left = min(max(0.0, start), size - margin)
    right = min(max(margin, start + length), size)
    return left, max(margin, right - left)


def giou_N(a_N4: torch.Tensor, b_N4: torch.Tensor) -> torch.Tensor:
    """Generalized IoU (Rezatofighi et al. 2019) of pairs of boxes, left, top, right, bottom each, in [-1, 1]."""
    shared_N2 = a_N4[:, 2:].minimum(b_N4[:, 2:]) - a_N4[:, :2].maximum(b_N4[:, :2])
    shared_N = shared_N2.clamp(min=0).prod(1)
    union_N = (a_N4[:, 2:] - a_N4[:, :2]).prod(1) + (b_N4[:, 2:] - b_N4[:, :2]).prod(1) - shared_N
    hull_N = (a_N4[:, 2:].maximum(b_N4[:, 2:]) - a_N4[:, :2].minimum(b_N4[:, :2])).prod(1).clamp(min=_TINY)
    return shared_N / union_N.clamp(min=_TINY) - (hull_N - union_N) / hull_N


def corners(boxes_N4: torch.Tensor) -> torch.Tensor:
    """cx, cy, w, h -> left, top, right, bottom."""
    middle_N2, half_N2 = boxes_N4[:, :2], boxes_N4[:, 2:] / 2
    return torch.cat([middle_N2 - half_N2, middle_N2 + half_N2], 1)
