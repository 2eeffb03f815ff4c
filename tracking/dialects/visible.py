"""Frames in which the object is to be seen, and no others."""

from __future__ import annotations

from typing import ClassVar

from rice_core.datasets.tracks import Track
from tracking.curves import Curves, Floats, Size, curves_of, errors_of
from tracking.dialects.base import Dialect, Weights
from tracking.dialects.lasot import mended


class VisibleDialect(Dialect):
    """The question that people mean: a perfect tracker has 100 for both precisions, and no frame is a hit that nobody looked at.

    - Frames count, above and below, where the data set's own flags do not say absent and the true box is finite with w, h > 0.
    - Predicted rows are mended as in `lasot`; row 0 becomes the truth.
    - IoU of whole pixels has to be above its threshold, so that a perfect tracker's success is 95.2381.
    - A video without such a frame is left out.

    Ours; near it is pytracking's exclude_invalid_frames=True, which also leaves out boxes that begin at 0.
    """

    name: ClassVar[str] = "visible"
    says: ClassVar[str] = "frames alone in which the object can be seen"

    def judge(self, boxes_T4: Floats, track: Track, size: Size | None = None) -> Curves:
        seen_T = track.usable_T
        errors = errors_of(mended(boxes_T4, track)[seen_T], track.boxes_T4[seen_T])
        return curves_of(errors, self.thresholds, int(seen_T.sum()))

    def weights(self, curves: Curves) -> Weights:
        """A video in which nothing can be seen says nothing."""
        return Weights(*[float(curves.frames > 0)] * 3)
