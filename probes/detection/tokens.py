"""What the frozen encoder gives the detector."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch.nn import functional

from probes.detection.loader import ViewBatch
from probes.detection.recipe import Norm
from rice_core.errors import UserError
from rice_core.features import Encoder, Informed, Layered
from rice_core.record import Skipped

_EPS = 1e-6
"""Of the variance that a token is divided by the root of: vision transformers' own."""


class Encoded:
    """A part of a step's batch, whose tokens are computed once, when the first head asks for them."""

    positions = None

    def __init__(self, batch: ViewBatch, tokens: Callable[[ViewBatch], torch.Tensor]) -> None:
        self.batch, self._tokens = batch, tokens

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that were left out since the part before."""
        return self.batch.skipped

    @cached_property
    def tokens_BCTU(self) -> torch.Tensor:
        """As `tokens_of` gives them; the parts of a step are held until it is made.

        Raises:
            UserError: they are not finite.
        """
        return self._tokens(self.batch)


def tokens_of(encoder: Encoder, batch: ViewBatch, precision: str, norm: Norm) -> torch.Tensor:
    """The frozen encoder's patch grid (B, C, T, U), float32, without a graph; what a batch brings along is not computed.

    Args:
        norm: as `TrainingConfig.norm`; what a batch brings along is behind it.

    Raises:
        UserError: it is not finite, or the encoder has no such norm.
    """
    if batch.kept is not None:
        return batch.kept.tokens(encoder.device)
    if isinstance(encoder, Informed):
        encoder.observe([example.truth for example in batch.examples if example.truth is not None])
    device = encoder.device
    # Not inference_mode: the head's backward pass keeps what is computed here.
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        pixels_B3SS = batch.pixels_B3SS.to(device, non_blocking=True).float() / 255
        tokens_BCTU = _grid(encoder, encoder.normalize(pixels_B3SS), norm).float()
    if norm == "layer":
        tokens_BCTU = functional.layer_norm(tokens_BCTU.movedim(1, 3), tokens_BCTU.shape[1:2], eps=_EPS).movedim(3, 1)
    if not tokens_BCTU.isfinite().all():
        finite = tokens_BCTU.isfinite().flatten(1).all(1).tolist()
        bad = batch.examples[finite.index(False)].image.sample.id
        raise UserError(f"{encoder.spec.title} gives NaN or infinite features for {bad}; try ?dtype=fp32.")
    return tokens_BCTU


def _grid(encoder: Encoder, model_B3SS: torch.Tensor, norm: Norm) -> torch.Tensor:
    if norm != "final":
        return encoder.encode(model_B3SS).dense_BCHW
    if not isinstance(encoder, Layered) or not encoder.normed:
        raise UserError(f"{encoder.spec.title} has no final norm over its tokens; write norm=layer or norm=none.")
    return encoder.blocks(model_B3SS, 1)[0].dense_BCHW
