"""The region proposal network (Ren et al. 2015) over the five levels of the pyramid.

Letters: B images, C channels, h x w a level's grid, A anchors of all levels, R proposals of an image, N true objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, clip_boxes_to_image

from probes.detection.boxes import (
    IGNORED,
    NEGATIVE,
    POSITIVE,
    Weights,
    decode,
    draw,
    encode,
    has_area,
    match,
    refuse_non_finite,
)
from probes.detection.nouns import Target
from probes.detection.pyramid import STRIDES

RATIOS = (0.5, 1.0, 2.0)
"""Height by width."""
_WEIGHTS: Weights = (1.0, 1.0, 1.0, 1.0)
_LOW, _HIGH = 0.3, 0.7
_DRAWN, _SHARE = 256, 0.5
_OVERLAP = 0.7
"""Suppression, of each level by itself."""


class ProposalNetwork(nn.Module):
    """Proposals, and what they cost in training; `sizes` are the config's `anchors`."""

    def __init__(self, channels: int, *, width: int | None, convs: int, proposals: int, sizes: Sequence[float]) -> None:
        super().__init__()
        self._sizes = sizes
        self.rpn_head = RpnHead(channels, width=width or channels, convs=convs)
        self._proposals = proposals

    def losses(
        self,
        levels: Sequence[torch.Tensor],
        sizes_hw: Sequence[tuple[float, float]],
        truths: Sequence[Target],
        generator: torch.Generator | None,
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """Proposals of each image, (R, 4), and both losses over the drawn anchors.

        Raises:
            UserError: a proposal is not finite.
        """
        anchors = anchors_of(levels, self._sizes)
        logits, deltas = self.rpn_head(levels)
        anchors_A4, logits_BA, deltas_BA4 = torch.cat(anchors), torch.cat(logits, 1), torch.cat(deltas, 1)
        labels, goals = [], []
        for truth in truths:
            object_A, label_A = match(anchors_A4, truth.boxes_N4, low=_LOW, high=_HIGH, best_of_each=True)
            positive_P, negative_Q = draw(label_A, number=_DRAWN, share=_SHARE, negative=NEGATIVE, generator=generator)
            label_A = torch.full_like(label_A, IGNORED)
            label_A[positive_P], label_A[negative_Q] = POSITIVE, NEGATIVE
            labels.append(label_A)
            positive_P = (label_A == POSITIVE).nonzero()[:, 0]
            # An image without objects has no positive; no row of its empty boxes is then read.
            goals.append(encode(anchors_A4[positive_P], truth.boxes_N4[object_A[positive_P]], _WEIGHTS))
        label_BA = torch.stack(labels)
        drawn_BA = label_BA != IGNORED
        objectness = F.binary_cross_entropy_with_logits(
            logits_BA[drawn_BA], label_BA[drawn_BA].float(), reduction="sum"
        )
        shift = (deltas_BA4[label_BA == POSITIVE] - torch.cat(goals)).abs().sum()
        # By what is asked for, not by what was there to draw.
        number = _DRAWN * len(truths)
        losses = {"loss_rpn_cls": objectness / number, "loss_rpn_loc": shift / number}
        return self._best(anchors, logits, deltas, sizes_hw, training=True), losses

    def propose(self, levels: Sequence[torch.Tensor], sizes_hw: Sequence[tuple[float, float]]) -> list[torch.Tensor]:
        """Proposals of each image, (R, 4) in canvas pixels, the best first; those that are not finite are dropped."""
        logits, deltas = self.rpn_head(levels)
        return self._best(anchors_of(levels, self._sizes), logits, deltas, sizes_hw, training=False)

    @torch.no_grad()
    def _best(
        self,
        anchors: Sequence[torch.Tensor],
        logits: Sequence[torch.Tensor],
        deltas: Sequence[torch.Tensor],
        sizes_hw: Sequence[tuple[float, float]],
        *,
        training: bool,
    ) -> list[torch.Tensor]:
        # As ViTDet and detectron2's FPN recipes: 2000 into suppression in training, 1000 in test.
        before = self._proposals * (2 if training else 1)
        boxes, scores, levels = [], [], []
        for level, (anchors_A4, logits_BA, deltas_BA4) in enumerate(zip(anchors, logits, deltas, strict=True)):
            top_BR, row_BR = logits_BA.topk(min(before, logits_BA.shape[1]), dim=1)
            chosen_BR4 = deltas_BA4.gather(1, row_BR[..., None].expand(-1, -1, 4))
            boxes.append(decode(chosen_BR4, anchors_A4[row_BR], _WEIGHTS))
            scores.append(top_BR)
            levels.append(torch.full_like(row_BR[0], level))
        boxes_BR4, scores_BR, level_R = torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(levels)
        kept = []
        for image, (boxes_R4, scores_R, size_hw) in enumerate(zip(boxes_BR4, scores_BR, sizes_hw, strict=True)):
            if training:
                refuse_non_finite(image, boxes_R4, scores_R)
            finite_R = boxes_R4.isfinite().all(1) & scores_R.isfinite()
            boxes_R4 = clip_boxes_to_image(boxes_R4, size_hw)
            rows = (finite_R & has_area(boxes_R4)).nonzero()[:, 0]
            best = batched_nms(boxes_R4[rows], scores_R[rows], level_R[rows], _OVERLAP)[: self._proposals]
            kept.append(boxes_R4[rows[best]])
        return kept


class RpnHead(nn.Module):
    """The same convolutions on every level; names are detectron2's."""

    def __init__(self, channels: int, *, width: int, convs: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(width if number else channels, width, 3, padding=1) for number in range(convs)]
        self.conv: nn.Module
        if convs == 1:
            self.conv = layers[0]
        else:
            self.conv = nn.Sequential()
            for number, layer in enumerate(layers):
                self.conv.add_module(f"conv{number}", layer)
        self.objectness_logits = nn.Conv2d(width, len(RATIOS), 1)
        self.anchor_deltas = nn.Conv2d(width, len(RATIOS) * 4, 1)
        for layer in [*layers, self.objectness_logits, self.anchor_deltas]:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, levels: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Of each level: logits (B, A) and deltas (B, A, 4), float32, by row, column and ratio."""
        logits, deltas = [], []
        for x_BChw in levels:
            for layer in self.conv if isinstance(self.conv, nn.Sequential) else [self.conv]:
                x_BChw = F.relu(layer(x_BChw))
            logits.append(self.objectness_logits(x_BChw).float().permute(0, 2, 3, 1).flatten(1))
            deltas_BDhw = self.anchor_deltas(x_BChw).float()
            deltas.append(deltas_BDhw.permute(0, 2, 3, 1).reshape(len(x_BChw), -1, 4))
        return logits, deltas


def anchors_of(levels: Sequence[torch.Tensor], sizes: Sequence[float]) -> list[torch.Tensor]:
    """Of each level, (A, 4) in canvas pixels, by row, column and ratio; centred on the top left of each cell.

    Args:
        sizes: square root of an anchor's area, of each level.
    """
    anchors = []
    for x_BChw, stride, size in zip(levels, STRIDES, sizes, strict=True):
        cells = []
        for ratio in RATIOS:
            width = math.sqrt(size**2 / ratio)
            cells.append([-width / 2, -ratio * width / 2, width / 2, ratio * width / 2])
        height, width = x_BChw.shape[-2:]
        top_hw, left_hw = torch.meshgrid(
            torch.arange(height, dtype=torch.float32, device=x_BChw.device) * stride,
            torch.arange(width, dtype=torch.float32, device=x_BChw.device) * stride,
            indexing="ij",
        )
        # The corner, not the middle: detectron2's default offset, which its released weights were trained with.
        shift_hw14 = torch.stack([left_hw, top_hw, left_hw, top_hw], dim=-1)[:, :, None]
        anchors.append((shift_hw14 + shift_hw14.new_tensor(cells)).reshape(-1, 4))
    return anchors
