"""What the tracker learns from: OSTrack's focal, GIoU and L1 losses.

Shapes: B pairs, S x S the search grid.
"""

from __future__ import annotations

import torch

from tracking.center import Maps
from tracking.geometry import corners, giou_N
from tracking.recipe import LearningConfig

_OVERLAP = 0.7
"""Of a box that is shifted by the radius of the Gaussian with the true one, CornerNet's."""


def tracking_losses(maps: Maps, boxes_B4: torch.Tensor, config: LearningConfig) -> dict[str, torch.Tensor]:
    """The three losses, each times its weight: their sum is the loss.

    GIoU and L1 are of the box at the *predicted* cell, so that they teach size and offset where the tracker will read them.

    Args:
        boxes_B4: the true ones, cx, cy, w, h in [0, 1] of the search crop; what reaches beyond it is cut off for GIoU and L1.
    """
    found_B4 = corners(maps.boxes()[0])
    true_B4 = corners(boxes_B4).clamp(0, 1).to(found_B4.dtype)
    return {
        "focal": config.focal_weight * focal(maps.score_BSS, heat_map(boxes_B4, maps.score_BSS.shape[-1])),
        "giou": config.giou_weight * (1 - giou_N(found_B4, true_B4)).mean(),
        "l1": config.l1_weight * (found_B4 - true_B4).abs().mean(),
    }


def focal(score_BSS: torch.Tensor, heat_BSS: torch.Tensor) -> torch.Tensor:
    """CenterNet's focal loss (alpha 2, beta 4), a mean over the middles of objects.

    Args:
        score_BSS: in (0, 1).
        heat_BSS: 1 at the middles, less around.
    """
    middle_BSS = heat_BSS == 1
    hit_BSS = score_BSS.log() * (1 - score_BSS) ** 2
    miss_BSS = (1 - score_BSS).log() * score_BSS**2 * (1 - heat_BSS) ** 4
    return -torch.where(middle_BSS, hit_BSS, miss_BSS).sum() / middle_BSS.sum().clamp(min=1)


def heat_map(boxes_B4: torch.Tensor, side: int) -> torch.Tensor:
    """A Gaussian of height 1 around the middle of each box (B, S, S), as OSTrack's `generate_heatmap`.

    Its middle is the cell whose *left top corner* is the nearest, so that offsets are in [-0.5, 0.5]; it may be beyond the grid.

    Args:
        boxes_B4: cx, cy, w, h in [0, 1] of the crop.
    """
    cells_B4 = boxes_B4 * side
    radius_B = _radius(cells_B4[:, 2], cells_B4[:, 3]).clamp(min=0).trunc()
    place_S = torch.arange(side, device=boxes_B4.device)
    x_BS, y_BS = (place_S - cells_B4[:, axis, None].round() for axis in (0, 1))
    square_BSS = y_BS[:, :, None] ** 2 + x_BS[:, None] ** 2
    near_BSS = (y_BS.abs() <= radius_B[:, None])[:, :, None] & (x_BS.abs() <= radius_B[:, None])[:, None]
    deviation_B = (2 * radius_B + 1) / 6
    return (-square_BSS / (2 * deviation_B[:, None, None] ** 2)).exp() * near_BSS


def _radius(w_B: torch.Tensor, h_B: torch.Tensor) -> torch.Tensor:
    """CornerNet's, with its well-known slip in the roots (divided by 2 and not by 2a): OSTrack's labels are made so."""
    total, area = w_B + h_B, w_B * h_B
    terms = (
        (1.0, total, area * (1 - _OVERLAP) / (1 + _OVERLAP)),
        (4.0, 2 * total, area * (1 - _OVERLAP)),
        (4 * _OVERLAP, -2 * _OVERLAP * total, area * (_OVERLAP - 1)),
    )
    roots = [(b + (b**2 - 4 * a * c).sqrt()) / 2 for a, b, c in terms]
    return roots[0].minimum(roots[1]).minimum(roots[2])
