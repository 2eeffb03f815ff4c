"""The tracker that is trained: two ViT blocks that let template and search tokens look at each other, and the CENTER head.

Shapes: B pairs, C channels of the encoder, D width, T x T the template grid, S x S the search grid, L tokens, N heads, K = D/N.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from rice_core.errors import UserError
from rice_core.model.vit import attend
from tracking.center import CenterHead, Maps
from tracking.recipe import TrackerConfig

_EPS = 1e-6
"""Of the layer norms: vision transformers' own."""


class TrackerHead(nn.Module):
    """All that is trained. Parameters are drawn from the global torch generator: seed it, or fork it, before building one.

    Args:
        channels: of the encoder's tokens.

    Raises:
        UserError: the width does not divide into the heads.
    """

    def __init__(self, config: TrackerConfig, channels: int) -> None:
        super().__init__()
        width = config.width or channels
        self.config = config
        self.project = nn.Identity() if config.width is None else nn.Linear(channels, width)
        self.template_positions = nn.Parameter(sines(config.template_grid, width))
        self.search_positions = nn.Parameter(sines(config.search_grid, width))
        # Search, template, and the template's tokens that show the object, where those are told; as long as a normed token, for what is
        # a fiftieth of that is found by no query in a short training.
        self.types = nn.Parameter(nn.init.normal_(torch.empty(2 + config.foreground, width)))
        heads = heads_of(config, width)
        self.blocks = nn.ModuleList([InsertedBlock(config, width, heads) for _ in range(config.blocks)])
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.head = CenterHead(width, config.head_width, config.prior)

    def template(self, tokens_BCTT: torch.Tensor, foreground_BTT: torch.Tensor) -> torch.Tensor:
        """Template tokens with what tells them apart (B, L, D): the same for all frames of a sequence.

        Args:
            foreground_BTT: bool, the cells that show the object; not looked at where the recipe does not tell them.
        """
        tokens_BLD: torch.Tensor = self.project(tokens_BCTT.flatten(2).transpose(1, 2)) + self.template_positions
        shown_BL = foreground_BTT.flatten(1).long() if self.config.foreground else 0
        return tokens_BLD + self.types[1 + shown_BL]

    def forward(self, template_BLD: torch.Tensor, tokens_BCSS: torch.Tensor) -> Maps:
        """Search tokens beside what `template` gave -> where the object is."""
        S = tokens_BCSS.shape[-1]
        search_BLD = self.project(tokens_BCSS.flatten(2).transpose(1, 2)) + self.search_positions + self.types[0]
        x_BLD = torch.cat([template_BLD, search_BLD], 1)
        for block in self.blocks[:-1]:
            x_BLD = block(x_BLD, x_BLD.shape[1])
        # Nobody reads the template's tokens behind the last block.
        x_BLD = self.norm(self.blocks[-1](x_BLD, S * S))
        return cast(Maps, self.head(x_BLD.transpose(1, 2).unflatten(2, (S, S))))


class InsertedBlock(nn.Module):
    """A pre-LN ViT block of which only the last tokens go on, if the others are wanted as keys and values alone."""

    def __init__(self, config: TrackerConfig, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, eps=_EPS)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=_EPS)
        self.mlp_in = nn.Linear(width, max(1, round(width * config.mlp_ratio)))
        self.mlp_out = nn.Linear(self.mlp_in.out_features, width)
        self.drop = StochasticDepth(config.drop_path, "row")
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(
                    module.weight
                )  # as the first ViT's; .02 is for 768 channels, and no attention at 96
                nn.init.zeros_(module.bias)
        # Tokens begin by looking at those that are like them: from random keys a head learns to find objects before it learns to match.
        with torch.no_grad():
            self.kv.weight[:width].copy_(self.q.weight)

    def forward(self, x_BLD: torch.Tensor, wanted: int) -> torch.Tensor:
        """Args:
        wanted: how many of the last tokens are returned.
        """
        normed_BLD = self.attention_norm(x_BLD)
        q_BNLK = self.q(normed_BLD[:, -wanted:]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k_BNLK, v_BNLK = self.kv(normed_BLD).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed_BLD = attend(q_BNLK, k_BNLK, v_BNLK).transpose(1, 2).flatten(2)
        x_BLD = x_BLD[:, -wanted:] + self.drop(self.out(mixed_BLD))
        hidden = functional.gelu(self.mlp_in(self.mlp_norm(x_BLD)))
        return x_BLD + cast(torch.Tensor, self.drop(self.mlp_out(hidden)))


def heads_of(config: TrackerConfig, width: int) -> int:
    """Of attention.

    Raises:
        UserError: the width does not divide into them.
    """
    heads = config.heads or max(1, width // 64)
    if width % heads:
        fits = next(n for n in range(heads, 0, -1) if width % n == 0)
        raise UserError(
            f"a tracker of {width} channels does not divide into {heads} heads of attention; write heads={fits}, or another width=."
        )
    return heads


def sines(side: int, width: int) -> torch.Tensor:
    """Sines and cosines of a grid's columns and rows (side * side, width), as in MAE; what a width is too narrow for is cut off."""
    quarter = -(-width // 4)
    rate_Q = 10_000 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    angle_SQ = torch.arange(side, dtype=torch.float64)[:, None] * rate_Q
    axis_SH = torch.cat([angle_SQ.sin(), angle_SQ.cos()], 1)
    columns_SSH, rows_SSH = axis_SH[None].expand(side, -1, -1), axis_SH[:, None].expand(-1, side, -1)
    return torch.cat([columns_SSH, rows_SSH], 2).flatten(0, 1)[:, :width].float()
