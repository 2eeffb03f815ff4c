"""HOG: the embedded featurizer, for label-making without any trained encoder.

8 unsigned orientations in 8 x 8 cells of 4 pixels of the 32 x 32 gray crop, unit length; a PCA to 96 over all regions
follows (rice_core.rice.curate.stream). Gray alone: colour made purity worse where it is independent of the category.

Shapes: N crops, H = W = 32 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from rice_core.rice.curate.nouns import Box, Floats

SIDE, CELL, ORIENTATIONS = 32, 4, 8


class Hog:
    """512 numbers a region."""

    name, version, portable = "hog", "1", True
    components: int | None = 96

    def crop(self, image: Image.Image, box: Box) -> Image.Image:
        """32 x 32, gray, of the square around the box; at the border the square is moved inside, or cut."""
        left, top, right, bottom = _square(box, image.size)
        return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, right, bottom)).convert("L")

    def describe(self, crops: Sequence[Image.Image]) -> Floats:
        return hog(np.stack([np.asarray(crop) for crop in crops]))


def hog(gray_NHW: npt.NDArray[np.uint8]) -> Floats:
    """(N, 512), each row of unit length, or all zero for a crop without any edge. A vote is the gradient's length,
    shared between the two nearest orientations."""
    g_NHW = gray_NHW.astype(np.float32) / 255
    dy_NHW, dx_NHW = np.zeros_like(g_NHW), np.zeros_like(g_NHW)
    dy_NHW[:, 1:-1] = g_NHW[:, 2:] - g_NHW[:, :-2]
    dx_NHW[:, :, 1:-1] = g_NHW[:, :, 2:] - g_NHW[:, :, :-2]
    length_NHW = np.hypot(dx_NHW, dy_NHW)
    place_NHW = np.arctan2(dy_NHW, dx_NHW) % np.pi * (ORIENTATIONS / np.pi) - 0.5
    lower_NHW = np.floor(place_NHW)
    upper_share_NHW = (place_NHW - lower_NHW) * length_NHW
    lower_share_NHW = length_NHW - upper_share_NHW
    bin_NHW = lower_NHW.astype(np.int64) % ORIENTATIONS
    cells = SIDE // CELL
    row = np.arange(SIDE) // CELL
    cell_HW = (row[:, None] * cells + row[None, :]) * ORIENTATIONS
    size = cells * cells * ORIENTATIONS
    at_NHW = np.arange(len(g_NHW))[:, None, None] * size + cell_HW
    votes = np.bincount((at_NHW + bin_NHW).ravel(), lower_share_NHW.ravel(), len(g_NHW) * size)
    votes += np.bincount((at_NHW + (bin_NHW + 1) % ORIENTATIONS).ravel(), upper_share_NHW.ravel(), len(g_NHW) * size)
    x_ND = votes.reshape(len(g_NHW), size)
    unit_ND: Floats = (x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True).clip(1e-9)).astype(np.float32)
    return unit_ND


def _square(box: Box, size_wh: tuple[int, int]) -> Box:
    edges = []
    side = max(box[2] - box[0], box[3] - box[1])
    for low, high, size in ((box[0], box[2], size_wh[0]), (box[1], box[3], size_wh[1])):
        start = min(max(0.0, (low + high - side) / 2), max(0.0, size - side))
        edges.append((start, min(float(size), start + side)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
