"""What the model reads at once: samples with their pictures, padded to one length.

Shapes: B samples, T tokens, K tiles of all pictures together, S pixels along one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from mllm.llava.packing import TilePlan
from mllm.llava.text import IGNORED


@dataclass(frozen=True)
class CutImage:
    """One picture in tiles."""

    tiles_K3SS: torch.Tensor
    plan: TilePlan


@dataclass(frozen=True)
class LlavaBatch:
    """Tensors of one forward pass."""

    ids_BT: torch.Tensor
    """`text.IMAGE` where a picture's token goes."""
    mask_BT: torch.Tensor
    """1 where there is a token, 0 where there is padding."""
    labels_BT: torch.Tensor
    tiles_K3SS: torch.Tensor | None
    """None where no sample has a picture."""
    plans: tuple[TilePlan, ...]
    """Of the pictures, in the order in which their tokens come."""

    def to(self, device: torch.device | str) -> LlavaBatch:
        tensors: dict[str, Any] = {
            name: each.to(device) for name, each in vars(self).items() if isinstance(each, torch.Tensor)
        }
        return replace(self, **tensors)


def collated(
    ids: Sequence[Sequence[int]],
    pictures: Sequence[Sequence[CutImage]],
    *,
    labels: Sequence[Sequence[int]] | None = None,
    padding: int,
    side: Literal["left", "right"],
) -> LlavaBatch:
    """Samples of different lengths and numbers of tiles.

    Args:
        labels: of each id; left out where answers are asked for.
        padding: any row of the vocabulary: no label and no attention falls on it.
        side: where padding goes. left to generate: an answer goes on from the last token.
    """
    longest = max(map(len, ids))
    ids_BT = torch.full((len(ids), longest), padding)
    mask_BT = torch.zeros(len(ids), longest, dtype=torch.long)
    labels_BT = torch.full((len(ids), longest), IGNORED)
    for row, own in enumerate(ids):
        where = slice(0, len(own)) if side == "right" else slice(longest - len(own), longest)
        ids_BT[row, where] = torch.tensor(own, dtype=torch.long)
        mask_BT[row, where] = 1
        if labels is not None:
            labels_BT[row, where] = torch.tensor(labels[row], dtype=torch.long)
    shown = [picture for each in pictures for picture in each]
    tiles_K3SS = torch.cat([picture.tiles_K3SS for picture in shown]) if shown else None
    return LlavaBatch(ids_BT, mask_BT, labels_BT, tiles_K3SS, tuple(picture.plan for picture in shown))
