"""Masks: the head (He et al. 2017, figure 4), what it learns from, and how its answer is pasted into an image.

Letters: R boxes, N true objects of an image, D detections, K categories, C channels, M x M a mask within its box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as coco_mask
from torch import nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from probes.detection.layers import NormedConv, start_for_relu

SIDE = 28
"""M; the head doubles the side of what it reads."""
_FEW = 128
"""Up to so many categories, logits of all are computed; of LVIS's 1203 they would be 3.8 MB a box, so only of those that are asked for."""


class MaskHead(nn.Sequential):
    """Convolutions, one deconvolution, and a logit for each category; names are detectron2's."""

    def __init__(self, channels: int, *, width: int, convs: int, classes: int, norm: bool) -> None:
        super().__init__()
        for number in range(convs):
            self.add_module(f"mask_fcn{number + 1}", NormedConv(width if number else channels, width, norm=norm))
        self.deconv = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.deconv_relu = nn.ReLU()
        self.predictor = nn.Conv2d(width, classes, 1)
        for layer in self:
            if isinstance(layer, NormedConv | nn.ConvTranspose2d):
                start_for_relu(layer)
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    def of_labels(self, pooled_RCSS: torch.Tensor, label_R: torch.Tensor) -> torch.Tensor:
        """The logits of each box's own category, (R, M, M)."""
        weight_K, bias_K = self.predictor.weight, self.predictor.bias
        if len(weight_K) > _FEW:
            asked_L, label_R = label_R.unique(return_inverse=True)
            # Filled up with category 0: for a handful another kernel is taken, which adds in another order.
            asked_L = F.pad(asked_L, (0, 16 - len(asked_L) % 16))
            weight_K, bias_K = weight_K[asked_L], bias_K[asked_L]
        for layer in list(self)[:-1]:
            pooled_RCSS = layer(pooled_RCSS)
        logits_RKMM = F.conv2d(pooled_RCSS, weight_K, bias_K)
        return logits_RKMM[torch.arange(len(label_R), device=label_R.device), label_R].float()


def mask_targets(masks_NHW: torch.Tensor, boxes_R4: torch.Tensor, object_R: torch.Tensor) -> torch.Tensor:
    """Each box's object, rasterised in the box: float32 (R, M, M) of 0 and 1.

    Args:
        boxes_R4: in pixels of the masks, not of the canvas.
        object_R: the row of the box's object among the masks.
    """
    rois_R5 = torch.cat([object_R[:, None].to(boxes_R4.dtype), boxes_R4], dim=1)
    # Not by resizing the box's pixels: RoIAlign of the bitmap is what detectron2 learns from, edge for edge.
    covered_R1MM = roi_align(masks_NHW[:, None].float(), rois_R5, SIDE, 1.0, sampling_ratio=0, aligned=True)
    return (covered_R1MM[:, 0] >= 0.5).float()


@dataclass(frozen=True)
class Cutout:
    """A mask within an image: false but for a rectangle of it."""

    top: int
    left: int
    mask_hw: npt.NDArray[np.bool_]


def cutouts(masks_DMM: torch.Tensor, boxes_D4: torch.Tensor, size_hw: tuple[int, int]) -> list[Cutout]:
    """The masks at the pixels of an image, true from one half on; of each the part around its box.

    Args:
        masks_DMM: probabilities, stretched over the boxes.
        boxes_D4: in pixels of that image.
    """
    height, width = size_hw
    found: list[tuple[int, int, int, int]] = []
    pixels = [torch.zeros(0, dtype=torch.bool, device=masks_DMM.device)]
    # One at a time and within its box: all at once would be 1 GB of coordinates for 100 detections at 1100 x 1100.
    for row, (left, top, right, bottom) in enumerate(boxes_D4.tolist()):
        rows = slice(max(math.floor(top) - 1, 0), min(math.ceil(bottom) + 1, height))
        columns = slice(max(math.floor(left) - 1, 0), min(math.ceil(right) + 1, width))
        if not (left < right and top < bottom and rows.start < rows.stop and columns.start < columns.stop):
            found.append((0, 0, 0, 0))  # No area, or outside the image.
            continue
        y_H = _within(rows, boxes_D4[row, 1], boxes_D4[row, 3])
        x_W = _within(columns, boxes_D4[row, 0], boxes_D4[row, 2])
        grid_1HW2 = torch.stack(torch.meshgrid(x_W, y_H, indexing="xy"), dim=-1)[None]
        soft_11HW = F.grid_sample(masks_DMM[row][None, None].float(), grid_1HW2, align_corners=False)
        pixels.append(soft_11HW.flatten() >= 0.5)
        found.append((rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start))
    flat, ends = torch.cat(pixels).cpu().numpy(), np.cumsum([h * w for _, _, h, w in found])
    parts = np.split(flat, ends[:-1]) if found else []
    return [Cutout(top, left, part.reshape(h, w)) for (top, left, h, w), part in zip(found, parts, strict=True)]


def rle_of(cutout: Cutout, size_hw: tuple[int, int]) -> dict[str, Any]:
    """As `pycocotools.mask.encode` gives for the whole image, from the part that is not false: compressed, as text."""
    height, width = size_hw
    rows, columns = cutout.mask_hw.shape
    # Runs go down the columns. Where a column of the part begins or ends one is a step between it and what is around.
    padded = np.zeros((columns, rows + 2), dtype=np.int8)
    padded[:, 1:-1] = cutout.mask_hw.T
    column, row = np.nonzero(np.diff(padded, axis=1))
    at = (cutout.left + column) * height + cutout.top + row
    # A run that ends at the bottom of the image goes on at the top of the next column.
    joined = np.flatnonzero(at[1:] == at[:-1])
    at = np.delete(at, np.concatenate([joined, joined + 1]))
    counts = np.diff(at, prepend=0, append=height * width)
    if len(at) and at[-1] == height * width:
        counts = counts[:-1]
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _within(pixels: slice, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """The centres of pixels, from -1 at the box's first edge to 1 at its last."""
    centres = torch.arange(pixels.start, pixels.stop, device=first.device, dtype=torch.float32) + 0.5
    return (centres - first) / (last - first) * 2 - 1
