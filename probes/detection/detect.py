"""A trained detector over whole images -> results as COCO's own tools read them, in pixels of the original images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from probes.detection.backend import build_detector
from probes.detection.examples import ViewExample
from probes.detection.loader import whole_batches
from probes.detection.masks import cutouts, rle_of
from probes.detection.nouns import Detections, Detector
from probes.detection.recipe import HeadConfig, TrainingConfig, more_room, side_of
from probes.detection.tokens import tokens_of
from probes.detection.training import load_weights
from probes.detection.truth import Category, TruthImage
from rice_core.errors import UserError, room_for
from rice_core.features import Encoder, Informed
from rice_core.ranks import Ranks
from rice_core.record import Skipped


@dataclass(frozen=True)
class SplitResults:
    """What was found in a split."""

    results: list[dict[str, Any]]
    """One detection each: image_id, category_id (both the data set's own), bbox (x, y, w, h), score, segmentation."""
    skipped: tuple[Skipped, ...]
    made_by: str = ""
    """Name and version of the detector's backend."""


@dataclass(frozen=True)
class Detecting:
    """Detecting in a split, each image resized to fit `side` (rounded to the encoder's patch): a `rice_core.probe.Errand`.

    Each rank detects in every so many-th batch and draws its own masks.
    """

    head: HeadConfig
    backend: str
    masks: bool
    frequencies: tuple[float, ...] | None
    folder: Path
    """Of the weights."""
    categories: tuple[Category, ...]
    """What the detector's labels stand for."""
    images: tuple[TruthImage, ...]
    training: TrainingConfig
    """How images are shown; each rank detects in as many at once as one process trains on."""
    what: str
    """It is called in a bar."""
    workers: int

    def run(
        self, encoder: Encoder, ranks: Ranks, progress: Callable[[Sequence[Any], str], Iterator[Any]]
    ) -> SplitResults:
        """On the first rank all results, in the order of the images.

        Raises:
            UserError: the encoder's features are not finite, or memory is full.
        """
        detector, made_by = self.built(encoder)
        parts: list[SplitResults] = []
        failed = ""
        try:
            with room_for(self.what, more_room(self.training, masks=self.masks, world=None, backend=self.backend)):
                parts += self._detected(encoder, detector, ranks, progress)
        except UserError as error:
            failed = str(error)
        told = ranks.collect((parts, failed))
        for _, said in told:
            if said:
                raise UserError(said)
        in_order = [part for turn in zip_longest(*(parts for parts, _ in told)) for part in turn if part is not None]
        results = [row for part in in_order for row in part.results]
        return SplitResults(results, tuple(skip for part in in_order for skip in part.skipped), made_by)

    def built(self, encoder: Encoder) -> tuple[Detector, str]:
        """With its weights, and who made it."""
        detector, made_by = build_detector(
            self.head,
            channels=encoder.dim,
            classes=len(self.categories),
            patch=encoder.patch,
            masks=self.masks,
            frequencies=self.frequencies,
            backend=self.backend,
        )
        cast(nn.Module, detector).to(encoder.device).eval()
        load_weights(detector, self.folder)
        return detector, made_by

    def _detected(
        self,
        encoder: Encoder,
        detector: Detector,
        ranks: Ranks,
        progress: Callable[[Sequence[Any], str], Iterator[Any]],
    ) -> Iterator[SplitResults]:
        """What this rank finds, batch by batch."""
        training, device = self.training, encoder.device.type
        # Whatever the number of ranks: other images beside it move the last bits of what is found in one.
        batch = max(1, training.batch // training.accumulate)
        starts = range(0, len(self.images), batch)[ranks.rank :: ranks.size]
        own = [image for start in starts for image in self.images[start : start + batch]]
        side, told = side_of(training.side, encoder.patch), isinstance(encoder, Informed)
        batches = whole_batches(own, side=side, batch=batch, told=told, workers=self.workers, pin=device == "cuda")
        for _ in progress(starts, self.what):
            views = next(batches)
            if not views.examples:
                yield SplitResults([], views.skipped)
                continue
            tokens_BCTU = tokens_of(encoder, views, training.precision, training.norm)
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=training.precision == "bf16"):
                found = detector.detect(tokens_BCTU, views.sizes_hw)
            pairs = zip(views.examples, found, strict=True)
            yield SplitResults([row for pair in pairs for row in _rows(*pair, self.categories)], views.skipped)


def _rows(example: ViewExample, found: Detections, categories: Sequence[Category]) -> Iterator[dict[str, Any]]:
    boxes_D4 = example.placing.back(found.boxes_D4.float().cpu().numpy())
    scores_D, labels_D = found.scores_D.float().cpu().tolist(), found.labels_D.cpu().tolist()
    masks = []
    if found.masks_DMM is not None:
        boxes, size_hw = torch.from_numpy(boxes_D4).to(found.masks_DMM.device), example.placing.image_hw
        masks = [rle_of(each, size_hw) for each in cutouts(found.masks_DMM, boxes, size_hw)]
    for number, ((x0, y0, x1, y1), score, label) in enumerate(zip(boxes_D4.tolist(), scores_D, labels_D, strict=True)):
        row = {
            "image_id": example.image.key,
            "category_id": categories[label].id,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        yield row | ({"segmentation": masks[number]} if masks else {})
