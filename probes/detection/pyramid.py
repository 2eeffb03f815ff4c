"""The last feature map -> five levels without a parameter, and how a box is read from them.

Inside the detector a token is 16 x 16 pixels of a virtual canvas, whatever the encoder's patch: strides are then powers of
two exactly, as detectron2 needs them, and anchors mean the same for every encoder.

Letters: B images, C channels, T x U the patch grid, h x w a level's grid, R boxes, S x S cells of a pooled box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image, roi_align

from probes.detection.boxes import counted

TOKEN = 16
"""Canvas pixels of a token's side."""
STRIDES = (4, 8, 16, 32, 64)
"""Canvas pixels of a cell's side, of each level: p2 to p6."""
_POOLED = 4
"""Boxes are read from p2 to p5; p6 proposes only."""


class Pyramid(nn.Module):
    """Unpooling for 4x and 2x, the map itself, max-pooling for 0.5x and 0.25x [paper]; first a 1x1 convolution, if asked.

    Args:
        unpool: nearest, bilinear, or zeros (each token in the top left of its block).
        projection: width of the convolution; None is none, and then the pyramid has no parameter.
    """

    def __init__(self, channels: int, *, unpool: str, projection: int | None) -> None:
        super().__init__()
        self.channels = projection or channels
        self._unpool = unpool
        self.projection = nn.Conv2d(channels, projection, 1) if projection else None

    def forward(self, tokens_BCTU: torch.Tensor) -> list[torch.Tensor]:
        """Five levels (B, C, h, w), finest first, of T x 4, T x 2, T, ceil(T / 2), ceil(T / 4) rows.

        float32 under autocast too: boxes are pooled in the features' type, and bfloat16 cannot place a box at 1000 px.
        """
        p4_BCTU = tokens_BCTU.float()
        if self.projection is not None:
            p4_BCTU = self.projection(p4_BCTU).float()
        # ceil_mode: of 37 tokens none may fall off the edge.
        p5_BChw = F.max_pool2d(p4_BCTU, 2, ceil_mode=True)
        p6_BChw = F.max_pool2d(p5_BChw, 2, ceil_mode=True)
        return [self._unpooled(p4_BCTU, 4), self._unpooled(p4_BCTU, 2), p4_BCTU, p5_BChw, p6_BChw]

    def _unpooled(self, x_BCTU: torch.Tensor, times: int) -> torch.Tensor:
        if self._unpool == "nearest":
            return F.interpolate(x_BCTU, scale_factor=times, mode="nearest")
        if self._unpool == "bilinear":
            return F.interpolate(x_BCTU, scale_factor=times, mode="bilinear", align_corners=False)
        batch, channels, rows, columns = x_BCTU.shape
        zeros_BChw = x_BCTU.new_zeros(batch, channels, rows * times, columns * times)
        zeros_BChw[..., ::times, ::times] = x_BCTU
        return zeros_BChw


@dataclass(frozen=True)
class Canvas:
    """The door between pixels that the encoder sees and the virtual canvas."""

    patch: int

    @property
    def scale(self) -> float:
        """Canvas pixels of an encoder pixel."""
        return TOKEN / self.patch

    def size(self, hw: tuple[int, int]) -> tuple[float, float]:
        return hw[0] * self.scale, hw[1] * self.scale

    def boxes(self, boxes_N4: torch.Tensor) -> torch.Tensor:
        return boxes_N4.float() * self.scale

    def back(self, boxes_D4: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
        """Clipped once more: 518 px of patch 14 are 592 and come back as 518.00006."""
        return clip_boxes_to_image(boxes_D4 / self.scale, hw)


def pool(levels: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor], side: int) -> torch.Tensor:
    """The features of each box, (R, C, S, S), those of the first image first; aligned RoIAlign (He et al. 2017).

    The level is equation 1 of Lin et al. 2017: a box of 224 canvas pixels reads p4. torchvision's MultiScaleRoIAlign is
    not aligned and rounds the stride it guesses from the image's size.

    Args:
        boxes: of each image, (R, 4) in canvas pixels.
    """
    # A box that is no number, which `detect` drops at its end, would read outside the map.
    boxes_R4 = torch.cat(list(boxes)).nan_to_num(0.0, posinf=0.0, neginf=0.0)
    image_R1 = torch.cat([one_R4.new_full((len(one_R4), 1), image) for image, one_R4 in enumerate(boxes)])
    rois_R5 = torch.cat([image_R1.to(boxes_R4.dtype), boxes_R4], dim=1)
    sides_R2 = boxes_R4[:, 2:] - boxes_R4[:, :2]
    level_R = torch.floor(4 + torch.log2(torch.sqrt(sides_R2[:, 0] * sides_R2[:, 1]) / 224 + 1e-8))
    level_R = level_R.clamp(2, 2 + _POOLED - 1).long() - 2
    pooled_RCSS = levels[0].new_zeros(len(rois_R5), levels[0].shape[1], side, side)
    # By one sort, so that a GPU is asked once how many there are of each level.
    by_level = level_R.argsort(stable=True).split(counted([level_R == level for level in range(_POOLED)]))
    for x_BChw, stride, rows in zip(levels[:_POOLED], STRIDES[:_POOLED], by_level, strict=True):
        pooled_RCSS[rows] = roi_align(x_BChw, rois_R5[rows], side, 1 / stride, sampling_ratio=0, aligned=True)
    return pooled_RCSS
