"""What masks of referring expressions are worth, in percent: every definition that is in use, by name.

    cIoU                       sum of intersections / sum of unions over all expressions: what Table 2 prints as IoU, and LISA as cIoU
                               (others call it oIoU, overall IoU). Large objects count most.
    gIoU                       mean of the expressions' IoU, an empty union counting 1: LISA's gIoU
    gIoU, empty union 0        the same with 0 there: mmdetection's mIoU
    gIoU, empty union dropped  the mean over the expressions that have a union
    gIoU, by picture           the mean over pictures of the mean over a picture's expressions: unicom's, which puts all questions about
                               a picture into one conversation and averages over conversations; an empty union counts 1
    Pr@0.5 ... Pr@0.9          share of the expressions with an IoU of at least that, an empty union being right (LAVT, ReLA; CRIS wants more
                               than that, so that an IoU of exactly a half differs)

Sums are of whole numbers: single precision stops at 16,777,216 pixels, and refCOCO's val has 3,300,000,000. Errors are by picture.
Letters: N expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rice_core.record import Scores
from rice_core.stats.estimates import Estimate, mean_clustered
from rice_core.stats.ratios import mean_of_ratios

BOUNDS = (0.0, 100.0)
THRESHOLDS = (5, 6, 7, 8, 9)
"""In tenths, so that no IoU is rounded across one."""
CIOU, GIOU = "cIoU", "gIoU"
ZERO, DROPPED, BY_PICTURE = "gIoU, empty union 0", "gIoU, empty union dropped", "gIoU, by picture"
PRECISIONS = tuple(f"Pr@0.{tenths}" for tenths in THRESHOLDS)


@dataclass(frozen=True)
class MaskOverlaps:
    """How many pixels predicted and true masks share."""

    ids: tuple[str, ...]
    pictures: tuple[str, ...]
    intersection_N: npt.NDArray[np.int64]
    union_N: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[tuple[str, str, int, int]]) -> MaskOverlaps:
        """Args: rows: id, picture, intersection, union."""
        ids, pictures, intersections, unions = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(ids, pictures, np.array(intersections, np.int64), np.array(unions, np.int64))

    def part(self, ids: Sequence[str]) -> MaskOverlaps:
        """Those of `ids`, in their order."""
        place = {each: k for k, each in enumerate(self.ids)}
        rows = [place[each] for each in ids]
        pictures = tuple(self.pictures[row] for row in rows)
        return MaskOverlaps(tuple(ids), pictures, self.intersection_N[rows], self.union_N[rows])

    @property
    def iou_N(self) -> npt.NDArray[np.float64]:
        """Of each expression; an empty union is 1."""
        return np.where(self.union_N > 0, self.intersection_N / np.maximum(self.union_N, 1), 1.0)


def metrics_of_masks(found: MaskOverlaps) -> dict[str, Estimate]:
    """Every metric that is defined: without any union there is no cIoU, and no mean of those that have one.

    Raises:
        ValueError: no expression.
    """
    scores = scores_of(found)
    metrics = {name: mean_clustered(scores.values[name], found.pictures, BOUNDS) for name in scores.values}
    if CIOU in metrics:  # the mean of what was linearised differs by rounding
        ratio = 100 * int(found.intersection_N.sum()) / int(found.union_N.sum())
        metrics[CIOU] = replace(metrics[CIOU], value=ratio)
    seen = np.flatnonzero(found.union_N > 0)
    if len(seen):
        pictures = [found.pictures[k] for k in seen]
        metrics[DROPPED] = mean_clustered(100 * found.iou_N[seen], pictures, BOUNDS)
    pictures, picture_N = np.unique(np.array(found.pictures), return_inverse=True)
    mean_G = np.bincount(picture_N, found.iou_N) / np.bincount(picture_N)
    metrics[BY_PICTURE] = mean_clustered(100 * mean_G, pictures, BOUNDS)
    return metrics


def scores_of(found: MaskOverlaps) -> Scores:
    """One value an expression of what is a mean over expressions, cIoU linearised: two models' can be paired."""
    rows = np.arange(len(found.ids))
    values = {}
    if found.union_N.any():
        _, linear_N = mean_of_ratios(
            100 * found.intersection_N, found.union_N, group_E=np.zeros_like(rows), row_E=rows, cluster_E=found.pictures
        )
        values[CIOU] = tuple(linear_N.tolist())
    values[GIOU] = tuple((100 * found.iou_N).tolist())
    values[ZERO] = tuple(np.where(found.union_N > 0, 100 * found.iou_N, 0.0).tolist())
    for name, tenths in zip(PRECISIONS, THRESHOLDS, strict=True):
        values[name] = tuple((100.0 * (10 * found.intersection_N >= tenths * found.union_N)).tolist())
    return Scores(sample=found.ids, cluster=found.pictures, values=values)


def mean_ciou(cells: Sequence[MaskOverlaps]) -> tuple[Estimate, Scores]:
    """The mean of the splits' cIoU, and one value an expression whose mean it is. Splits share pictures, so errors are joint.

    Raises:
        ValueError: a split without any union.
    """
    intersection_N, union_N = (
        np.concatenate([getattr(cell, name) for cell in cells]) for name in ("intersection_N", "union_N")
    )
    split_N = np.repeat(np.arange(len(cells)), [len(cell.ids) for cell in cells])
    ids, pictures = (tuple(each for cell in cells for each in getattr(cell, name)) for name in ("ids", "pictures"))
    _, linear_N = mean_of_ratios(
        100 * intersection_N, union_N, group_E=split_N, row_E=np.arange(len(ids)), cluster_E=pictures
    )
    scores = Scores(sample=ids, cluster=pictures, values={CIOU: tuple(linear_N.tolist())})
    return mean_clustered(linear_N, pictures, BOUNDS), scores
