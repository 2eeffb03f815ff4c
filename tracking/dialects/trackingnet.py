"""TrackingNet's devkit, which its server runs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rice_core.datasets.tracks import Track
from tracking.curves import Curves, Errors, Floats, Size, curves_of, fitted, lengths, overlaps
from tracking.dialects.base import Dialect

_BINS = np.linspace(0, 1, 21)


class TrackingNetDialect(Dialect):
    """The headline of TrackingNet.

    - Everything is rounded to whole pixels (half to even); then row 0 becomes the truth. Nothing is mended.
    - IoU may *equal* its threshold: a miss still has IoU 0, so that success is never below that of its first threshold.
    - All three numbers are areas under a curve of 21 shares, by the trapezoid rule: precision to 50 pixels, normalised to 0.5.
    - All frames count, above and below; there are no flags. A NaN is a miss.

    The devkit takes a missing or short file for zeros or NaN; here both are refused.

    Source: SilvioGiancola/TrackingNet-devkit 79783f2, metrics.py.
    """

    name: ClassVar[str] = "trackingnet"
    says: ClassVar[str] = (
        "devkit: whole pixels, IoU may equal its threshold, both precisions are areas under their curves"
    )
    thresholds: ClassVar[tuple[Floats, Floats, Floats]] = (_BINS, np.linspace(0, 50, 21), np.linspace(0, 0.5, 21))

    def judge(self, boxes_T4: Floats, track: Track, size: Size | None = None) -> Curves:
        boxes_T4, truth_T4 = np.round(fitted(boxes_T4, track)), np.round(track.boxes_T4)
        boxes_T4[:1] = truth_T4[:1]
        side_T2 = truth_T4[:, 2:]
        apart_T2 = (truth_T4[:, :2] + (side_T2 + 1) / 2) - (boxes_T4[:, :2] + (boxes_T4[:, 2:] + 1) / 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = Errors(
                overlap_T=overlaps(boxes_T4, truth_T4),
                distance_T=lengths(apart_T2),
                normalised_T=lengths(apart_T2 / side_T2),
            )
        return curves_of(errors, self.thresholds, len(truth_T4), strict=False)

    def read(self, curves: Curves) -> dict[str, float]:
        of = {"success": curves.success_S, "precision": curves.precision_P, "norm_precision": curves.normalised_N}
        return {name: float(np.trapezoid(of_K, _BINS)) for name, of_K in of.items()}
