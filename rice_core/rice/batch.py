"""Batch: what the loader hands to an objective. B images, N regions an image, P patches, M labels a region, L tokens."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from rice_core.record import Skipped


@dataclass(frozen=True)
class Batch:
    """Images of one step on one rank, cropped and resized to the stage's resolution.

    The same regions in two forms: patches they see, labels they are scored against.
    """

    pixels_B3HW: torch.Tensor
    """uint8; the objective normalises on its device."""
    visible_BNP: torch.Tensor
    """bool; the patches of each region, row by row. All false where the weight is 0."""
    type_BN: torch.Tensor
    """int64 index into REGION_TYPES."""
    labels_BNM: torch.Tensor
    """int64, padded with -1."""
    weight_BN: torch.Tensor
    """float32; 0 for padding and degenerate regions."""
    image_objects_BL: torch.Tensor
    """int64, padded with -1: the unique object clusters of all regions that the crop keeps, sampled or not."""
    image_tokens_BL: torch.Tensor
    """int64, padded with -1: the same for OCR tokens."""
    image_clusters_BL: torch.Tensor
    """int64, padded with -1: the nearest clusters of the whole image; width 0 where curation found none."""
    caption_BL: torch.Tensor
    """int64 token ids, 0 is padding; width 0 where the objective reads no captions."""
    keys: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    """What was left out since the last batch: a damaged member, an impossible label."""
    positions: dict[int, tuple[int, int, int]] | None = None
    """Stream -> (epoch, shard, sample) *after* this batch; resuming starts from here."""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        moved: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor)
        }
        return replace(self, **moved)
