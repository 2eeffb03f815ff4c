"""Any encoder as the vision tower: patch tokens of its second to last block, with weights that can be trained.

Shapes: K tiles, S pixels along one, T = g * g patch tokens of a tile by rows, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from rice_core.encoders.base import TorchEncoder
from rice_core.encoders.preprocess import PixelRecipe
from rice_core.encoders.private import private
from rice_core.encoders.sizes import floored
from rice_core.errors import UserError
from rice_core.features import Encoder

LAYER = -2
"""LLaVA's: the output of the second to last block, behind no final norm."""


class VisionTower(nn.Module):
    """A copy of an encoder, whose weights are its parameters: the encoder itself stays as it is.

    It stays in the mode of evaluation, as in the forward passes that the encoder was read by; what lies behind the layer gets no gradient,
    is frozen and not computed. Tokens are float32.

    Args:
        encoder: loaded in float32. Class token and registers are no patch tokens and are left out.
        layer: block that is read, from the end.

    Raises:
        UserError: it has no weights or blocks to read, its pictures are not square, or its spec asks for layers, a norm or a precision.
    """

    def __init__(self, encoder: Encoder, layer: int = LAYER) -> None:
        super().__init__()
        _check(encoder, layer)
        own = private(encoder)
        assert isinstance(own, TorchEncoder)
        self.encoder, self.layer = own, layer
        self.module = own.module
        self.dim, self.patch, self.side = own.dim, own.patch, _side(own)
        self._freeze_what_is_not_read()
        own.skip_behind(layer)
        self.eval()

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Of the network, the first one first: those behind the layer among them."""
        return self.encoder._trunk.blocks

    @property
    def recipe(self) -> PixelRecipe:
        """Mean, standard deviation and filter of its tiles."""
        return self.encoder.recipe

    def train(self, mode: bool = True) -> VisionTower:
        """Without effect: dropped paths would be other features than the encoder's."""
        return super().train(False)

    def forward(self, tiles_K3SS: torch.Tensor) -> torch.Tensor:
        """Model space -> [K, T, C] float32. Pixels at the right and bottom that make no whole patch (384 / 14) are seen by no token."""
        used = self.side // self.patch * self.patch
        (tokens_KCgg,) = self.encoder.levels(tiles_K3SS[..., :used, :used], [self.layer])
        return tokens_KCgg.flatten(2).transpose(1, 2)

    @torch.enable_grad()
    def _freeze_what_is_not_read(self) -> None:
        # A few patches where it takes them: a whole picture takes a large model seconds.
        side = 2 * self.patch if "multires" in self.encoder.provides else self.side // self.patch * self.patch
        pixels = torch.zeros(1, 3, side, side, device=self.encoder.device)
        parameters = list(self.module.parameters())
        (tokens_KCgg,) = self.encoder.levels(pixels, [self.layer])
        gradients = torch.autograd.grad(tokens_KCgg.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)


def _check(encoder: Encoder, layer: int) -> None:
    title, spec = encoder.spec.title, encoder.spec
    if not isinstance(encoder, TorchEncoder):
        raise UserError(
            f"{title} has no blocks and weights that a language model could be trained with; choose another encoder."
        )
    if not encoder.reaches(layer):
        raise UserError(
            f"{title} has no block {layer}, which the language model reads; choose an encoder of more blocks."
        )
    if spec.layers != (-1,) or spec.norm_last is not None:
        raise UserError(f"{title}: the language model reads block {layer} without a norm; leave out layers= and norm=.")
    if spec.dtype != "float32":
        raise UserError(f"{title}: small steps are lost in weights of {spec.dtype}; leave out dtype=.")
    assert spec.resolution is not None
    h, w = spec.resolution
    if h != w:
        raise UserError(
            f"{title}: its pictures of {h}x{w} make no square tiles; give it one side, as in res={min(h, w)}."
        )


def _side(encoder: TorchEncoder) -> int:
    """S: a published size that the patch does not divide is the tile's, as in the model's own processor."""
    asked, own = encoder.spec.resolution, encoder.recipe.resolution
    return own[0] if asked == floored(own, encoder.patch) and own[0] == own[1] else asked[0]  # type: ignore[index]
