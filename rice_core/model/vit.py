"""The ViT trunk of RICE: the architecture of `MLCDVisionModel`, natively, with fused qkv and clear names.

Pre-LN blocks behind a bias-free patch convolution and a norm; axial 2-D RoPE on q and k in every layer, so that any H
and W that are multiples of the patch work without a position table. The class token has a learned angle of its own.

Shapes: B images, T = 1 + h*w tokens (class token first, then the grid row by row), D width, N heads, K = D/N head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import nn

from rice_core.errors import UserError
from rice_core.spec import Frozen

ROPE_THETA = 1e4


class ViTConfig(Frozen):
    """Everything that fixes the trunk's shape. The defaults are the small ViT of the miniature world."""

    width: int = Field(default=96, ge=4)
    depth: int = Field(default=4, ge=1)
    heads: int = Field(default=3, ge=1)
    mlp_ratio: float = Field(default=4.0, gt=0)
    patch: int = Field(default=8, ge=1)
    resolution: int = Field(default=96, ge=1)
    """Side in pixels that it was trained at; others work."""
    eps: float = Field(default=1e-5, gt=0)

    @model_validator(mode="after")
    def _divides(self) -> ViTConfig:
        if self.width % self.heads or self.head_dim % 4:
            raise ValueError("width / heads must be a whole number and a multiple of 4 (two axes of rotated pairs)")
        if self.resolution % self.patch:
            raise ValueError("resolution must be a multiple of the patch")
        return self

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def mlp_width(self) -> int:
        return round(self.width * self.mlp_ratio)


PRESETS = {
    "Ti/16": ViTConfig(width=192, depth=12, heads=3, patch=16, resolution=224),
    "S/16": ViTConfig(width=384, depth=12, heads=6, patch=16, resolution=224),
    "B/16": ViTConfig(width=768, depth=12, heads=12, patch=16, resolution=224),
    "L/14": ViTConfig(width=1024, depth=24, heads=16, patch=14, resolution=224),
}
"""Ti, S and B as in DeiT; L/14 as in CLIP and the released RICE."""


