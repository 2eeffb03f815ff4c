"""Which detections are right, at each of T IoU thresholds: COCO's greedy matching, for all images at once.

pycocotools matches one image, one category and one detection after another in Python; the same rules are followed here for
the first detections of all pairs, then for their second ones, and so on. An error of AP needs the matches as well: every
resample of the images ranks the same detections anew.

Letters: as in `columns.py`, G objects of a pair, T thresholds, I images, K categories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probes.detection.columns import Flags, Floats, Ints, Objects, RankedDetections
from probes.detection.overlaps import Pairs


@dataclass(frozen=True)
class Matches:
    """All that AP needs to know. Detections are sorted by category, then score (best first), then image."""

    row_D: Ints
    """Place among the ranked detections."""
    image_D: Ints
    """Place of the image, 0 to I - 1."""
    start_K: Ints
    """Detections of category k are `start_K[k]:start_K[k + 1]`; K + 1 entries."""
    rank_D: Ints
    """From 0, among the detections of the same image and category."""
    right_DT: Flags
    """RankedDetections an object that counts."""
    ignored_DT: Flags
    """Neither right nor wrong: in a crowd, or in LVIS of a category that is not exhaustively annotated there; of a range of
    areas also what found an object of another, or is itself of another and found nothing."""
    object_D: Ints
    """Place of the object that is found at the first threshold, where one is."""
    object_image_O: Ints
    """Places of the images of the objects that count, by category."""
    object_start_K: Ints
    """As `start_K`, of the objects."""


def match(
    found: RankedDetections,
    objects: Objects,
    pairs: Pairs,
    thresholds_T: Sequence[float],
    ranges: Sequence[tuple[float, float]],
    categories: int,
) -> Iterator[Matches]:
    """Match by the evaluators' rules, one range of areas (square pixels, both ends in it) after the other.

    In order of score, a detection takes the free object with the largest overlap of at least the threshold, the last of
    equals; only where there is none, it may take one that does not count, or lie in a crowd, which is never used up.
    """
    buckets = [_Bucket(pairs, members) for members in _buckets(np.diff(pairs.objects_P2)[:, 0])]
    # pycocotools' cap: an overlap of exactly 1 passes a threshold of 1, whatever the rounding.
    threshold_T = np.minimum(np.asarray(thresholds_T), 1 - 1e-10)
    # lexsort is stable: equal scores stay in the order of the images, as the evaluators' mergesort leaves them.
    order_D = np.lexsort((-found.score_D, found.category_D))
    start_K = np.searchsorted(found.category_D[order_D], np.arange(categories + 1))
    for low, high in ranges:
        uncounted_O = objects.crowd_O | (objects.area_O < low) | (objects.area_O > high)
        right_DT, ignored_DT = np.zeros((2, len(order_D), len(threshold_T)), bool)
        object_D = np.zeros(len(order_D), np.int64)
        for bucket in buckets:
            bucket.match(threshold_T, uncounted_O, objects.crowd_O, right_DT, ignored_DT, object_D)
        outside_D = found.unjudged_D | (found.area_D < low) | (found.area_D > high)
        ignored_DT |= outside_D[:, None] & ~right_DT
        counted = np.flatnonzero(~uncounted_O)
        counted = counted[np.argsort(objects.category_O[counted], kind="stable")]
        yield Matches(
            row_D=order_D,
            image_D=found.image_D[order_D],
            start_K=start_K,
            rank_D=found.rank_D[order_D],
            right_DT=right_DT[order_D],
            ignored_DT=ignored_DT[order_D],
            object_D=object_D[order_D],
            object_image_O=objects.image_O[counted],
            object_start_K=np.searchsorted(objects.category_O[counted], np.arange(categories + 1)),
        )


def _buckets(sizes_P: Ints) -> list[Ints]:
    """Pairs with about as many objects, so that padding at most doubles the work."""
    exponent_P = np.ceil(np.log2(np.maximum(sizes_P, 1))).astype(np.int64)
    return [np.flatnonzero(exponent_P == exponent) for exponent in np.unique(exponent_P)]


class _Bucket:
    """Pairs whose first detections are judged together, then their second ones, and so on."""

    def __init__(self, pairs: Pairs, members: Ints) -> None:
        members = members[np.argsort(-np.diff(pairs.found_P2)[members, 0], kind="stable")]
        self.first_P = pairs.found_P2[members, 0]
        self.count_P = np.diff(pairs.found_P2)[members, 0]
        first_P, end_P = pairs.objects_P2[members].T
        self.width_P = end_P - first_P
        # Objects run backwards, so that argmax takes the last of equals. -1 is padding.
        object_PG = end_P[:, None] - 1 - np.arange(self.width_P.max())
        self.object_PG = np.where(object_PG >= first_P[:, None], object_PG, -1)
        self.row_ious = np.concatenate([pairs.ious[p][:, ::-1].ravel() for p in members])
        self.offset_P = np.concatenate([[0], np.cumsum(self.count_P * self.width_P)[:-1]])

    def match(
        self,
        threshold_T: Floats,
        uncounted_O: Flags,
        crowd_O: Flags,
        right_DT: Flags,
        ignored_DT: Flags,
        object_D: Ints,
    ) -> None:
        """Judge the detections of this bucket, in place."""
        columns_G = np.arange(self.object_PG.shape[1])
        uncounted_PG, crowd_PG = uncounted_O[self.object_PG], crowd_O[self.object_PG]
        taken_PTG = np.repeat((self.object_PG < 0)[:, None], len(threshold_T), axis=1)
        all_count = not uncounted_PG.any()
        for rank in range(int(self.count_P[0])):
            n = int(np.searchsorted(-self.count_P, -rank, side="left"))  # pairs with more detections than `rank`
            place_nG = (self.offset_P[:n] + rank * self.width_P[:n])[:, None] + columns_G
            iou_nG = self.row_ious[np.minimum(place_nG, len(self.row_ious) - 1)]
            free_nTG = ~taken_PTG[:n]
            free_nTG &= iou_nG[:, None] >= threshold_T[:, None]
            best_nT, hit_nT = _best(free_nTG if all_count else free_nTG & ~uncounted_PG[:n, None], iou_nG)
            rows_n = self.first_P[:n] + rank
            right_DT[rows_n] = hit_nT
            object_D[rows_n] = self.object_PG[np.arange(n), best_nT[:, 0]]
            row, t = np.nonzero(hit_nT)
            taken_PTG[row, t, best_nT[row, t]] = True
            if not all_count:
                best_nT, beside_nT = _best(free_nTG & uncounted_PG[:n, None], iou_nG)
                beside_nT &= ~hit_nT
                ignored_DT[rows_n] = beside_nT
                row, t = np.nonzero(beside_nT)
                taken_PTG[row, t, best_nT[row, t]] = ~crowd_PG[row, best_nT[row, t]]


def _best(allowed_nTG: Flags, iou_nG: Floats) -> tuple[Ints, Flags]:
    """The largest overlap among those allowed, and whether there is one."""
    best_nT = np.where(allowed_nTG, iou_nG[:, None], -1.0).argmax(2)
    return best_nT, np.take_along_axis(allowed_nTG, best_nT[:, :, None], 2)[:, :, 0]
