"""Which patches a region sees: the mask of the region layers, for training and for `encode_regions`.

A region sees the patches that it covers by half (`overlap`); a line of text, which is thinner than a patch, sees every
patch that it touches; a region that passes nowhere sees the one patch that it covers most.

Letters: N regions, P = h*w patch cells, row by row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_ROUNDING = 1e-6
"""Shares come out of floating-point areas: rounding must not decide over a cell that is covered by exactly a half, nor
let a line that ends on a border touch the cell behind it."""


def visible_patches(
    shares_NP: npt.NDArray[np.floating], *, thin_N: npt.NDArray[np.bool_], overlap: float
) -> npt.NDArray[np.bool_]:
    """(N, P): the patches that each region sees; none where all of its shares are 0 (give it weight 0).

    Args:
        shares_NP: the share of each cell that the region covers, in [0, 1]: `box_shares` or `cell_shares` of a mask.
        thin_N: true for regions that see whatever they touch (lines of text).
        overlap: the share from which the others see a cell, in (0, 1].
    """
    visible_NP = np.where(thin_N[:, None], shares_NP > _ROUNDING, shares_NP >= overlap - _ROUNDING)
    lost_n = np.flatnonzero(~visible_NP.any(axis=1) & (shares_NP > 0).any(axis=1))
    visible_NP[lost_n, shares_NP[lost_n].argmax(axis=1)] = True
    return visible_NP


def box_shares(
    boxes_N4: npt.NDArray[np.floating], grid_hw: tuple[int, int], size_hw: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """(N, P) in [0, 1]: the share of each of h x w cells that each box covers; exact, all 0 for a box without area.

    Args:
        boxes_N4: left, top, right, bottom in pixels of the image; what lies outside counts for nothing.
        grid_hw: cells down and across.
        size_hw: the image's height and width in pixels.
    """
    boxes = np.asarray(boxes_N4, dtype=np.float64)
    down_Nh = _along(boxes[:, 1], boxes[:, 3], grid_hw[0], size_hw[0])
    across_Nw = _along(boxes[:, 0], boxes[:, 2], grid_hw[1], size_hw[1])
    return (down_Nh[:, :, None] * across_Nw[:, None, :]).reshape(len(boxes), grid_hw[0] * grid_hw[1])


def _along(
    start_N: npt.NDArray[np.float64], end_N: npt.NDArray[np.float64], n: int, size: int
) -> npt.NDArray[np.float64]:
    """(N, n): the share of each of n cells along an axis of `size` pixels that [start, end) covers."""
    edges = np.arange(n + 1) * size / n
    overlap_Nn = np.minimum(edges[1:], end_N[:, None]) - np.maximum(edges[:-1], start_N[:, None])
    shares_Nn: npt.NDArray[np.float64] = (overlap_Nn * (n / size)).clip(0.0, 1.0)
    return shares_Nn
