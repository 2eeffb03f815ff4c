"""What the objectives train: a trunk that answers for regions or for images, and with captions a text tower beside it.

Shapes: B images, N regions an image, L tokens of a caption, D embedding width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from rice_core.model.regions import RegionViT
from rice_core.model.vit import ViT
from rice_core.rice.batch import Batch
from rice_core.rice.config import TrainConfig

TRUNK = "vit.trunk"
"""How the names of a trunk's parameters begin in its network."""


class Network(nn.Module):
    """The trunk with region attention and, where asked for, a training-only projection of the embeddings."""

    mean_3: torch.Tensor
    std_3: torch.Tensor

    def __init__(self, config: TrainConfig, trunk: ViT, width: int | None) -> None:
        super().__init__()
        model = config.model
        self.vit = RegionViT(
            trunk,
            layers=model.layers,
            mode=model.region_mode if config.objective.name == "rice" else "shared",
            checkpoint_activations=config.checkpoint_activations,
        )
        self.projection = nn.Linear(trunk.config.width, width, bias=False) if width else nn.Identity()
        self.dim = width or trunk.config.width
        self.register_buffer("mean_3", torch.tensor(config.mean), persistent=False)
        self.register_buffer("std_3", torch.tensor(config.std), persistent=False)

    @property
    def trunk(self) -> ViT:
        return self.vit.trunk

    def normalize(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        """uint8 -> model space."""
        return (pixels_B3HW.float() / 255 - self.mean_3[:, None, None]) / self.std_3[:, None, None]


class RegionNetwork(Network):
    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, N, D): an embedding a region."""
        out = self.vit(self.normalize(batch.pixels_B3HW), batch.visible_BNP)
        return cast(torch.Tensor, self.projection(out.regions_BND))


class ImageNetwork(Network):
    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, D): an embedding an image."""
        return cast(torch.Tensor, self.projection(self.vit(self.normalize(batch.pixels_B3HW)).cls_BD))


class CaptionNetwork(ImageNetwork):
    """Image and text towers, with SigLIP's learned temperature and bias."""

    def __init__(self, config: TrainConfig, trunk: ViT, vocabulary: int) -> None:
        objective = config.objective
        width = objective.text_width
        super().__init__(config, trunk, width)
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)
        self.places = nn.Parameter(torch.randn(objective.text_tokens, width) * 0.01)
        layer = nn.TransformerEncoderLayer(
            width, objective.text_heads, 4 * width, 0.0, activation="gelu", batch_first=True, norm_first=True
        )
        # Nested tensors do not go with norm_first; torch would only warn that it leaves them out.
        self.text = nn.TransformerEncoder(layer, objective.text_depth, nn.LayerNorm(width), enable_nested_tensor=False)
        nn.init.normal_(self.words.weight, std=0.02)
        # Zhai et al. start at temperature 10 and bias -10, so that the many negatives do not dominate at first.
        # One element each, not none: FSDP2 shards along the first dimension.
        self.log_scale = nn.Parameter(torch.tensor([math.log(10.0)]))
        self.bias = nn.Parameter(torch.tensor([-10.0]))

    def forward(self, batch: Batch) -> ImageTextOutput:  # type: ignore[override]
        padding_BL = batch.caption_BL == 0
        # A caption without a token would attend to nothing.
        padding_BL = padding_BL & ~padding_BL.all(dim=1, keepdim=True)
        x_BLD = self.words(batch.caption_BL) + self.places[: batch.caption_BL.shape[1]]
        x_BLD = self.text(x_BLD, src_key_padding_mask=padding_BL)
        shown_BL1 = (~padding_BL).unsqueeze(-1).to(x_BLD.dtype)
        text_BD = (x_BLD * shown_BL1).sum(dim=1) / shown_BL1.sum(dim=1)
        return ImageTextOutput(super().forward(batch), text_BD, self.log_scale.exp().squeeze(0), self.bias.squeeze(0))


@dataclass(frozen=True)
class ImageTextOutput:
    """Embeddings of images and captions, pair b in row b of both."""

    image_BD: torch.Tensor
    text_BD: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor
