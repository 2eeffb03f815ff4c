"""The GOT-10k toolkit: its own AO and SR, and what its LaSOT experiment makes of other data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from rice_core.datasets.tracks import Track
from rice_core.errors import UserError
from tracking.curves import Curves, Errors, Floats, Size, area, centres, curves_of, fitted, lengths
from tracking.dialects.base import PIXELS, CurveName, Dialect, Weights

_NONE = np.empty(0)


class Got10kDialect(Dialect):
    """The headline of GOT-10k: AO, SR at 0.5 and SR at 0.75.

    - Frames count from the second one, where `cover` is above 0; of data without `cover`, where the object is not flagged
      absent and the true box is finite.
    - Both boxes are clipped to the frame the toolkit's way: x moves up to 0 *without* w being cut.
    - AO is the mean IoU of all such frames of all videos together, so that long videos count for more; SR is the share of
      them with IoU above 0.5 or 0.75. A video is as heavy as it has such frames.
    - Nothing is mended: no width is IoU 0, and NaN is refused, of which the toolkit's AO would be NaN.

    Source: got10k 0.1.3 on PyPI (the same arithmetic as got-10k/toolkit 956e728), experiments/got10k.py, utils/metrics.py; SR at 0.75 is entry 75 of its
    curve of 101.
    """

    name: ClassVar[str] = "got10k"
    says: ClassVar[str] = "toolkit and server: frames after the first with cover above 0, all videos' together"
    of: ClassVar[Mapping[str, CurveName]] = {"ao": "success", "sr50": "success", "sr75": "success"}
    thresholds: ClassVar[tuple[Floats, Floats, Floats]] = (np.linspace(0, 1, 101), _NONE, _NONE)

    def judge(self, boxes_T4: Floats, track: Track, size: Size | None = None) -> Curves:
        if size is None:
            raise UserError(f"{self.name} clips boxes to the frame, whose size is not known; give the frames too.")
        boxes_T4, truth_T4 = fitted(boxes_T4, track), track.boxes_T4
        if "cover" in track.flags:
            counts_T = track.flags["cover"] > 0
        else:
            counts_T = ~track.absent_T & np.isfinite(truth_T4).all(1)
        counts_T[:1] = False
        if not np.isfinite(boxes_T4[counts_T]).all():
            row = int(np.flatnonzero(counts_T & ~np.isfinite(boxes_T4).all(1))[0])
            raise UserError(
                f"Row {row + 1} is {boxes_T4[row].tolist()}, of which {self.name} has no IoU; mend it, or read another dialect."
            )
        overlap_T = _overlaps(_clipped(boxes_T4[counts_T], size), _clipped(truth_T4[counts_T], size))
        return curves_of(Errors(overlap_T, _NONE, _NONE), self.thresholds, len(overlap_T))

    def read(self, curves: Curves) -> dict[str, float]:
        return {"ao": curves.overlap, "sr50": float(curves.success_S[50]), "sr75": float(curves.success_S[75])}

    def weights(self, curves: Curves) -> Weights:
        return Weights(*[float(curves.frames)] * 3)


class Got10kLasotDialect(Dialect):
    """LaSOT by the GOT-10k toolkit, which papers of SiamCAR's kin print.

    - Rows whose truth has a NaN are dropped, above and below; there are no flags. Row 0 becomes the truth; nothing is mended.
    - IoU without whole pixels has to be above its threshold; distances of centres of whole pixels at most theirs.
    - The normalised distance divides by sides of at least 1 pixel, and normalised precision is the *mean* of its 51 shares.

    The toolkit cuts the truth to a short file; here that is refused.

    Source: got-10k/toolkit 956e728, experiments/lasot.py, utils/metrics.py. No release on PyPI has this experiment.
    """

    name: ClassVar[str] = "got10k-lasot"
    says: ClassVar[str] = (
        "LaSOT experiment of the GOT-10k toolkit: no flags, normalised precision is the mean of its curve"
    )
    thresholds: ClassVar[tuple[Floats, Floats, Floats]] = (np.linspace(0, 1, 21), PIXELS, np.linspace(0, 0.5, 51))

    def judge(self, boxes_T4: Floats, track: Track, size: Size | None = None) -> Curves:
        boxes_T4, truth_T4 = fitted(boxes_T4, track), track.boxes_T4
        boxes_T4[:1] = truth_T4[:1]
        known_T = ~np.isnan(truth_T4).any(1)
        boxes_T4, truth_T4 = boxes_T4[known_T], truth_T4[known_T]
        apart_T2 = centres(boxes_T4) - centres(truth_T4)
        errors = Errors(
            overlap_T=_overlaps(boxes_T4, truth_T4),
            distance_T=lengths(apart_T2),
            normalised_T=lengths(apart_T2 / np.maximum(1.0, truth_T4[:, 2:])),
        )
        return curves_of(errors, self.thresholds, len(truth_T4))

    def read(self, curves: Curves) -> dict[str, float]:
        return super().read(curves) | {"norm_precision": float(curves.normalised_N.mean())}

    def weights(self, curves: Curves) -> Weights:
        return Weights(*[float(curves.frames > 0)] * 3)


def _clipped(boxes_T4: Floats, size: Size) -> Floats:
    corner_T2 = np.clip(boxes_T4[:, :2], 0, size)
    return np.concatenate([corner_T2, np.clip(boxes_T4[:, 2:], 0, np.array(size) - corner_T2)], axis=1)


def _overlaps(boxes_T4: Floats, truth_T4: Floats) -> Floats:
    """`rect_iou`: of continuous boxes, 0 where both are empty."""
    low_T2 = np.maximum(boxes_T4[:, :2], truth_T4[:, :2])
    high_T2 = np.minimum(boxes_T4[:, :2] + boxes_T4[:, 2:], truth_T4[:, :2] + truth_T4[:, 2:])
    shared_T = area(np.maximum(high_T2 - low_T2, 0))
    union_T = area(boxes_T4[:, 2:]) + area(truth_T4[:, 2:]) - shared_T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.clip(shared_T / (union_T + np.finfo(float).eps), 0, 1), dtype=np.float64)
