"""What AP50 is lost to: six kinds of errors, after TIDE (Bolya et al. 2020, arXiv:2008.08115).

A detection that is wrong at IoU 0.5 is, by its overlap with the objects of its image, the first of these that holds:

    localization  0.1 to 0.5 with an object of its own category
    class         at least 0.5 with one of another category
    duplicate     at least 0.5 with one of its own, which a better detection has found
    background    less than 0.1 with every object
    both          the rest: 0.1 to 0.5, with objects of other categories alone

An object that nothing found is **missed** where no localization or class error is about it. A kind's loss is what AP50 would gain if its
errors alone were mended: of the localization or class errors about an object that nothing found the best one becomes right; all other wrong
detections of the kind are taken away; missed objects are taken out of the count. Losses do not add up to 100 - AP50.

As in AP, what is neither right nor wrong (crowds; in LVIS, categories that are not judged in an image) is no error, and the mean is
over categories with objects. One whose objects were all missed counts 0 once they are out where it has detections, and not at all
where it has none, as in TIDE.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probes.detection.columns import Flags, Floats, Ints, Objects, RankedDetections
from probes.detection.curves import precision_of
from probes.detection.matches import Matches
from probes.detection.overlaps import Overlaps

FOREGROUND, BACKGROUND = 0.5, 0.1
KINDS = ("localization", "class", "both", "duplicate", "background", "missed")
_LOCALIZATION, _CLASS, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = range(len(KINDS))


@dataclass(frozen=True)
class ErrorKind:
    """One kind of errors."""

    times: int
    lost: float
    """AP50 that is gained without it, in percent."""


def faults_of(found: RankedDetections, objects: Objects, matches: Matches, overlaps: Overlaps) -> dict[str, ErrorKind]:
    """The faults by kind, all of `KINDS`.

    Args:
        matches: of all areas, the first threshold at `FOREGROUND`.
    """
    right_D, ignored_D = np.zeros((2, len(found.score_D)), bool)
    right_D[matches.row_D], ignored_D[matches.row_D] = matches.right_DT[:, 0], matches.ignored_DT[:, 0]
    kind_D, about_D = _kinds(found, objects, ~(right_D | ignored_D), overlaps)
    taken_O = np.zeros(len(objects.area_O), bool)
    taken_O[matches.object_D[matches.right_DT[:, 0]]] = True
    missed_O = ~(taken_O | objects.crowd_O)
    missed_O[about_D[about_D >= 0]] = False

    K = len(matches.object_start_K) - 1
    objects_K = np.diff(matches.object_start_K)
    plain = _ap50(found.category_D, found.score_D, right_D, ~ignored_D, objects_K)
    faults = {}
    for kind, name in enumerate(KINDS[:_MISSED]):
        of_kind = np.flatnonzero(kind_D == kind)
        category_D, mended_D, kept_D = found.category_D.copy(), right_D.copy(), ~ignored_D
        kept_D[of_kind] = False
        best = _best(of_kind[about_D[of_kind] >= 0], about_D, found.score_D, taken_O)
        kept_D[best] = mended_D[best] = True
        category_D[best] = objects.category_O[about_D[best]]
        mended = _ap50(category_D, found.score_D, mended_D, kept_D, objects_K)
        faults[name] = ErrorKind(len(of_kind), mended - plain)
    left_K = objects_K - np.bincount(objects.category_O[missed_O], minlength=K)
    emptied = (left_K == 0) & (np.bincount(found.category_D[~ignored_D], minlength=K) > 0) & (objects_K > 0)
    mended = _ap50(found.category_D, found.score_D, right_D, ~ignored_D, left_K, emptied)
    return faults | {"missed": ErrorKind(int(missed_O.sum()), mended - plain)}


def _kinds(found: RankedDetections, objects: Objects, wrong_D: Flags, overlaps: Overlaps) -> tuple[Ints, Ints]:
    """Kind of each wrong detection, else -1; and the object that a localization or class error is about, else -1."""
    kind_D, about_D = np.full((2, len(wrong_D)), -1, np.int64)
    kind_D[wrong_D] = _BACKGROUND  # where an image has no objects
    for rows, true in _by_image(
        np.flatnonzero(wrong_D), found.image_D, np.flatnonzero(~objects.crowd_O), objects.image_O
    ):
        iou_DO = overlaps.of(rows, true)
        own_DO = found.category_D[rows][:, None] == objects.category_O[true]
        own_iou_DO, other_iou_DO = np.where(own_DO, iou_DO, 0), np.where(own_DO, 0, iou_DO)
        own_D, other_D = own_iou_DO.max(1), other_iou_DO.max(1)
        kind_D[rows] = np.select(
            [
                (own_D >= BACKGROUND) & (own_D < FOREGROUND),
                other_D >= FOREGROUND,
                own_D >= FOREGROUND,
                np.maximum(own_D, other_D) < BACKGROUND,
            ],
            [_LOCALIZATION, _CLASS, _DUPLICATE, _BACKGROUND],
            _BOTH,
        )
        about = np.where(kind_D[rows] == _LOCALIZATION, own_iou_DO.argmax(1), other_iou_DO.argmax(1))
        about_D[rows] = np.where(kind_D[rows] <= _CLASS, true[about], -1)
    return kind_D, about_D


def _by_image(rows: Ints, image_D: Ints, true: Ints, image_O: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The detections and the objects of each image that has both."""
    for image in np.intersect1d(image_D[rows], image_O[true]):
        (a, b), (c, d) = (np.searchsorted(column, [image, image + 1]) for column in (image_D[rows], image_O[true]))
        yield rows[a:b], true[c:d]


def _best(rows: Ints, about_D: Ints, score_D: Floats, taken_O: Flags) -> Ints:
    """Of the detections about each object that nothing found, the one with the highest score, the first of equals."""
    rows = rows[~taken_O[about_D[rows]]]
    rows = rows[np.lexsort((-score_D[rows], about_D[rows]))]
    return rows[np.unique(about_D[rows], return_index=True)[1]]


def _ap50(
    category_D: Ints, score_D: Floats, right_D: Flags, kept_D: Flags, objects_K: Ints, emptied_K: Flags | None = None
) -> float:
    """Percent."""
    kept = np.flatnonzero(kept_D)
    kept = kept[np.lexsort((-score_D[kept], category_D[kept]))]
    start_K = np.searchsorted(category_D[kept], np.arange(len(objects_K) + 1))
    right_D1 = right_D[kept][:, None]
    precisions = [
        precision_of(right_D1[start_K[k] : start_K[k + 1]], objects=int(objects_K[k])).mean()
        for k in np.flatnonzero(objects_K)
    ]
    zeros = 0 if emptied_K is None else int(emptied_K.sum())
    return 100 * float(np.sum(precisions)) / max(len(precisions) + zeros, 1)
