"""What is read from proposals: the three box stages of Cascade R-CNN (Cai & Vasconcelos 2018), and the masks.

Each stage refines the boxes of the one before and learns from those that overlap more. Letters: R boxes of all images, or
of one where the text says so, P those of them that show an object; K categories, J = K + 1 with background; N true objects of an image; M x M a mask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, clip_boxes_to_image

from probes.detection.box_head import POOLED, BoxPredictor, box_head
from probes.detection.boxes import (
    IGNORED,
    POSITIVE,
    Weights,
    counted,
    decode,
    draw,
    encode,
    has_area,
    match,
    refuse_non_finite,
    with_area,
)
from probes.detection.federated import category_weights
from probes.detection.masks import SIDE, MaskHead, mask_targets
from probes.detection.nouns import Detections, Target
from probes.detection.pyramid import pool
from probes.detection.recipe import HeadConfig

OVERLAPS = (0.5, 0.6, 0.7)
"""With its object, from which a box of each stage is positive."""
WEIGHTS: tuple[Weights, ...] = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
_SHARE = 0.25
_OVERLAP = 0.5
"""Suppression of detections, within a category."""


@dataclass(frozen=True)
class Regions:
    """Boxes that a stage learns from."""

    boxes: list[torch.Tensor]
    """Of each image, (R, 4)."""
    label_R: torch.Tensor
    """0 to K - 1, or K for background; of all images, as what follows."""
    positive_P: torch.Tensor
    """Rows of those that are not background."""
    object_P: torch.Tensor
    """Row of the positives' object among those of all images."""


