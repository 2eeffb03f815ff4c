"""The region proposal network (Ren et al. 2015) over the five levels of the pyramid.

Letters: B images, C channels, h x w a level's grid, A anchors of all levels, R proposals of an image, N true objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, clip_boxes_to_image

from probes.detection.boxes import (
    NEGATIVE,
    Weights,
    counted,
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
Answer = tuple[list[torch.Tensor], list[torch.Tensor]]
"""Of each level, logits and deltas."""


@dataclass(frozen=True)
class Anchors:
    """What is learnt from; rows of the anchors of all images in a row, ascending."""

    positive_P: torch.Tensor
    drawn_D: torch.Tensor
    """The positives among them."""
    goal_P4: torch.Tensor
    """What the positives learn."""


class ProposalNetwork(nn.Module):
    """Proposals, and what they cost in training; `sizes` are the config's `anchors`."""

    def __init__(self, channels: int, *, width: int | None, convs: int, proposals: int, sizes: Sequence[float]) -> None:
        super().__init__()
        self._sizes = sizes
        self.rpn_head = RpnHead(channels, width=width or channels, convs=convs)
        self._proposals = proposals

    def drawn(
        self, levels: Sequence[torch.Tensor], truths: Sequence[Target], generator: torch.Generator | None
    ) -> Anchors:
        return _learnt(torch.cat(anchors_of(levels, self._sizes)), truths, generator)

    def losses(self, answer: Answer, anchors: Anchors) -> dict[str, torch.Tensor]:
        """Both over the drawn anchors.

        Args:
            answer: `rpn_head`'s.
        """
        logits_BA, deltas_BA4 = (torch.cat(parts, 1) for parts in answer)
        objectness = F.binary_cross_entropy_with_logits(
            logits_BA.flatten()[anchors.drawn_D],
            torch.zeros_like(logits_BA).flatten().index_fill(0, anchors.positive_P, 1.0)[anchors.drawn_D],
            reduction="sum",
        )
        shift = (deltas_BA4.flatten(0, 1)[anchors.positive_P] - anchors.goal_P4).abs().sum()
        # By what is asked for, not by what was there to draw.
        number = _DRAWN * len(logits_BA)
        return {"loss_rpn_cls": objectness / number, "loss_rpn_loc": shift / number}

    @torch.no_grad()
    def propose(
        self,
        levels: Sequence[torch.Tensor],
        answer: Answer,
        sizes_hw: Sequence[tuple[float, float]],
        *,
        training: bool,
    ) -> list[torch.Tensor]:
        """Proposals of each image, (R, 4) in canvas pixels, the best first; in test those that are not finite are dropped.

        Args:
            answer: `rpn_head`'s.

        Raises:
            UserError: one is not finite, in training.
        """
        # As ViTDet and detectron2's FPN recipes: 2000 into suppression in training, 1000 in test.
        before = self._proposals * (2 if training else 1)
        boxes, scores, numbers = [], [], []
        of_levels = zip(anchors_of(levels, self._sizes), *answer, strict=True)
        for level, (anchors_A4, logits_BA, deltas_BA4) in enumerate(of_levels):
            top_BR, row_BR = logits_BA.topk(min(before, logits_BA.shape[1]), dim=1)
            chosen_BR4 = deltas_BA4.gather(1, row_BR[..., None].expand(-1, -1, 4))
            boxes.append(decode(chosen_BR4, anchors_A4[row_BR], _WEIGHTS))
            scores.append(top_BR)
            numbers.append(torch.full_like(row_BR[0], level))
        boxes_BR4, scores_BR, level_R = torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(numbers)
        if training:
            refuse_non_finite(boxes_BR4.unbind(), scores_BR.unbind())
        clipped_BR4 = torch.stack(
            [clip_boxes_to_image(boxes_R4, hw) for boxes_R4, hw in zip(boxes_BR4, sizes_hw, strict=True)]
        )
        sound_BR = boxes_BR4.isfinite().all(2) & scores_BR.isfinite() & has_area(clipped_BR4)
        rows = sound_BR.nonzero()[:, 1].split(counted(sound_BR.unbind()))
        kept = []
        for boxes_R4, scores_R, rows_R in zip(clipped_BR4, scores_BR, rows, strict=True):
            boxes_R4 = boxes_R4[rows_R]
            best = batched_nms(boxes_R4, scores_R[rows_R], level_R[rows_R], _OVERLAP)[: self._proposals]
            kept.append(boxes_R4[best])
        return kept


def _learnt(anchors_A4: torch.Tensor, truths: Sequence[Target], generator: torch.Generator | None) -> Anchors:
    matched = [
        match(anchors_A4, truth.boxes_N4, low=_LOW, high=_HIGH, best_of_each=True, ignored_M4=truth.ignored_M4)
        for truth in truths
    ]
    labels = [label_A for _, label_A in matched]
    drawn = draw(labels, number=_DRAWN, share=_SHARE, negative=NEGATIVE, generator=generator)
    A = len(anchors_A4)
    positive_P = torch.cat([image * A + rows_P for image, (rows_P, _) in enumerate(drawn)]).sort().values
    negative_Q = torch.cat([image * A + rows_Q for image, (_, rows_Q) in enumerate(drawn)])
    # An image without objects has no positive; no row of its empty boxes is then read.
    first = accumulate((len(truth.boxes_N4) for truth in truths), initial=0)
    object_L = torch.cat([object_A + start for (object_A, _), start in zip(matched, first, strict=False)])
    true_P4 = torch.cat([truth.boxes_N4 for truth in truths])[object_L[positive_P]]
    goal_P4 = encode(anchors_A4[positive_P % A], true_P4, _WEIGHTS)
    return Anchors(positive_P, torch.cat([positive_P, negative_Q]).sort().values, goal_P4)


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

    def forward(self, levels: Sequence[torch.Tensor]) -> Answer:
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
    return [
        _anchors(x_BChw.shape[-2], x_BChw.shape[-1], stride, size, x_BChw.device)
        for x_BChw, stride, size in zip(levels, STRIDES, sizes, strict=True)
    ]


@lru_cache(maxsize=2 * len(STRIDES))  # of two sizes of views; they are the same in every step
def _anchors(height: int, width: int, stride: int, size: float, device: torch.device) -> torch.Tensor:
    cells = []
    for ratio in RATIOS:
        side = math.sqrt(size**2 / ratio)
        cells.append([-side / 2, -ratio * side / 2, side / 2, ratio * side / 2])
    with torch.inference_mode(False):  # what detecting made may be needed by a backward pass
        top_hw, left_hw = torch.meshgrid(
            torch.arange(height, dtype=torch.float32, device=device) * stride,
            torch.arange(width, dtype=torch.float32, device=device) * stride,
            indexing="ij",
        )
        # The corner, not the middle: detectron2's default offset, which its released weights were trained with.
        shift_hw14 = torch.stack([left_hw, top_hw, left_hw, top_hw], dim=-1)[:, :, None]
        return (shift_hw14 + shift_hw14.new_tensor(cells)).reshape(-1, 4)
