"""What the frozen encoder gives the detector."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch

from probes.detection.loader import ViewBatch
from rice_core.encoders.normed import normed_tokens
from rice_core.features import Encoder, Informed, Norm
from rice_core.record import Skipped


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
    examples = batch.examples
    return normed_tokens(
        encoder, batch.pixels_B3SS, norm=norm, precision=precision, named=lambda place: examples[place].image.sample.id
    )