class RegionHeads(nn.Module):
    """Three stages and the mask head; names are detectron2's."""

    def __init__(
        self, config: HeadConfig, *, channels: int, classes: int, masks: bool, frequencies: Sequence[float] | None
    ) -> None:
        super().__init__()
        self._config = config
        self._classes = classes
        weight_K = category_weights(frequencies, classes) if config.federated else None
        heads, predictors = [], []
        for _ in OVERLAPS:
            heads.append(box_head(config, channels))
            predictors.append(BoxPredictor(config.fc_width, classes, weight_K))
        self.box_head = nn.ModuleList(heads)
        self.box_predictor = nn.ModuleList(predictors)
        self.mask_head: MaskHead | None = None
        if masks:
            # ViTDet has layer norm in the masks' convolutions too.
            norm = config.box_head == "4conv1fc"
            self.mask_head = MaskHead(
                channels, width=config.conv_width, convs=config.mask_convs, classes=classes, norm=norm
            )

    def losses(
        self,
        levels: Sequence[torch.Tensor],
        first: Regions,
        sizes_hw: Sequence[tuple[float, float]],
        truths: Sequence[Target],
        generator: torch.Generator | None,
        *,
        scale: float,
        categories: Sequence[torch.Tensor | None] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Class and box loss of each stage, and the masks' loss over the positives of the first.

        Args:
            first: what the first stage learns from, as `drawn` gives it.
            truths: boxes in canvas pixels, masks in those of the encoder.
            generator: draws what each stage learns of, where the loss is federated and `categories` does not say it.
            scale: canvas pixels of an encoder pixel.

        Raises:
            UserError: a refined box is not finite.
        """
        regions = first
        true_N4 = torch.cat([truth.boxes_N4 for truth in truths])
        losses: dict[str, torch.Tensor] = {}
        for stage, weights in enumerate(WEIGHTS):
            logits_RJ, deltas_R4 = self._stage(stage, levels, regions.boxes, training=True)
            predictor = self.box_predictor[stage]
            learnt = categories[stage] if categories else predictor.categories(regions.label_R, generator)
            losses[f"loss_cls_stage{stage}"] = predictor.class_loss(logits_RJ, regions.label_R, learnt)
            losses[f"loss_box_reg_stage{stage}"] = _box_loss(deltas_R4, regions, true_N4, weights)
            if stage + 1 < len(WEIGHTS):
                regions = self._next(stage, deltas_R4, regions, sizes_hw, truths)
        if self.mask_head is not None:
            losses["loss_mask"] = self._mask_loss(levels, first, truths, scale)
        return losses

    @torch.no_grad()
    def regions(
        self,
        levels: Sequence[torch.Tensor],
        first: Regions,
        sizes_hw: Sequence[tuple[float, float]],
        truths: Sequence[Target],
    ) -> list[Regions]:
        """What each stage learns from, as in `losses`."""
        every = [first]
        for stage in range(len(OVERLAPS) - 1):
            _, deltas_R4 = self._stage(stage, levels, every[-1].boxes, training=True)
            every.append(self._next(stage, deltas_R4, every[-1], sizes_hw, truths))
        return every

    def detect(
        self, levels: Sequence[torch.Tensor], proposals: Sequence[torch.Tensor], sizes_hw: Sequence[tuple[float, float]]
    ) -> list[Detections]:
        """Boxes of the last stage, with the mean of the stages' probabilities; boxes in canvas pixels."""
        boxes = list(proposals)
        scores = []
        for stage, weights in enumerate(WEIGHTS):
            logits_RJ, deltas_R4 = self._stage(stage, levels, boxes, training=False)
            scores.append(logits_RJ.sigmoid() if self._config.federated else logits_RJ.softmax(-1))
            boxes = _refined(deltas_R4, boxes, sizes_hw, weights)
        # In detectron2's order of operations; a mean rounds otherwise.
        scores_RJ = (scores[0] + scores[1] + scores[2]) * (1 / 3)
        found = self._best(boxes, scores_RJ)
        if self.mask_head is None:
            return found
        pooled_RCSS = pool(levels, [one.boxes_D4 for one in found], SIDE // 2)
        masks_RMM = self.mask_head.of_labels(pooled_RCSS, torch.cat([one.labels_D for one in found])).sigmoid()
        parts = masks_RMM.split([len(one.labels_D) for one in found])
        return [dataclasses.replace(one, masks_DMM=part) for one, part in zip(found, parts, strict=True)]

    def _stage(
        self, stage: int, levels: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor], *, training: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pooled_RCSS = pool(levels, boxes, POOLED)
        if training and pooled_RCSS.requires_grad:
            # Three stages read the same features; each gives a third of the gradient.
            pooled_RCSS.register_hook(lambda gradient: gradient * (1 / 3))
        return self.box_predictor[stage](self.box_head[stage](pooled_RCSS))

    @torch.no_grad()
    def drawn(
        self, proposals: Sequence[torch.Tensor], truths: Sequence[Target], generator: torch.Generator | None
    ) -> Regions:
        """The objects are proposals too, so that there are positives before there are good proposals."""
        boxes = [torch.cat([one_R4, truth.boxes_N4]) for one_R4, truth in zip(proposals, truths, strict=True)]
        found = [self._found(*each, OVERLAPS[0]) for each in zip(boxes, truths, strict=True)]
        labels = [label_R for _, label_R in found]
        both = draw(labels, number=self._config.regions, share=_SHARE, negative=self._classes, generator=generator)
        rows = [torch.cat(pair) for pair in both]
        chosen = [[each[rows_R] for each in found_of] for found_of, rows_R in zip(found, rows, strict=True)]
        return self._regions([boxes_R4[rows_R] for boxes_R4, rows_R in zip(boxes, rows, strict=True)], chosen, truths)

    def _next(
        self,
        stage: int,
        deltas_R4: torch.Tensor,
        regions: Regions,
        sizes_hw: Sequence[tuple[float, float]],
        truths: Sequence[Target],
    ) -> Regions:
        """What the stage after this one learns from."""
        refined = _refined(deltas_R4, regions.boxes, sizes_hw, WEIGHTS[stage])
        refuse_non_finite(refined)
        return self._labelled(with_area(refined), truths, OVERLAPS[stage + 1])

    @torch.no_grad()
    def _labelled(self, boxes: list[torch.Tensor], truths: Sequence[Target], overlap: float) -> Regions:
        found = [self._found(*each, overlap) for each in zip(boxes, truths, strict=True)]
        for image, truth in enumerate(truths):
            if truth.ignored_M4 is not None:
                kept_R = found[image][1] != IGNORED
                boxes[image] = boxes[image][kept_R]
                found[image] = found[image][0][kept_R], found[image][1][kept_R]
        return self._regions(boxes, found, truths)

    def _found(self, boxes_R4: torch.Tensor, truth: Target, overlap: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The object of each box of an image, and its label: IGNORED where nothing is to be learnt from it."""
        object_R, found_R = match(
            boxes_R4, truth.boxes_N4, low=overlap, high=overlap, best_of_each=False, ignored_M4=truth.ignored_M4
        )
        if not len(truth.labels_N):
            label_R = torch.full_like(object_R, self._classes)
        else:
            label_R = torch.where(found_R == POSITIVE, truth.labels_N[object_R], self._classes)
        if truth.ignored_M4 is not None:
            label_R[found_R == IGNORED] = IGNORED
        return object_R, label_R

    def _regions(
        self, boxes: list[torch.Tensor], found: Sequence[Sequence[torch.Tensor]], truths: Sequence[Target]
    ) -> Regions:
        first = accumulate((len(truth.labels_N) for truth in truths), initial=0)
        object_R = torch.cat([object_r + start for (object_r, _), start in zip(found, first, strict=False)])
        label_R = torch.cat([label_r for _, label_r in found])
        positive_P = (label_R < self._classes).nonzero()[:, 0]
        return Regions(boxes, label_R, positive_P, object_R[positive_P])

    def _mask_loss(
        self, levels: Sequence[torch.Tensor], regions: Regions, truths: Sequence[Target], scale: float
    ) -> torch.Tensor:
        positive_P, object_P = masked(regions, truths)
        positive_R = torch.zeros_like(regions.label_R, dtype=torch.bool).index_fill(0, positive_P, True)
        counts = counted(positive_R.split([len(boxes_R4) for boxes_R4 in regions.boxes]))
        boxes = torch.cat(regions.boxes)[positive_P].split(counts)
        first = accumulate((len(truth.labels_N) for truth in truths), initial=0)
        goals = [
            mask_targets(truth.masks_NHW, boxes_P4 / scale, object_p - start)
            for truth, boxes_P4, object_p, start in zip(truths, boxes, object_P.split(counts), first, strict=False)
            if truth.masks_NHW is not None and len(boxes_P4)
        ]
        logits_RMM = self.mask_head.of_labels(pool(levels, boxes, SIDE // 2), regions.label_R[positive_P])
        if not goals:
            # Zero that hangs on the weights: every rank's gradient has an entry for every parameter.
            return logits_RMM.sum() * 0
        return F.binary_cross_entropy_with_logits(logits_RMM, torch.cat(goals))

    def _best(self, boxes: Sequence[torch.Tensor], scores_RJ: torch.Tensor) -> list[Detections]:
        """Of each image: above the threshold, suppressed by category, the best `detections`."""
        boxes_R4, scores_RK = torch.cat(list(boxes)), scores_RJ[:, :-1]
        finite_R = boxes_R4.isfinite().all(1) & scores_RJ.isfinite().all(1)
        above_RK = (scores_RK > self._config.score_threshold) & finite_R[:, None]
        row_D, label_D = above_RK.nonzero(as_tuple=True)
        counts = counted(above_RK.split([len(one_R4) for one_R4 in boxes]))
        found = (each.split(counts) for each in (boxes_R4[row_D], scores_RK[row_D, label_D], label_D))
        kept = []
        for boxes_D4, scores_D, labels_D in zip(*found, strict=True):
            best = batched_nms(boxes_D4, scores_D, labels_D, _OVERLAP)[: self._config.detections]
            kept.append((boxes_D4[best], scores_D[best], labels_D[best]))
        # Only after the cut, where detectron2 drops what has no area.
        flags = [has_area(boxes_D4) for boxes_D4, _, _ in kept]
        return [
            Detections(*(part if count == len(flag_D) else part[flag_D] for part in parts))
            for parts, flag_D, count in zip(kept, flags, counted(flags), strict=True)
        ]


def masked(regions: Regions, truths: Sequence[Target]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the positives whose object has a mask, and of their objects."""
    if all(truth.masked_N is None for truth in truths):
        return regions.positive_P, regions.object_P
    known_P = torch.cat([_has_mask(truth) for truth in truths])[regions.object_P]
    return regions.positive_P[known_P], regions.object_P[known_P]


def _has_mask(truth: Target) -> torch.Tensor:
    """Which objects have a mask, (N,)."""
    return torch.ones_like(truth.labels_N, dtype=torch.bool) if truth.masked_N is None else truth.masked_N


def _box_loss(deltas_R4: torch.Tensor, regions: Regions, true_N4: torch.Tensor, weights: Weights) -> torch.Tensor:
    """L1 over the positives, by the number of all boxes."""
    rows = regions.positive_P
    goal_P4 = encode(torch.cat(regions.boxes)[rows], true_N4[regions.object_P], weights)
    return (deltas_R4[rows] - goal_P4).abs().sum() / max(len(deltas_R4), 1)


@torch.no_grad()
def _refined(
    deltas_R4: torch.Tensor,
    boxes: Sequence[torch.Tensor],
    sizes_hw: Sequence[tuple[float, float]],
    weights: Weights,
) -> list[torch.Tensor]:
    """The boxes of each image for the next stage, clipped; one that is not finite is all NaN."""
    refined = []
    parts = deltas_R4.split([len(boxes_R4) for boxes_R4 in boxes])
    for part_R4, boxes_R4, size_hw in zip(parts, boxes, sizes_hw, strict=True):
        moved_R4 = decode(part_R4, boxes_R4, weights)
        # Clipping would make an infinite box one of an edge.
        finite_R1 = moved_R4.isfinite().all(1, keepdim=True)
        refined.append(torch.where(finite_R1, clip_boxes_to_image(moved_R4, size_hw), float("nan")))
    return refined
