"""The official MATLAB code of LaSOT, which TNL2K's is a copy of."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rice_core.datasets.tracks import Track
from tracking.curves import Curves, Errors, Floats, Size, curves_of, errors_of, fitted, repeated
from tracking.dialects.base import Dialect, Weights


class LasotDialect(Dialect):
    """The headline of LaSOT and TNL2K.

    - A predicted row with a NaN, or without width or height, becomes the row before it; then row 0 becomes the truth.
    - Frames flagged absent are looked at in no numerator, and counted in every denominator: that is all frames.
    - A true box with any of x, y, w, h <= 0 is invalid: a miss for success, a *hit* for both precisions (its distance is -1).
    - IoU of whole pixels has to be above its threshold, a distance at most its threshold.
    - A video whose whole curve is 0 is left out of that curve's mean.
    - NaN in the truth's row: the prediction's is not mended.

    Precision is read at 20 pixels and normalised precision at 0.2. The scripts as published print something else: LaSOT's are
    set to 1,400 videos and one curve, TNL2K's legend has the mean of the 51 normalised shares.

    Source: HengLan/LaSOT_Evaluation_Toolkit 95bf38a, utils/calc_seq_err_robust.m, eval_tracker.m, plot_draw_save.m;
    wangxiao5791509/TNL2K_evaluation_toolkit 1a96f6e, the same files with the same arithmetic.
    """

    name: ClassVar[str] = "lasot"
    says: ClassVar[str] = (
        "official MATLAB code: absent frames fail, a true box with any of x, y, w, h <= 0 is a hit for precision"
    )

    def judge(self, boxes_T4: Floats, track: Track, size: Size | None = None) -> Curves:
        boxes_T4, truth_T4 = mended(boxes_T4, track)[~track.absent_T], track.boxes_T4[~track.absent_T]
        errors = errors_of(boxes_T4, truth_T4)
        valid_T = (truth_T4 > 0).all(1)
        counted = Errors(*(np.where(valid_T, of_T, -1.0) for of_T in vars(errors).values()))
        return curves_of(counted, self.thresholds, len(track.boxes_T4))

    def weights(self, curves: Curves) -> Weights:
        """`aa(sum(aa,2)>eps, :)` of plot_draw_save.m."""
        return Weights(*(float(of_K.any()) for of_K in (curves.success_S, curves.precision_P, curves.normalised_N)))


def mended(boxes_T4: Floats, track: Track) -> Floats:
    """The predicted rows as MATLAB's code mends them, the first one the truth's."""
    boxes_T4 = fitted(boxes_T4, track)
    with np.errstate(invalid="ignore"):
        bad_T = np.asarray(np.isnan(boxes_T4).any(1) | (boxes_T4[:, 2:] <= 0).any(1))
    boxes_T4 = repeated(boxes_T4, bad_T & ~np.isnan(track.boxes_T4).any(1))
    boxes_T4[:1] = track.boxes_T4[:1]
    return boxes_T4
