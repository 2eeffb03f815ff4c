"""Batches of pairs for the training loop.

A step's pairs are so many places of the endless sequence of `pairs.PairSequence`, in parts; ranks share the parts out, so that the same
pairs are seen, and normalised together, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from rice_core.datasets.in_bytes import still
from rice_core.errors import UserError
from rice_core.features import Truth
from rice_core.record import Skipped
from tracking.recipe import LearningConfig
from tracking.views import PairView, PairViews, View

PREFETCH = 2


@dataclass(frozen=True)
class Crops:
    """One crop of each pair of a batch."""

    items: tuple[str, ...]
    pixels_BSS3: torch.Tensor
    """uint8."""
    truths: tuple[Truth, ...] | None
    """For an encoder that is told them."""

    def pinned(self) -> Crops:
        """In memory that a GPU reads by itself."""
        return Crops(self.items, self.pixels_BSS3.pin_memory(), self.truths)


@dataclass(frozen=True)
class PairBatch:
    """A part of a step's pairs."""

    template: Crops
    search: Crops
    foreground_BTT: torch.Tensor
    """bool: cells of the templates that show the object."""
    boxes_B4: torch.Tensor
    """Centre x, y, width, height in sides of the search crop, float32."""
    skipped: tuple[Skipped, ...] = ()
    redrawn: int = 0
    """Draws that came to nothing."""

    def pin_memory(self) -> PairBatch:
        """`DataLoader` calls it."""
        foreground_BTT, boxes_B4 = self.foreground_BTT.pin_memory(), self.boxes_B4.pin_memory()
        return PairBatch(
            self.template.pinned(), self.search.pinned(), foreground_BTT, boxes_B4, self.skipped, self.redrawn
        )


def parts_of(batch: int, part: int, world: int) -> int:
    """How many parts of a step's batch each of the ranks has.

    Raises:
        UserError: they do not divide over the ranks.
    """
    parts = batch // part
    if parts % world:
        most = next(n for n in range(min(parts, world), 0, -1) if parts % n == 0)
        raise UserError(f"a batch of {batch} pairs in parts of {part} does not divide over {world} ranks; use {most}.")
    return parts // world


@dataclass(frozen=True)
class PairPlaces(Sampler[int]):
    """Of one rank's share of the pairs, from step `first` on, without end: every `world`-th part of each step.

    Raises:
        UserError: the parts do not divide over the ranks.
    """

    batch: int
    part: int
    first: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        parts_of(self.batch, self.part, self.world)

    def __iter__(self) -> Iterator[int]:
        for step in count(self.first):
            for start in range(self.rank * self.part, self.batch, self.world * self.part):
                yield from range(step * self.batch + start, step * self.batch + start + self.part)


def pair_batches(
    views: PairViews,
    config: LearningConfig,
    *,
    first: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[PairBatch]:
    """This rank's parts of each step's batch, from step `first` on, without end.

    Args:
        workers: processes that decode; 0 decodes here. pin: whether a GPU reads the batches.

    Raises:
        UserError: the batch does not divide, or a data set gives no pair.
    """
    loader = DataLoader(
        views,
        batch_size=config.part,
        sampler=PairPlaces(config.batch, config.part, first, rank, world),
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        collate_fn=_collated,
        worker_init_fn=still,
        pin_memory=pin,
        # Else it draws a seed from the global generator, and the number of resumes would change the training.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def _collated(found: list[PairView | UserError]) -> PairBatch | UserError:
    # In one piece, and here: what a worker hands over as a tensor is not copied in the process that trains.
    for each in found:
        if isinstance(each, UserError):
            return each
    pairs = [each for each in found if isinstance(each, PairView)]
    return PairBatch(
        _crops([pair.template for pair in pairs]),
        _crops([pair.search for pair in pairs]),
        torch.from_numpy(np.stack([pair.foreground_TT for pair in pairs])),
        torch.from_numpy(np.stack([pair.search.box_4 for pair in pairs])),
        tuple(skip for pair in pairs for skip in pair.skipped),
        sum(pair.redrawn for pair in pairs),
    )


def _crops(views: list[View]) -> Crops:
    truths = tuple(view.truth for view in views if view.truth is not None)
    pixels_BSS3 = torch.from_numpy(np.stack([view.pixels_SS3 for view in views]))
    return Crops(tuple(view.item for view in views), pixels_BSS3, truths or None)
