"""pytracking, and OSTrack's copy of it (STARK's, MixFormer's, SeqTrack's), which differ in what a valid true box is."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rice_core.datasets.tracks import Track
from rice_core.errors import UserError
from tracking.curves import Curves, Errors, Flags, Floats, Size, curves_of, errors_of, fitted, repeated
from tracking.dialects.base import Dialect

_LASOT = (("full_occlusion", "out_of_view"), ("full_occlusion or out_of_view",))
"""Flags of the data set, and of its toolkit, which has one file of both."""


class PytrackingDialect(Dialect):
    """What most papers' own code prints.

    - A predicted row without width or height (exactly 0) becomes the row before it; row 0 becomes the truth. NaN and
      negative sizes are refused, and so is NaN in the truth.
    - A true box is valid where all of x, y, w, h > 0 and, in LaSOT alone, the object is in sight. Flags of other data sets
      (TNL2K's, GOT-10k's) are not read: there an absent frame is told by its box.
    - Where it is not valid: success fails, precision fails, normalised precision is a *hit*, unless LaSOT says that the
      object is out of sight.
    - All frames are in the denominator. IoU of whole pixels has to be above its threshold.

    pytracking pads a short file with zeros outside LaSOT; here it is refused. Its curves are float32, so that it agrees to 1e-5 points.

    Source: visionml/pytracking 7eb9e74, pytracking/analysis/extract_results.py, exclude_invalid_frames=False.
    """

    name: ClassVar[str] = "pytracking"
    says: ClassVar[str] = (
        "a true box with any of x, y, w, h <= 0 fails, but for normalised precision, where it is a hit"
    )

    def judge(self, boxes_T4: Floats, track: Track, size: Size | None = None) -> Curves:
        boxes_T4, truth_T4 = fitted(boxes_T4, track), track.boxes_T4
        self._refuse(boxes_T4, truth_T4)
        boxes_T4 = repeated(boxes_T4, (boxes_T4[:, 2:] == 0).any(1))
        boxes_T4[:1] = truth_T4[:1]
        told = next((names for names in _LASOT if set(names) <= set(track.flags)), None)
        seen_T = None if told is None else ~np.any([track.flags[name] != 0 for name in told], axis=0)
        valid_T = self.valid(truth_T4) if seen_T is None else self.valid(truth_T4) & seen_T
        errors = errors_of(boxes_T4, truth_T4)
        normalised_T = np.where(valid_T, errors.normalised_T, -1.0)
        counted = Errors(
            overlap_T=np.where(valid_T, errors.overlap_T, -1.0),
            distance_T=np.where(valid_T, errors.distance_T, np.inf),
            normalised_T=normalised_T if seen_T is None else np.where(seen_T, normalised_T, np.inf),
        )
        return curves_of(counted, self.thresholds, len(truth_T4))

    def valid(self, truth_T4: Floats) -> Flags:
        """Which true boxes count."""
        return np.asarray((truth_T4 > 0).all(1))

    def _refuse(self, boxes_T4: Floats, truth_T4: Floats) -> None:
        if np.isnan(truth_T4).any():
            raise UserError(f"The truth has a NaN, which {self.name} refuses; read another dialect.")
        if not np.isfinite(boxes_T4).all() or (boxes_T4[:, 2:] < 0).any():
            row = int(np.flatnonzero(~np.isfinite(boxes_T4).all(1) | (boxes_T4[:, 2:] < 0).any(1))[0])
            raise UserError(
                f"Row {row + 1} is {boxes_T4[row].tolist()}: {self.name} refuses NaN and negative sizes; mend it, or read another dialect."
            )


class OSTrackDialect(PytrackingDialect):
    """As pytracking, but a true box is valid where w, h > 0, wherever its corner lies: what OSTrack's paper and most after it print.

    Source: botaoye/OSTrack 33b5e12, lib/test/analysis/extract_results.py.
    """

    name: ClassVar[str] = "ostrack"
    says: ClassVar[str] = "as pytracking, but a true box is valid wherever its corner lies"

    def valid(self, truth_T4: Floats) -> Flags:
        return np.asarray((truth_T4[:, 2:] > 0).all(1))