class ViT(nn.Module):
    """The trunk. Parameters are drawn from the global torch generator: seed it, or fork it, before building one."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Conv2d(3, config.width, config.patch, stride=config.patch, bias=False)
        self.class_token = nn.Parameter(torch.empty(config.width))
        self.class_angle = nn.Parameter(torch.empty(config.head_dim // 2))
        self.pre_norm = nn.LayerNorm(config.width, eps=config.eps)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.post_norm = nn.LayerNorm(config.width, eps=config.eps)
        self._init_weights()

    def forward(self, pixels_B3HW: torch.Tensor, layers: Sequence[int] = (-1,)) -> tuple[torch.Tensor, ...]:
        """Normalised pixels -> the raw output of each block in `layers`, (B, 1 + h*w, D) each, in the order asked for.

        `vit(pixels)[0]` is the last block, equal to `MLCDVisionModel(...).last_hidden_state`: no norm is applied.

        Args:
            layers: block numbers from 0; negative ones count from the end.

        Raises:
            UserError: H or W is no multiple of the patch.
            IndexError: no such layer.
        """
        depth = self.config.depth
        wanted = [range(depth)[layer] for layer in layers]
        x_BTD, rotation = self.embed(pixels_B3HW)
        outputs: dict[int, torch.Tensor] = {}
        for index, block in enumerate(self.blocks[: max(wanted) + 1]):
            x_BTD = block(x_BTD, rotation)
            outputs[index] = x_BTD
        return tuple(outputs[index] for index in wanted)

    def embed(self, pixels_B3HW: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Normalised pixels -> the first block's input (B, T, D), and the tokens' rotation."""
        B, _, H, W = pixels_B3HW.shape
        patch = self.config.patch
        if H % patch or W % patch:
            raise UserError(
                f"{H}x{W} pixels is no multiple of the {patch}-pixel patch; choose another res=, or add pad=1."
            )
        patches_BPD = self.patch_embed(pixels_B3HW).flatten(2).transpose(1, 2)
        x_BTD = torch.cat([self.class_token.to(patches_BPD.dtype).expand(B, 1, -1), patches_BPD], dim=1)
        return self.pre_norm(x_BTD), self.rotation(H // patch, W // patch)

    def pool(self, tokens_BTD: torch.Tensor) -> torch.Tensor:
        """Last block's tokens -> (B, D): the normed class token, `MLCDVisionModel(...).pooler_output`."""
        return cast(torch.Tensor, self.post_norm(tokens_BTD[:, 0]))

    def rotation(self, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of every token's angles, (T, K) each in float32.

        The K/2 angles of the patch at (row, column) are [row * f, column * f] with f_i = theta^(-2i / (K/2)), i < K/4.
        """
        half, device = self.config.head_dim // 2, self.class_angle.device
        f = ROPE_THETA ** -(torch.arange(0, half, 2, device=device, dtype=torch.float32) / half)
        rows = torch.arange(h, device=device, dtype=torch.float32)[:, None, None] * f
        columns = torch.arange(w, device=device, dtype=torch.float32)[None, :, None] * f
        grid = torch.cat([rows.expand(h, w, -1), columns.expand(h, w, -1)], dim=-1).reshape(h * w, half)
        angles = torch.cat([self.class_angle.float()[None], grid])
        # Half against half, as MLCD lays its pairs out, not neighbour against neighbour: its weights load as they are.
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.patch_embed.weight, std=0.02)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.normal_(self.class_angle, std=(self.config.head_dim // 2) ** -0.5)
        for block in self.blocks:
            # The residual stream would otherwise grow with depth (GPT-2's rule).
            for last in (cast(Block, block).attention.out, cast(Block, block).mlp_out):
                nn.init.trunc_normal_(last.weight, std=0.02 / (2 * self.config.depth) ** 0.5)


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); exact GELU. See `Attention` for `visible`."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.eps)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp_in = nn.Linear(config.width, config.mlp_width)
        self.mlp_out = nn.Linear(config.mlp_width, config.width)

    def forward(
        self, x_BTD: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], visible_BRT: torch.Tensor | None = None
    ) -> torch.Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rotation, visible_BRT)
        return x_BTD + cast(torch.Tensor, self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x_BTD)))))


class Attention(nn.Module):
    """Self-attention with rotated q and k: global, and for region tokens restricted to what their region sees.

    With `visible_BRT` (bool), the last R of the T tokens are region queries. Each attends to the tokens that are true in
    its row, which has itself and no other query among them; the first T - R attend to each other as if no query were there.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(
        self, x_BTD: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], visible_BRT: torch.Tensor | None = None
    ) -> torch.Tensor:
        qkv_BT3NK = self.qkv(x_BTD).unflatten(-1, (3, self.heads, -1))
        q_BNTK, k_BNTK, v_BNTK = qkv_BT3NK.permute(2, 0, 3, 1, 4)
        q_BNTK, k_BNTK = rotate(q_BNTK, *rotation), rotate(k_BNTK, *rotation)
        if visible_BRT is None:
            mixed_BNTK = attend(q_BNTK, k_BNTK, v_BNTK)
        else:
            own = x_BTD.shape[1] - visible_BRT.shape[1]
            # Two calls, not one with a mask over all: the image's own tokens keep the kernel without a mask.
            everywhere = attend(q_BNTK[:, :, :own], k_BNTK[:, :, :own], v_BNTK[:, :, :own])
            regions = attend(q_BNTK[:, :, own:], k_BNTK, v_BNTK, visible_BRT[:, None])
            mixed_BNTK = torch.cat([everywhere, regions], dim=2)
        return cast(torch.Tensor, self.out(mixed_BNTK.transpose(1, 2).flatten(2)))


def attend(
    q_BNTK: torch.Tensor, k_BNTK: torch.Tensor, v_BNTK: torch.Tensor, visible: torch.Tensor | None = None
) -> torch.Tensor:
    """Scaled dot-product attention; the backward of the fused kernels is slow on a CPU, so it is spelt out there.

    Args:
        visible: bool, broadcast over heads; false keys are not seen. Each row needs one true.
    """
    if q_BNTK.device.type != "cpu" or not q_BNTK.requires_grad:
        return F.scaled_dot_product_attention(q_BNTK, k_BNTK, v_BNTK, attn_mask=visible)
    scores = (q_BNTK * q_BNTK.shape[-1] ** -0.5) @ k_BNTK.transpose(-2, -1)
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    weights: torch.Tensor = scores.softmax(dim=-1).to(v_BNTK.dtype)
    return weights @ v_BNTK


def rotate(x_BNTK: torch.Tensor, cos_TK: torch.Tensor, sin_TK: torch.Tensor) -> torch.Tensor:
    """Rotate channel i against channel i + K/2 by the token's angle i.

    In float32 whatever comes in: bfloat16 cannot tell neighbours far from the origin apart.
    """
    x = x_BNTK.float()
    left, right = x.chunk(2, dim=-1)
    return (x * cos_TK + torch.cat([-right, left], dim=-1) * sin_TK).to(x_BNTK.dtype)
