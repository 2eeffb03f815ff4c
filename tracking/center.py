"""OSTrack's CENTER head: where the object is, how large, and where exactly in that cell.

Shapes: B pairs, C channels, S x S the search grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn

_LEAST = 1e-4
"""Of scores and sizes, and of what is between them and 1: the focal loss takes the logarithm of both."""


@dataclass(frozen=True)
class Maps:
    """What the head says of each cell of the search grid, float32 (or float64 where the weights are)."""

    score_BSS: torch.Tensor
    """Whether the object's middle is there, in (0, 1)."""
    size_B2SS: torch.Tensor
    """Width and height of the box, in (0, 1) of the crop."""
    offset_B2SS: torch.Tensor
    """Of the middle from the cell's left and top, in cells; not bounded."""

    def boxes(self, window_SS: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """cx, cy, w, h in the crop's [0, 1] at the cell of the highest score (B, 4), and the score there (B).

        Args:
            window_SS: the scores are multiplied by it to find that cell; the score that is returned is not.
        """
        S = self.score_BSS.shape[-1]
        score_BP = self.score_BSS.flatten(1)
        cell_B1 = (score_BP if window_SS is None else score_BP * window_SS.flatten()).argmax(1, keepdim=True)
        row_B, column_B = (cell_B1 // S)[:, 0], (cell_B1 % S)[:, 0]
        at_B21 = cell_B1[:, None].expand(-1, 2, 1)
        size_B2 = self.size_B2SS.flatten(2).gather(2, at_B21)[..., 0]
        offset_B2 = self.offset_B2SS.flatten(2).gather(2, at_B21)[..., 0]
        middle_B2 = (torch.stack([column_B, row_B], 1) + offset_B2) / S
        return torch.cat([middle_B2, size_B2], 1), score_BP.gather(1, cell_B1)[:, 0]


class CenterHead(nn.Module):
    """Three branches of four 3x3 convolutions with batch norm, each half as wide as the one before, and a 1x1 convolution.

    Batch norm is plain, as OSTrack's under DDP: in training its statistics are of the pairs that go through it at once, never of another
    part of the batch or another rank's.
    6.474 M parameters for 768 channels and a width of 256.

    Args:
        prior: as `TrackerConfig.prior`.
    """

    def __init__(self, channels: int, width: int = 256, prior: float | None = None) -> None:
        super().__init__()
        self.score = _branch(channels, width, 1)
        self.offset = _branch(channels, width, 2)
        self.size = _branch(channels, width, 2)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        if prior is not None:
            nn.init.constant_(cast(Any, self.score[-1]).bias, math.log(prior / (1 - prior)))

    def forward(self, search_BCSS: torch.Tensor) -> Maps:
        return Maps(
            _bounded(self.score(search_BCSS))[:, 0],
            _bounded(self.size(search_BCSS)),
            _precise(self.offset(search_BCSS)),
        )


def hann(side: int, share: float = 1.0) -> torch.Tensor:
    """A Hann window over a grid (S, S), in (0, 1], its zeros outside the grid as OSTrack's; `share` of it, the rest 1."""
    window_S = 0.5 * (1 - torch.cos(2 * math.pi / (side + 1) * torch.arange(1, side + 1)))
    return 1 - share + share * window_S[:, None] * window_S


def _branch(channels: int, width: int, out: int) -> nn.Sequential:
    widths = [channels, *(max(1, width >> halved) for halved in range(4))]
    layers = [
        nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))
        for before, after in pairwise(widths)
    ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], out, 1))


def _bounded(x: torch.Tensor) -> torch.Tensor:
    return _precise(x).sigmoid().clamp(_LEAST, 1 - _LEAST)


def _precise(x: torch.Tensor) -> torch.Tensor:
    # In bfloat16 the upper bound would be 1, and the logarithm of what is left minus infinity.
    return x if x.dtype == torch.float64 else x.float()
