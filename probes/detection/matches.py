"""Which detections are right, at each of T IoU thresholds: COCO's greedy matching, for all images at once.

The evaluator keeps its matches to itself, and an error of AP needs them: every resample of the images ranks the same
detections anew. The overlaps are the evaluator's own, so its AP follows from these matches to the last digits.

Letters: D detections, P pairs of one image and one category with both objects and detections, G objects of a pair,
O objects that count, T thresholds, I images, K categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Matches:
    """All that AP needs to know. Detections are sorted by category, then score (best first), then image."""

    image_D: Ints
    """Place of the image, 0 to I - 1."""
    start_K: Ints
    """Detections of category k are `start_K[k]:start_K[k + 1]`; K + 1 entries."""
    right_DT: Flags
    """Found an object that counts."""
    ignored_DT: Flags
    """Neither right nor wrong: in a crowd, or in LVIS of a category that is not exhaustively annotated there."""
    object_image_O: Ints
    """Places of the images of the objects that count, by category."""
    object_start_K: Ints
    """As `start_K`, of the objects."""


@dataclass(frozen=True)
class RankedDetections:
    """Detections in the order of evaluation: by image, category, score (best first); no more of a pair than count."""

    image_D: Ints
    category_D: Ints
    score_D: Floats
    unjudged_D: Flags
    """LVIS: of a category that is not exhaustively annotated in the image."""


def match(
    found: RankedDetections,
    crowds: Mapping[tuple[int, int], Flags],
    ious: Mapping[tuple[int, int], Floats],
    thresholds_T: Sequence[float],
    categories: int,
) -> Matches:
    """Match by the evaluators' rules.

    In order of score, a detection takes the free object with the largest overlap of at least the threshold, the last of
    equals; only where there is none, it may lie in a crowd, which is never used up.

    Args:
        crowds: which objects are crowds, in the evaluator's order, by (place of the image, place of the category).
        ious: [detections, objects] of the same pairs; those without one have no overlap.
    """
    D, T = len(found.score_D), len(thresholds_T)
    right_DT, ignored_DT = np.zeros((D, T), bool), np.zeros((D, T), bool)
    code_D = found.image_D * categories + found.category_D
    pairs = [pair for pair in crowds if len(ious.get(pair, ()))]
    first_P = np.searchsorted(code_D, [i * categories + k for i, k in pairs])
    for members in _buckets([len(crowds[pair]) for pair in pairs]):
        bucket = _Bucket([ious[pairs[p]] for p in members], [crowds[pairs[p]] for p in members], first_P[members])
        # pycocotools' cap: an overlap of exactly 1 passes a threshold of 1, whatever the rounding.
        bucket.match(np.minimum(np.asarray(thresholds_T), 1 - 1e-10), right_DT, ignored_DT)
    ignored_DT |= found.unjudged_D[:, None] & ~right_DT
    # lexsort is stable: equal scores stay in the order of the images, as the evaluators' mergesort leaves them.
    order_D = np.lexsort((-found.score_D, found.category_D))
    counted = [(k, i) for (i, k), crowd_G in crowds.items() for _ in range(np.count_nonzero(~crowd_G))]
    object_category_O, object_image_O = np.array(sorted(counted), np.int64).reshape(-1, 2).T
    return Matches(
        image_D=found.image_D[order_D],
        start_K=np.searchsorted(found.category_D[order_D], np.arange(categories + 1)),
        right_DT=right_DT[order_D],
        ignored_DT=ignored_DT[order_D],
        object_image_O=object_image_O,
        object_start_K=np.searchsorted(object_category_O, np.arange(categories + 1)),
    )


def _buckets(sizes_P: list[int]) -> list[Ints]:
    """Pairs with about as many objects, so that padding at most doubles the work."""
    exponent_P = np.ceil(np.log2(np.maximum(np.array(sizes_P, np.int64), 1))).astype(np.int64)
    return [np.flatnonzero(exponent_P == exponent) for exponent in np.unique(exponent_P)]


class _Bucket:
    """Pairs whose first detections are judged together, then their second ones, and so on."""

    def __init__(self, ious: list[Floats], crowds: list[Flags], first_P: Ints) -> None:
        count_P = np.array([len(iou) for iou in ious])
        by_count = np.argsort(-count_P, kind="stable")
        self.count_P, self.first_P = count_P[by_count], first_P[by_count]
        self.ious = [ious[p] for p in by_count]
        shape_PG = len(ious), max(iou.shape[1] for iou in ious)
        # Objects run backwards, so that argmax takes the last of equals. Padding is used up from the start.
        self.crowd_PG, self.taken_PG = np.zeros(shape_PG, bool), np.zeros(shape_PG, bool)
        for row, p in enumerate(by_count):
            n = len(crowds[p])
            self.crowd_PG[row, :n] = crowds[p][::-1]
            self.taken_PG[row, n:] = True
        self.row_ious = np.concatenate([iou[:, ::-1].ravel() for iou in self.ious])
        self.width_P = np.array([iou.shape[1] for iou in self.ious])
        self.offset_P = np.concatenate([[0], np.cumsum(self.count_P * self.width_P)[:-1]])

    def match(self, threshold_T: Floats, right_DT: Flags, ignored_DT: Flags) -> None:
        """Judge the detections of this bucket, in place."""
        columns_G = np.arange(self.taken_PG.shape[1])
        taken_PTG = np.repeat(self.taken_PG[:, None], len(threshold_T), axis=1)
        any_crowd = bool(self.crowd_PG.any())
        for rank in range(int(self.count_P[0])):
            n = int(np.searchsorted(-self.count_P, -rank, side="left"))  # pairs with more detections than `rank`
            place_nG = (self.offset_P[:n] + rank * self.width_P[:n])[:, None] + columns_G
            iou_nG = self.row_ious[np.minimum(place_nG, len(self.row_ious) - 1)]
            free_nTG = ~taken_PTG[:n]
            free_nTG &= iou_nG[:, None] >= threshold_T[:, None]
            best_nT, hit_nT = _best(free_nTG & ~self.crowd_PG[:n, None] if any_crowd else free_nTG, iou_nG)
            rows_n = self.first_P[:n] + rank
            right_DT[rows_n] = hit_nT
            if any_crowd:
                ignored_DT[rows_n] = (free_nTG & self.crowd_PG[:n, None]).any(2) & ~hit_nT
            row, t = np.nonzero(hit_nT)
            taken_PTG[row, t, best_nT[row, t]] = True


def _best(allowed_nTG: Flags, iou_nG: Floats) -> tuple[Ints, Flags]:
    """The largest overlap among those allowed, and whether there is one."""
    best_nT = np.where(allowed_nTG, iou_nG[:, None], -1.0).argmax(2)
    return best_nT, np.take_along_axis(allowed_nTG, best_nT[:, :, None], 2)[:, :, 0]
