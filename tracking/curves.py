"""Curves of one video, and the arithmetic that dialects have in common.

Letters: T frames, S, P, N thresholds of IoU, of the distance of centres in pixels, and of that distance in sides of the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rice_core.datasets.tracks import Track
from rice_core.errors import UserError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Size = tuple[int, int]
"""Width and height of the frames in pixels."""


@dataclass(frozen=True)
class Curves:
    """Of one video in one dialect: the share of its frames that is within each threshold, in [0, 1]."""

    success_S: Floats
    precision_P: Floats
    """Empty where the dialect has none."""
    normalised_N: Floats
    overlap: float
    """Mean IoU; a frame that counts as a miss has 0."""
    frames: int
    """What the shares are of; where it is 0, they are 0."""


@dataclass(frozen=True)
class Errors:
    """Of the frames that are looked at. An IoU below every threshold is a miss, a distance below every threshold a hit."""

    overlap_T: Floats
    distance_T: Floats
    normalised_T: Floats


def fitted(boxes_T4: Floats, track: Track) -> Floats:
    """A copy of the boxes with as many rows as the truth: what is beyond is cut, as every toolkit does.

    Raises:
        UserError: there are fewer.
    """
    T = len(track.boxes_T4)
    if len(boxes_T4) < T:
        raise UserError(
            f"There are {len(boxes_T4)} boxes for {T} frames; write one row a frame, the first frame's too."
        )
    return np.array(boxes_T4[:T], dtype=np.float64)


def repeated(boxes_T4: Floats, bad_T: Flags) -> Floats:
    """The last good row before it in place of each bad one. The first row has none before it and stays."""
    rows_T = np.where(bad_T, 0, np.arange(len(boxes_T4)))
    return boxes_T4[np.maximum.accumulate(rows_T)]


def centres(boxes_T4: Floats) -> Floats:
    """[T, 2]. Pixels count whole: a box of width 1 at 5 has its centre at 5."""
    return boxes_T4[:, :2] + (boxes_T4[:, 2:] - 1) / 2


def lengths(vectors_T2: Floats) -> Floats:
    """Of vectors in the plane."""
    x_T, y_T = vectors_T2.T
    return np.asarray(np.sqrt(x_T * x_T + y_T * y_T), dtype=np.float64)


def area(sides_T2: Floats) -> Floats:
    """Width times height: numpy multiplies two columns ten times as fast as along a row of two."""
    return sides_T2[:, 0] * sides_T2[:, 1]


def overlaps(boxes_T4: Floats, truth_T4: Floats) -> Floats:
    """IoU of whole pixels; NaN where there is none. MATLAB's and pandas's least and greatest pass over NaN."""
    low_T2 = np.fmax(boxes_T4[:, :2], truth_T4[:, :2])
    high_T2 = np.fmin(boxes_T4[:, :2] + boxes_T4[:, 2:] - 1, truth_T4[:, :2] + truth_T4[:, 2:] - 1)
    shared_T = area(np.fmax(0, high_T2 - low_T2 + 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(shared_T / (area(boxes_T4[:, 2:]) + area(truth_T4[:, 2:]) - shared_T), dtype=np.float64)


def errors_of(boxes_T4: Floats, truth_T4: Floats) -> Errors:
    """IoU and distances as MATLAB's toolkits and pytracking compute them, whatever the truth is."""
    centre_T2, true_T2, side_T2 = centres(boxes_T4), centres(truth_T4), truth_T4[:, 2:]
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled_T2 = centre_T2 / side_T2 - true_T2 / side_T2
    return Errors(overlaps(boxes_T4, truth_T4), lengths(centre_T2 - true_T2), lengths(scaled_T2))


def curves_of(errors: Errors, thresholds: tuple[Floats, Floats, Floats], frames: int, *, strict: bool = True) -> Curves:
    """Count frames.

    Args:
        thresholds: ascending, of IoU, distance and normalised distance; none where the dialect has no such curve.
        frames: what the counts are divided by.
        strict: IoU has to be above its threshold; else it may equal it. A distance may always.
    """
    of_overlap_S, of_distance_P, of_normalised_N = thresholds
    overlap_T = np.where(np.isnan(errors.overlap_T), -1.0, errors.overlap_T)
    above_S = len(overlap_T) - _below(overlap_T, of_overlap_S, equal=strict)
    share = 1 / frames if frames else 0.0
    return Curves(
        success_S=above_S * share,
        precision_P=_below(errors.distance_T, of_distance_P, equal=True) * share,
        normalised_N=_below(errors.normalised_T, of_normalised_N, equal=True) * share,
        overlap=float(np.maximum(overlap_T, 0).sum()) * share,
        frames=frames,
    )


def _below(values_T: Floats, thresholds_K: Floats, *, equal: bool) -> Floats:
    """How many values are below each threshold, or equal it; NaN is below none."""
    first_T = np.searchsorted(thresholds_K, values_T, side="left" if equal else "right")
    counts_K = np.bincount(first_T, minlength=len(thresholds_K) + 1)[: len(thresholds_K)]
    return np.cumsum(counts_K).astype(np.float64)
