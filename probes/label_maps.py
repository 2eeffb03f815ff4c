"""Label maps on a coarse grid: the majority category of each cell, its counts, its picture.

0 is background here, and IGNORED what is neither object nor background.

Letters: H x W pixels, G x G (or h x w) cells, K categories with background.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
IGNORED = -1
_VOID = (224, 224, 192)
"""What is ignored in pictures: the colour that PASCAL VOC draws it in."""


def majority(labels_HW: Labels, cells: tuple[int, int], kinds: int) -> Labels:
    """The most frequent of `kinds` labels and IGNORED in each of h x w cells, the smaller label of equals, IGNORED the last.

    A pixel belongs to the cell that its centre lies in. There must be at least one pixel a cell.
    """
    height, width = cells
    down, across = (_cell_of(size, count) for size, count in zip(labels_HW.shape, cells, strict=True))
    votes = kinds + 1  # those of IGNORED come last
    slot_HW = (down[:, None] * width + across[None, :]) * votes + np.where(labels_HW == IGNORED, kinds, labels_HW)
    counted = np.bincount(slot_HW.ravel(), minlength=height * width * votes)
    most_hw = counted.reshape(height, width, votes).argmax(-1)
    return np.where(most_hw == kinds, IGNORED, most_hw).astype(np.int64)


def counts(guess_GG: Labels, truth_GG: Labels, kinds: int) -> npt.NDArray[np.int64]:
    """Cells of each category that are right, guessed and true, [3, K]: all that IoU and accuracy need. IGNORED ones do not count."""
    judged_GG = truth_GG != IGNORED
    guess_GG, truth_GG = guess_GG[judged_GG], truth_GG[judged_GG]
    right = np.bincount(truth_GG[guess_GG == truth_GG], minlength=kinds)
    return np.stack([right, *(np.bincount(cells.ravel(), minlength=kinds) for cells in (guess_GG, truth_GG))])


@dataclass(frozen=True)
class SheetPanel:
    """One image of a contact sheet."""

    pixels_HW3: Pixels
    truth_HW: Labels
    guess_GG: Labels


def contact_sheet(panels: Sequence[SheetPanel], kinds: int, *, side: int = 112, gap: int = 4) -> Pixels:
    """image | truth | guess, two images a row, in the same colours in every sheet of the same categories."""
    colours_K3 = np.vstack([palette(kinds), np.uint8([_VOID])])  # the last row is that of IGNORED, -1
    columns, rows = 2 * 3, -(-len(panels) // 2)
    sheet_HW3 = np.full((rows * (side + gap) + gap, columns * (side + gap) + gap, 3), 255, dtype=np.uint8)
    for index, panel in enumerate(panels):
        pictures = panel.pixels_HW3, colours_K3[panel.truth_HW], colours_K3[panel.guess_GG]
        for part, picture in enumerate(pictures):
            top = gap + (index // 2) * (side + gap)
            left = gap + ((index % 2) * 3 + part) * (side + gap)
            sheet_HW3[top : top + side, left : left + side] = _resized(picture, side)
    return sheet_HW3


def palette(kinds: int) -> npt.NDArray[np.uint8]:
    """A colour a category [K, 3]: dark grey background, then hues a golden section apart, so that any two differ."""
    hues = [colorsys.hsv_to_rgb(k * 0.618034 % 1, (0.85, 0.55)[k // 8 % 2], 0.95) for k in range(kinds - 1)]
    return (255 * np.array([(0.2, 0.2, 0.2), *hues])).round().astype(np.uint8)


def _cell_of(size: int, cells: int) -> Labels:
    return ((2 * np.arange(size) + 1) * cells) // (2 * size)


def _resized(picture_HW3: Pixels, side: int) -> Pixels:
    down, across = (((2 * np.arange(side) + 1) * size) // (2 * side) for size in picture_HW3.shape[:2])
    return picture_HW3[np.ix_(down, across)]
