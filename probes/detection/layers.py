"""The 3 x 3 convolution of the box and mask heads, with detectron2's parameter names."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class NormedConv(nn.Conv2d):
    """Convolution, layer norm over channels if asked (and then no bias), ReLU."""

    def __init__(self, channels: int, width: int, *, norm: bool) -> None:
        super().__init__(channels, width, 3, padding=1, bias=not norm)
        self.norm = ChannelNorm(width) if norm else None

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        x_BCHW = super().forward(x_BCHW)
        return F.relu(x_BCHW if self.norm is None else self.norm(x_BCHW))


def start_for_relu(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """He et al. 2015, by the outputs. Called once a head stands, as in detectron2: a seed then starts both backends alike."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ChannelNorm(nn.Module):
    """Layer norm of each position over its channels, as in ConvNeXt and ViTDet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        # The difference is taken twice, as in detectron2: gradients then add up in the same order, to the last bit.
        mean_B1HW = x_BCHW.mean(1, keepdim=True)
        variance_B1HW = (x_BCHW - mean_B1HW).pow(2).mean(1, keepdim=True)
        normed_BCHW = (x_BCHW - mean_B1HW) / torch.sqrt(variance_B1HW + 1e-6)
        return self.weight[:, None, None] * normed_BCHW + self.bias[:, None, None]
