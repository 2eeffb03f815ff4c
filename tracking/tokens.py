"""What the frozen encoder makes of crops, and whether it can.

Shapes: B crops, S pixels, C channels, T tokens along a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rice_core.encoders.normed import check_normed, normed_tokens
from rice_core.errors import UserError
from rice_core.features import Encoder, Informed, Truth
from tracking.recipe import TrackerConfig


def sizes_of(config: TrackerConfig, patch: int) -> tuple[int, int]:
    """Pixels along a side of the template and of the search crop."""
    return config.template_grid * patch, config.search_grid * patch


def check_encoder(encoder: Encoder, config: TrackerConfig) -> None:
    """Whether an encoder can look at such crops.

    Raises:
        UserError: it takes its own resolution alone, or has no such norm.
    """
    check_normed(encoder, config.norm)
    sizes, own = sizes_of(config, encoder.patch), encoder.spec.resolution
    if "multires" not in encoder.provides and any(own != (size, size) for size in sizes):
        at = "one size" if own is None else f"pictures of {own[0]}x{own[1]} pixels alone"
        raise UserError(
            f"{encoder.spec.title} takes {at}, and a tracker looks at crops of {sizes[0]} and {sizes[1]}; choose an encoder that "
            "takes any multiple of its patch."
        )


def tokens_of(
    encoder: Encoder,
    crops_BSS3: torch.Tensor,
    config: TrackerConfig,
    *,
    precision: str,
    names: Sequence[str],
    truths: Sequence[Truth] | None = None,
) -> torch.Tensor:
    """The frozen encoder's tokens of crops (B, C, T, T), float32 on its device, without a graph.

    Args:
        crops_BSS3: uint8, template or search crops.
        names: what video, or image, each crop is of.
        truths: `crops.truth` of each, for an encoder that is told it; others are not.

    Raises:
        UserError: tokens are not finite; the truth is not known to one that has to be told; and as `Encoder.encode`.
    """
    if isinstance(encoder, Informed):
        if truths is None:
            raise UserError(
                f"{encoder.spec.title} has to be told where the object is, which is not known here; use a real encoder."
            )
        encoder.observe(truths)
    return normed_tokens(
        encoder, crops_BSS3.permute(0, 3, 1, 2), norm=config.norm, precision=precision, named=names.__getitem__
    )
