"""Detections and true objects as columns, with places for ids: some files have strings, and COCO's have gaps.

Both are sorted by image, then category, detections by score within (best first), so that what belongs to one image and one
category is one run of each. Letters: D detections, O objects, P pairs of one image and one category that have both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from probes.detection.truth import GroundTruth, Style
from rice_core.datasets.runs import fills_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Kind = Literal["box", "mask"]
_Entry = TypeVar("_Entry", bound=Mapping[str, Any])

DETECTIONS: dict[Style, int] = {"coco": 100, "lvis": 300}
"""How many count, the best first: of an image and category in COCO, of an image in LVIS."""


@dataclass(frozen=True)
class Objects:
    """What is true."""

    entries: Sequence[Mapping[str, Any]]
    image_O: Ints
    category_O: Ints
    area_O: Floats
    crowd_O: Flags


@dataclass(frozen=True)
class RankedDetections:
    """What is judged."""

    rows: Sequence[Mapping[str, Any]]
    image_D: Ints
    category_D: Ints
    score_D: Floats
    area_D: Floats
    rank_D: Ints
    """From 0, among the detections of the same image and category."""
    unjudged_D: Flags
    """LVIS: of a category that is not exhaustively annotated in the image, so that finding nothing is no fault."""


class Columns:
    """One truth and the results held against it."""

    def __init__(self, truth: GroundTruth, results: Sequence[Mapping[str, Any]]) -> None:
        self.truth = truth
        self.places = {image.key: place for place, image in enumerate(truth.images)}
        self.labels = {category.id: label for label, category in enumerate(truth.categories)}
        self.objects = self._objects()
        self._rows, self._image_D, self._category_D, self._score_D = self._sorted(results)

    def code(self, image: Ints, category: Ints) -> Ints:
        """One number a pair of image and category, in the order of the columns."""
        return image * len(self.labels) + category

    def found(self, kind: Kind) -> RankedDetections:
        """The detections that count where boxes, or masks, are judged."""
        area_D = _areas(self._rows, kind)
        code_D = self.code(self._image_D, self._category_D)
        rank_D = _rank(code_D)
        unjudged_D = np.zeros(len(code_D), bool)
        if self.truth.style == "lvis":
            partial = self._codes("not_exhaustive")
            known = np.concatenate([self._codes("negative"), self.code(self.objects.image_O, self.objects.category_O)])
            # The lvis package passes over what has no area, and over categories that nobody looked for in the image.
            kept = np.flatnonzero((area_D > 0) & np.isin(code_D, known))
            unjudged_D = np.isin(code_D, partial)
        else:
            kept = np.flatnonzero(rank_D < DETECTIONS["coco"])
        return RankedDetections(
            rows=[self._rows[row] for row in kept],
            image_D=self._image_D[kept],
            category_D=self._category_D[kept],
            score_D=self._score_D[kept],
            area_D=area_D[kept],
            rank_D=_rank(code_D[kept]),
            unjudged_D=unjudged_D[kept],
        )

    def _objects(self) -> Objects:
        entries = self.truth.body["annotations"]
        lvis = self.truth.style == "lvis"
        if lvis:  # The lvis package passes over what has no area.
            entries = [entry for entry in entries if entry["area"] > 0]
        image_O, category_O = self._keys(entries)
        order = np.lexsort((category_O, image_O))
        entries = [entries[place] for place in order]
        return Objects(
            entries=entries,
            image_O=image_O[order],
            category_O=category_O[order],
            area_O=np.array([entry["area"] for entry in entries], np.float64),
            # The lvis package knows no crowds.
            crowd_O=np.array([not lvis and bool(entry["iscrowd"]) for entry in entries], bool),
        )

    def _sorted(self, rows: Sequence[_Entry]) -> tuple[list[_Entry], Ints, Ints, Floats]:
        image_D, category_D = self._keys(rows)
        score_D = np.array([row["score"] for row in rows], np.float64)
        order = np.lexsort((-score_D, image_D))
        if self.truth.style == "lvis":
            order = order[_rank(image_D[order]) < DETECTIONS["lvis"]]
        # lexsort is stable: equal scores stay in the order of the file, as the evaluators' mergesort leaves them.
        order = order[category_D[order] >= 0]
        order = order[np.lexsort((category_D[order], image_D[order]))]
        return [rows[row] for row in order], image_D[order], category_D[order], score_D[order]

    def _keys(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Ints, Ints]:
        """Places of image and category of each; -1 for a category that the truth does not have."""
        images = [self.places[row["image_id"]] for row in rows]
        return np.array(images, np.int64), np.array([self.labels.get(row["category_id"], -1) for row in rows], np.int64)

    def _codes(self, field: Literal["negative", "not_exhaustive"]) -> Ints:
        """Of the pairs that the annotations name in a field of the image."""
        pairs = [
            (place, self.labels[category])
            for place, image in enumerate(self.truth.images)
            for category in getattr(image, field)
        ]
        image_X, category_X = np.array(pairs, np.int64).reshape(-1, 2).T
        return self.code(image_X, category_X)


def _rank(code_D: Ints) -> Ints:
    """From 0, among equal neighbours; the codes are sorted."""
    return np.arange(len(code_D)) - np.searchsorted(code_D, code_D)


def _areas(rows: Sequence[Mapping[str, Any]], kind: Kind) -> Floats:
    if kind == "box":
        return np.array([row["bbox"][2] * row["bbox"][3] for row in rows], np.float64)
    return fills_of([row["segmentation"]["counts"] for row in rows])[1].astype(np.float64)
