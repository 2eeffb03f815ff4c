"""A trained detector over whole images -> results as COCO's own tools read them, in pixels of the original images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as coco_mask

from probes.detection.examples import ViewExample
from probes.detection.loader import whole_batches
from probes.detection.masks import paste
from probes.detection.nouns import Detections, Detector
from probes.detection.recipe import Norm, side_of
from probes.detection.tokens import tokens_of
from probes.detection.truth import Category, TruthImage
from rice_core.features import Encoder, Informed
from rice_core.record import Skipped


@dataclass(frozen=True)
class SplitResults:
    """What was found in a split."""

    results: list[dict[str, Any]]
    """One detection each: image_id, category_id (both the data set's own), bbox (x, y, w, h), score, segmentation."""
    skipped: tuple[Skipped, ...]


def detect_all(
    encoder: Encoder,
    detector: Detector,
    images: Sequence[TruthImage],
    categories: Sequence[Category],
    *,
    side: int,
    batch: int,
    precision: str,
    norm: Norm,
    progress: Callable[[Sequence[int], str], Iterator[int]],
    what: str,
    workers: int = 0,
) -> SplitResults:
    """Detect in every image, each resized to fit `side` (rounded to the encoder's patch).

    Args:
        categories: what the detector's labels stand for.

    Raises:
        UserError: the encoder's features are not finite.
    """
    batches = whole_batches(
        images,
        side=side_of(side, encoder.patch),
        batch=batch,
        told=isinstance(encoder, Informed),
        workers=workers,
    )
    results: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    for _ in progress(range(math.ceil(len(images) / batch)), what):
        views = next(batches)
        skipped += views.skipped
        if not views.examples:
            continue
        tokens_BCTU = tokens_of(encoder, views, precision, norm)
        with torch.inference_mode(), torch.autocast(encoder.device.type, torch.bfloat16, enabled=precision == "bf16"):
            found = detector.detect(tokens_BCTU, views.sizes_hw)
        for example, detections in zip(views.examples, found, strict=True):
            results += list(_rows(example, detections, categories))
    return SplitResults(results, tuple(skipped))


def _rows(example: ViewExample, found: Detections, categories: Sequence[Category]) -> Iterator[dict[str, Any]]:
    boxes_D4 = example.placing.back(found.boxes_D4.float().cpu().numpy())
    scores_D, labels_D = found.scores_D.float().cpu().tolist(), found.labels_D.cpu().tolist()
    masks = _run_lengths(found, boxes_D4, example.placing.image_hw)
    for number, ((x0, y0, x1, y1), score, label) in enumerate(zip(boxes_D4.tolist(), scores_D, labels_D, strict=True)):
        row = {
            "image_id": example.image.key,
            "category_id": categories[label].id,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        yield row | ({"segmentation": masks[number]} if masks else {})


def _run_lengths(
    found: Detections, boxes_D4: npt.NDArray[np.float32], image_hw: tuple[int, int]
) -> list[dict[str, Any]] | None:
    """Each mask, pasted into the original image, as compressed run lengths."""
    if found.masks_DMM is None:
        return None
    boxes = torch.from_numpy(boxes_D4).to(found.masks_DMM.device)
    pasted_DHW = paste(found.masks_DMM, boxes, image_hw).cpu().numpy()
    encoded = [coco_mask.encode(np.asfortranarray(mask_HW.astype(np.uint8))) for mask_HW in pasted_DHW]
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} for rle in encoded]
