"""Patch tokens of a frozen encoder for what is trained on top of it: `norm=` says what of their scale is kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from rice_core.errors import UserError
from rice_core.features import Encoder, Layered, Norm

NORMS: dict[Norm, str] = {
    "none": "Tokens are read as the model gives them, behind its final norm or before it: one initialisation and one rate meet tokens of "
    "each encoder's own scale.",
    "final": "Tokens are read behind the model's own final norm, whether or not the model itself reads them so.",
    "layer": "Each token is brought to mean 0 and deviation 1 over its channels, without a parameter and for every encoder alike, so that one "
    "initialisation and one rate meet tokens of one scale.",
}
"""What each means for a number, in a record's words."""
_EPS = 1e-6
"""Of the variance that a token is divided by the root of: vision transformers' own."""


def normed_tokens(
    encoder: Encoder, pixels_B3HW: torch.Tensor, *, norm: Norm, precision: str, named: Callable[[int], str]
) -> torch.Tensor:
    """The frozen encoder's patch grid (B, C, h, w), float32 on its device, without a graph.

    Args:
        pixels_B3HW: uint8, in the geometry that the encoder sees.
        precision: "bf16": the pass is in mixed precision.
        named: what image of the batch an error is about.

    Raises:
        UserError: tokens are not finite, or the encoder has no such norm; and as `Encoder.encode`.
    """
    device = encoder.device
    # Not inference_mode: the head's backward pass keeps what is computed here.
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        pixels_B3HW = pixels_B3HW.to(device, non_blocking=True).float() / 255
        tokens_BChw = _grid(encoder, encoder.normalize(pixels_B3HW), norm).float()
    if norm == "layer":
        tokens_BChw = functional.layer_norm(tokens_BChw.movedim(1, 3), tokens_BChw.shape[1:2], eps=_EPS).movedim(3, 1)
    if not tokens_BChw.isfinite().all():
        finite = tokens_BChw.isfinite().flatten(1).all(1).tolist()
        raise UserError(
            f"{encoder.spec.title} gives NaN or infinite features for {named(finite.index(False))}; try ?dtype=fp32."
        )
    return tokens_BChw


def _grid(encoder: Encoder, model_B3HW: torch.Tensor, norm: Norm) -> torch.Tensor:
    if norm != "final":
        return encoder.encode(model_B3HW).dense_BCHW
    check_normed(encoder, norm)
    assert isinstance(encoder, Layered)
    return encoder.blocks(model_B3HW, 1)[0].dense_BCHW


def check_normed(encoder: Encoder, norm: Norm) -> None:
    """Whether an encoder has the norm that is asked for.

    Raises:
        UserError: it has not.
    """
    if norm == "final" and not (isinstance(encoder, Layered) and encoder.normed):
        raise UserError(f"{encoder.spec.title} has no final norm over its tokens; write norm=layer or norm=none.")
