"""What reads the boxes of a stage: layers over their pooled features, then class logits and a finer box.

Letters: R boxes, C channels, K categories, J = K + 1 with background.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from probes.detection.federated import drawn_categories, federated_loss, learnt_categories
from probes.detection.layers import NormedConv, start_for_relu
from probes.detection.recipe import HeadConfig

POOLED = 7
"""Side of a box's pooled features."""


class BoxPredictor(nn.Module):
    """The last layer of a stage: class logits, and one box whatever the class."""

    def __init__(self, channels: int, classes: int, weight_K: torch.Tensor | None) -> None:
        super().__init__()
        self.cls_score = nn.Linear(channels, classes + 1)
        self.bbox_pred = nn.Linear(channels, 4)
        for layer, spread in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=spread)
            nn.init.zeros_(layer.bias)
        self.fed_loss_cls_weights: torch.Tensor | None
        self.register_buffer("fed_loss_cls_weights", weight_K)
        self._drawn = 0 if weight_K is None else drawn_categories(weight_K)

    def forward(self, x_RC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(R, J) and (R, 4), float32."""
        return self.cls_score(x_RC).float(), self.bbox_pred(x_RC).float()

    def categories(self, label_R: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor | None:
        """What boxes of these labels learn of; None is all, where the loss is not federated."""
        if self.fed_loss_cls_weights is None:
            return None
        return learnt_categories(label_R, self.fed_loss_cls_weights, self._drawn, generator)

    def class_loss(
        self, logits_RJ: torch.Tensor, label_R: torch.Tensor, categories: torch.Tensor | None
    ) -> torch.Tensor:
        """A mean over the boxes; categories as `categories` gives them."""
        if categories is not None:
            return federated_loss(logits_RJ, label_R, categories)
        return F.cross_entropy(logits_RJ, label_R) if len(label_R) else logits_RJ.sum() * 0


def box_head(config: HeadConfig, channels: int) -> nn.Sequential:
    """(R, C, 7, 7) -> (R, fc_width): "2fc", or "4conv1fc" as ViTDet."""
    head = nn.Sequential()
    convs, linears = (0, 2) if config.box_head == "2fc" else (4, 1)
    for number in range(convs):
        width = config.conv_width if number else channels
        head.add_module(f"conv{number + 1}", NormedConv(width, config.conv_width, norm=True))
    head.add_module("flatten", nn.Flatten())
    width = (config.conv_width if convs else channels) * POOLED**2
    for number in range(linears):
        head.add_module(f"fc{number + 1}", nn.Linear(config.fc_width if number else width, config.fc_width))
        head.add_module(f"fc_relu{number + 1}", nn.ReLU())
    for layer in head:
        if isinstance(layer, NormedConv):
            start_for_relu(layer)
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
    return head
