"""PCA of patch tokens as colours (paper Figure 5): one basis and one scaling for all images, so that colours compare.

Shapes: N images, C channels, H x W the patch grid, T tokens of any images, K components.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.floating]

CELL = 192
"""Least height of a picture in the sheet, in pixels."""
GAP = 6


@dataclass(frozen=True)
class Basis:
    """Directions of largest variance, largest first. Where there is no variance the rows are zero."""

    mean_C: npt.NDArray[np.float64]
    components_KC: npt.NDArray[np.float64]
    explained_K: npt.NDArray[np.float64]
    """Shares of the total variance; zero where nothing varies."""

    def project(self, x_TC: Floats) -> npt.NDArray[np.float64]:
        return (np.asarray(x_TC, dtype=np.float64) - self.mean_C) @ self.components_KC.T


def fit_basis(parts: Iterable[Floats], components: int = 3) -> Basis:
    """PCA in float64 over tokens that come in parts of T x C: memory for one part and for C x C.

    The largest entry of each component is positive (scikit-learn's rule), so that one set of images has one colouring.

    Raises:
        ValueError: no part at all.
    """
    count, shift_C, sum_C, product_CC = 0, None, 0.0, 0.0
    for part_TC in parts:
        x_TC = np.asarray(part_TC, dtype=np.float64)
        # Sums around the first part's mean: a large common offset would otherwise swallow the variance.
        shift_C = x_TC.mean(0) if shift_C is None else shift_C
        x_TC = x_TC - shift_C
        count, sum_C, product_CC = count + len(x_TC), sum_C + x_TC.sum(0), product_CC + x_TC.T @ x_TC
    if shift_C is None:
        raise ValueError("a basis needs at least one part")
    mean_C = sum_C / count
    size_C, vector_CC = np.linalg.eigh(product_CC / count - np.outer(mean_C, mean_C))
    size_C, vector_CC = np.maximum(size_C[::-1], 0), vector_CC[:, ::-1].T
    total = float(size_C.sum())
    # What rounding of constant features leaves is no direction.
    varies_C = size_C > 1e-12 * max(total, float(shift_C @ shift_C))
    explained_C = np.where(varies_C, size_C, 0) / (total if varies_C.any() else 1)
    largest_C = vector_CC[np.arange(len(vector_CC)), np.abs(vector_CC).argmax(1)]
    vector_CC = vector_CC * (np.sign(largest_C) * varies_C)[:, None]
    missing = max(components - len(vector_CC), 0)
    return Basis(
        shift_C + mean_C,
        np.pad(vector_CC[:components], ((0, missing), (0, 0))),
        np.pad(explained_C[:components], (0, missing)),
    )


def colours(basis: Basis, images_CHW: Sequence[Floats]) -> list[npt.NDArray[np.uint8]]:
    """One H x W x 3 map an image: components 1 to 3 as red, green, blue.

    Each channel runs from the 1st to the 99th percentile over all images together; a component without variance is mid
    grey.
    """
    maps = [basis.project(x_CHW.reshape(len(x_CHW), -1).T) for x_CHW in images_CHW]
    low_3, high_3 = np.percentile(np.concatenate(maps), (1, 99), axis=0)
    flat_3 = high_3 - low_3 <= 0
    scaled = ((each_T3 - low_3) / np.where(flat_3, 1, high_3 - low_3) for each_T3 in maps)
    rgb = (np.where(flat_3, 0.5, each_T3).clip(0, 1) for each_T3 in scaled)
    return [
        np.round(each_T3 * 255).astype(np.uint8).reshape(*x_CHW.shape[1:], 3)
        for each_T3, x_CHW in zip(rgb, images_CHW, strict=True)
    ]


def sheet(pixels_NHW3: Sequence[npt.NDArray[np.uint8]], maps_NHW3: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray:
    """A contact sheet on white: each image with its map at its right, four such pairs a row.

    Maps are enlarged by a whole factor without smoothing, so that one token is one square.
    """
    grid_h, grid_w = maps_NHW3[0].shape[:2]
    scale = -(-CELL // grid_h)
    h, w = grid_h * scale, grid_w * scale
    columns = min(4, len(maps_NHW3))
    rows = -(-len(maps_NHW3) // columns)
    pair_w = 2 * w + 3 * GAP
    page = np.full((rows * (h + GAP) + GAP, columns * pair_w + GAP, 3), 255, np.uint8)
    for i, (pixels_HW3, map_HW3) in enumerate(zip(pixels_NHW3, maps_NHW3, strict=True)):
        top, left = GAP + i // columns * (h + GAP), GAP + i % columns * pair_w
        resized = Image.fromarray(pixels_HW3).resize((w, h), Image.Resampling.BICUBIC)
        page[top : top + h, left : left + w] = np.asarray(resized)
        left += w + GAP // 2
        page[top : top + h, left : left + w] = map_HW3.repeat(scale, axis=0).repeat(scale, axis=1)
    return page
