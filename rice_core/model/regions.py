"""Region attention (paper, Eq. 2): one embedding a region, all regions of an image in one forward pass of the trunk.

At depth L - R the class token's state is copied to N region tokens. In each of the last R blocks the image's own tokens go on
as ever, and each region token runs the same weights as a single query over {itself} and the patches its region sees. Then
`post_norm`. So there are no new parameters (mode "shared"), an exported trunk is a plain MLCD model, region embeddings can be
had from any released checkpoint of that class, and a region that sees every patch equals the class token.

Shapes: B images, N regions, P = h*w patches, T = 1 + P tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import nn
from torch.utils.checkpoint import checkpoint

from rice_core.errors import UserError
from rice_core.model.vit import Block, ViT
from rice_core.spec import Frozen

RegionMode = Literal["shared", "head"]


class RegionSettings(Frozen):
    """How an encoder learnt to answer for regions; its weights say nothing of it."""

    layers: int = Field(ge=1)
    """R."""
    mode: RegionMode = "shared"
    overlap: float = Field(default=0.5, gt=0, le=1)
    """Share of a patch that a region must cover to see it."""


def usual_layers(depth: int) -> int:
    """R where nothing else is said: the paper does not state its own; 2 up to the size of B, 4 for L."""
    return min(depth, 4 if depth >= 24 else 2)


@dataclass(frozen=True)
class RegionOutput:
    """What a pass gives."""

    tokens_BTD: torch.Tensor
    """The last block's raw output, class token first: `ViT.forward`'s."""
    cls_BD: torch.Tensor
    """The normed class token."""
    regions_BND: torch.Tensor
    """One normed embedding a region."""


class RegionViT(nn.Module):
    """A trunk that also answers for regions.

    Args:
        layers: R, 1 to the trunk's depth.
        mode: "shared" runs the trunk's own last blocks; "head" runs R further blocks on the last tokens, which no export keeps.
        checkpoint_activations: recompute each block in the backward pass.

    Raises:
        UserError: more region layers than blocks.
    """

    def __init__(
        self,
        trunk: ViT,
        *,
        layers: int = 2,
        mode: RegionMode = "shared",
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= layers <= trunk.config.depth:
            raise UserError(
                f"{layers} region layers do not fit a trunk of {trunk.config.depth} blocks; give 1 or more, at most that."
            )
        self.trunk = trunk
        self.layers = layers
        self.head = nn.ModuleList([Block(trunk.config) for _ in range(layers)]) if mode == "head" else None
        self._checkpoint = checkpoint_activations
        if self.head is not None:
            for module in self.head.modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)

    def forward(self, pixels_B3HW: torch.Tensor, visible_BNP: torch.Tensor | None = None) -> RegionOutput:
        """Normalised pixels and what each region sees -> tokens, class embedding and region embeddings.

        Args:
            visible_BNP: bool, the patches of each region row by row; a region that sees nothing sees itself alone, and its
                embedding is finite and means nothing. None: no regions (N = 0).

        Raises:
            UserError: H or W is no multiple of the patch, or the visibility has another grid.
        """
        trunk = self.trunk
        x_BTD, rotation = trunk.embed(pixels_B3HW)
        if visible_BNP is not None and visible_BNP.shape[2] != x_BTD.shape[1] - 1:
            raise UserError(
                f"the regions see {visible_BNP.shape[2]} patches and the image has {x_BTD.shape[1] - 1}; "
                "compute the visibility on the image's own grid."
            )
        regions = 0 if visible_BNP is None else visible_BNP.shape[1]
        branch = len(trunk.blocks) - (0 if self.head is not None else self.layers)
        for block in trunk.blocks[:branch]:
            x_BTD = self._run(block, x_BTD, rotation)
        T = x_BTD.shape[1]
        joint_BTD, joint_rotation, visible_BNT = x_BTD, rotation, None
        if visible_BNP is not None and regions:
            # Not from the mean of the patches it sees: such embeddings spread sooner, then all became one (docs/log.md).
            joint_BTD = torch.cat([x_BTD, x_BTD[:, :1].expand(-1, regions, -1)], dim=1)
            joint_rotation = _with_class_angles(rotation, regions)
            visible_BNT = _keys(visible_BNP)
        for block in self.head if self.head is not None else trunk.blocks[branch:]:
            joint_BTD = self._run(cast(Block, block), joint_BTD, joint_rotation, visible_BNT)
        tokens_BTD = x_BTD if self.head is not None else joint_BTD[:, :T]
        return RegionOutput(tokens_BTD, trunk.pool(tokens_BTD), cast(torch.Tensor, trunk.post_norm(joint_BTD[:, T:])))

    def _run(self, block: nn.Module, *inputs: Any) -> torch.Tensor:
        if self._checkpoint and self.training and torch.is_grad_enabled():
            return cast(torch.Tensor, checkpoint(block, *inputs, use_reentrant=False))
        return cast(torch.Tensor, block(*inputs))


def _with_class_angles(rotation: tuple[torch.Tensor, torch.Tensor], regions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The rotation of T tokens, then the class token's for each region."""
    cos_TK, sin_TK = rotation
    return torch.cat([cos_TK, cos_TK[:1].expand(regions, -1)]), torch.cat([sin_TK, sin_TK[:1].expand(regions, -1)])


def _keys(visible_BNP: torch.Tensor) -> torch.Tensor:
    """(B, N, 1 + P + N): not the class token, the visible patches, and of the region tokens itself alone."""
    B, N, _ = visible_BNP.shape
    # A region's own token stands for the class token: with both among its keys a region that sees every patch would not
    # equal it.
    no_class = visible_BNP.new_zeros(B, N, 1)
    itself = torch.eye(N, dtype=torch.bool, device=visible_BNP.device).expand(B, N, N)
    return torch.cat([no_class, visible_BNP, itself], dim=2)
