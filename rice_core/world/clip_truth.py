"""Where a clip's target is and how much of it is seen, from the label maps of its frames.

A box lies around what is seen: GOT-10k, LaSOT and TrackingNet have annotators fit the visible part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rice_core.world.shapes import Floats

_COVER_FROM = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
"""GOT-10k's levels of what is seen: 0 nothing, 1 up to 15 %, 2 up to 30 %, ... 7 above 90 %, 8 all."""


@dataclass(frozen=True)
class Placed:
    """A stamp in a frame; its corner may lie outside."""

    top: int
    left: int
    opaque_PP: npt.NDArray[np.bool_]

    def inside(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the frame that it lies on; empty where it is out of view."""
        rows, columns = self.opaque_PP.shape
        top, left = min(max(0, self.top), height), min(max(0, self.left), width)
        bottom, right = max(top, min(self.top + rows, height)), max(left, min(self.left + columns, width))
        return slice(top, bottom), slice(left, right)


@dataclass(frozen=True)
class ClipTruth:
    """The target in each of T frames; boxes count pixels from 0."""

    boxes_T4: npt.NDArray[np.int64]
    """x, y, width, height around the pixels that are seen; 0 where there is none."""
    whole_T4: npt.NDArray[np.int64]
    """The same around its pixels in view, hidden ones among them."""
    seen_T: npt.NDArray[np.int64]
    """Pixels."""
    in_view_T: npt.NDArray[np.int64]
    """Pixels, hidden ones among them."""
    all_T: npt.NDArray[np.int64]
    """Pixels, those beyond the edges among them."""

    @property
    def absent_T(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.seen_T == 0)

    @property
    def out_of_view_T(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.in_view_T == 0)

    @property
    def full_occlusion_T(self) -> npt.NDArray[np.bool_]:
        return self.absent_T & ~self.out_of_view_T

    @property
    def cut_T(self) -> npt.NDArray[np.bool_]:
        """Where an edge of the image runs through it."""
        return (self.in_view_T > 0) & (self.in_view_T < self.all_T)

    @property
    def cover_T(self) -> npt.NDArray[np.int64]:
        """GOT-10k's levels, 0 to 8, of the share that is seen of the whole target."""
        share_T: Floats = self.seen_T / self.all_T
        levels_T = np.searchsorted(_COVER_FROM, share_T, side="left")
        return np.where(self.seen_T == self.all_T, 8, levels_T)


def clip_truth(seen_THW: npt.NDArray[np.bool_], placed: Sequence[Placed]) -> ClipTruth:
    """The truth of a target that is seen at these pixels, and was put there in each frame before other things."""
    height, width = seen_THW.shape[1:]
    wholes = []
    for at in placed:
        whole_HW = np.zeros((height, width), dtype=np.bool_)
        rows, columns = at.inside(height, width)
        whole_HW[rows, columns] = at.opaque_PP[
            rows.start - at.top : rows.stop - at.top, columns.start - at.left : columns.stop - at.left
        ]
        wholes.append(whole_HW)
    whole_THW = np.stack(wholes)
    return ClipTruth(
        boxes_T4=_boxes(seen_THW),
        whole_T4=_boxes(whole_THW),
        seen_T=np.count_nonzero(seen_THW, axis=(1, 2)),
        in_view_T=np.count_nonzero(whole_THW, axis=(1, 2)),
        all_T=np.array([np.count_nonzero(at.opaque_PP) for at in placed]),
    )


def _boxes(mask_THW: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Around what is true in each frame."""
    boxes_T4 = np.zeros((len(mask_THW), 4), dtype=np.int64)
    for t, mask_HW in enumerate(mask_THW):
        rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
        if len(rows):
            x, y = columns[0], rows[0]
            boxes_T4[t] = x, y, columns[-1] - x + 1, rows[-1] - y + 1
    return boxes_T4
