"""Pooling: which tokens of an image become the vector of an item. B images, C channels, H x W the patch grid, N items."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rice_core.errors import NotApplicable
from rice_core.features import Encoder, Features, Layered

if TYPE_CHECKING:
    import torch

PoolKind = Literal["mean", "cls", "cls+mean"]


@dataclass(frozen=True)
class Pooling:
    """DINOv2's linear evaluation is `cls` or `cls+mean` of 1 or 4 layers."""

    kind: PoolKind = "mean"
    """mean: of the patch tokens. cls: the class token, of whole images alone. cls+mean: the one, then the other."""
    layers: int = 1
    """Last blocks whose vectors stand side by side, each behind the final norm (`Layered.blocks`); of `cls+mean` the class
    tokens alone, then the mean of the last block's patch tokens. 1 is what `Encoder.encode` gives."""


MEAN = Pooling()


def check_poolable(pooling: Pooling, encoder: Encoder, title: str, provides: Collection[str]) -> None:
    """Whether an encoder can be pooled that way on a data set that `provides` this.

    Raises:
        NotApplicable: it cannot.
    """
    if "cls" in pooling.kind and "regions" in provides:
        raise NotApplicable(
            f"pool={pooling.kind} needs whole labelled images: an image has one class token, and the items of this data set "
            "are regions of images; write pool=mean"
        )
    if "cls" in pooling.kind and "cls" not in encoder.provides:
        raise NotApplicable(f"pool={pooling.kind} needs cls, which {title} does not give; write pool=mean")
    if pooling.layers > 1 and not isinstance(encoder, Layered):
        raise NotApplicable(f"layers={pooling.layers} needs an encoder that gives its blocks, and {title} does not")


def blocks_of(encoder: Encoder, model_B3HW: torch.Tensor, pooling: Pooling) -> tuple[Features, ...]:
    """The features that are pooled, shallow to deep."""
    if pooling.layers == 1:
        return (encoder.encode(model_B3HW),)
    assert isinstance(encoder, Layered)  # check_poolable
    return encoder.blocks(model_B3HW, pooling.layers)


def side_by_side(blocks: Sequence[Features]) -> torch.Tensor:
    """The patch tokens of all blocks, (B, blocks * C, H, W)."""
    import torch

    # One block stays as it lies in memory: another layout would be summed in another order, hence to other bits.
    return blocks[0].dense_BCHW if len(blocks) == 1 else torch.cat([block.dense_BCHW for block in blocks], 1)


def class_vectors(blocks: Sequence[Features], pooling: Pooling) -> torch.Tensor:
    """One vector an image [B, C or more], as DINOv2's `create_linear_input`: class tokens, then the last mean of patch tokens."""
    import torch

    parts = [block.cls_BC for block in blocks if block.cls_BC is not None]
    if pooling.kind == "cls+mean":
        parts.append(blocks[-1].dense_BCHW.mean((2, 3)))
    return torch.cat(parts, 1).float()
