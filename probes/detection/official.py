"""What the official evaluator is asked and answers: faster-coco-eval, whose numbers are pycocotools' and the lvis package's.

Letters: D detections, K categories, T IoU thresholds, R recalls, A area ranges, M limits of detections.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from probes.detection.matches import Floats
from probes.detection.truth import GroundTruth, Style
from rice_core.datasets.entries import Key

Kind = Literal["box", "mask"]
DETECTIONS: dict[Style, int] = {"coco": 100, "lvis": 300}
"""How many count, the best first: of an image and category in COCO, of an image in LVIS."""
LIMITS: dict[Style, list[int]] = {"coco": [1, 10, 100], "lvis": [300]}
"""What AR is given for."""
_PAIRS = 500_000
"""Images x categories judged at once: the evaluator keeps an entry for each, and all of LVIS would need 10 GB."""


class CountedRows:
    """Results that can count, with places for ids: evaluators want whole numbers, and some files have strings."""

    def __init__(self, truth: GroundTruth, results: Sequence[Mapping[str, Any]]) -> None:
        self.images = {image.key: place for place, image in enumerate(truth.images)}
        self.labels = {category.id: label for label, category in enumerate(truth.categories)}
        if truth.style == "lvis":
            results = _best_of_each_image(results, DETECTIONS["lvis"])
        self.rows = [row for row in results if row["category_id"] in self.labels]
        self.image_D = np.array([self.images[row["image_id"]] for row in self.rows], np.int64)
        self.category_D = np.array([self.labels[row["category_id"]] for row in self.rows], np.int64)
        self.score_D = np.array([row["score"] for row in self.rows], np.float64)


def _best_of_each_image(results: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    of_image: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
    for row in results:
        of_image[row["image_id"]].append(row)
    best = (
        rows if len(rows) <= most else sorted(rows, key=lambda row: row["score"], reverse=True)[:most]
        for rows in of_image.values()
    )
    return [row for rows in best for row in rows]


def evaluated(
    truth: GroundTruth,
    rows: CountedRows,
    objects: list[dict[str, Any]],
    detections: list[dict[str, Any]],
    kind: Kind,
) -> tuple[Floats, Floats, dict[tuple[int, int], Floats]]:
    """Interpolated precision by IoU, recall, category and area range, recall by IoU, category, area range and limit (-1
    without objects), and the overlaps of pairs."""
    step = max(1, _PAIRS // max(1, len(truth.images)))
    parted = [_parted(entries, step) for entries in (objects, detections)]
    precisions: list[Floats] = []
    recalls: list[Floats] = []
    ious: dict[tuple[int, int], Floats] = {}
    for start in range(0, len(truth.categories), step):
        labels = range(start, min(start + step, len(truth.categories)))
        true, found = (by_part.get(start // step, []) for by_part in parted)
        judge = _evaluator(truth, rows, true, found, labels, kind)
        judge.evaluate()
        judge.accumulate()
        precisions.append(np.asarray(judge.eval["precision"], np.float64)[..., -1])
        recalls.append(np.asarray(judge.eval["recall"], np.float64))
        ious |= {pair: np.asarray(iou) for pair, iou in judge.ious.items() if len(iou)}
    return np.concatenate(precisions, axis=2), np.concatenate(recalls, axis=1), ious


def _parted(entries: Iterable[dict[str, Any]], step: int) -> dict[int, list[dict[str, Any]]]:
    """By runs of `step` categories, each numbered from 1: 0 means "unmatched"."""
    parts: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        part = parts[entry["category_id"] // step]
        part.append(entry)
        entry["id"] = len(part)
    return parts


def _evaluator(
    truth: GroundTruth,
    rows: CountedRows,
    objects: list[dict[str, Any]],
    detections: list[dict[str, Any]],
    labels: range,
    kind: Kind,
) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    head = {
        "images": [
            {
                "id": place,
                "height": (image.size_hw or (0, 0))[0],
                "width": (image.size_hw or (0, 0))[1],
                "neg_category_ids": [rows.labels[key] for key in image.negative],
                "not_exhaustive_category_ids": [rows.labels[key] for key in image.not_exhaustive],
            }
            for place, image in enumerate(truth.images)
        ],
        "categories": [{"id": label, "frequency": truth.categories[label].frequency} for label in labels],
    }
    true, found = (COCO(head | {"annotations": entries}) for entries in (objects, detections))
    iou = "bbox" if kind == "box" else "segm"
    judge = COCOeval_faster(true, found, iouType=iou, lvis_style=truth.style == "lvis")
    judge.params.maxDets = list(LIMITS[truth.style])
    return judge
