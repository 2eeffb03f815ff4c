"""Training batches and test batches of a detection data set.

Which image is shown when, and how it is jittered, is a function of the seed and of its place in the endless sequence of
training images. So a resumed training sees what it would have seen, whatever the number of workers and ranks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from probes.detection.examples import Pool, ViewExample, Views, Whole
from probes.detection.recipe import TrainingConfig
from probes.detection.truth import TruthImage
from probes.detection.views import ORDER, REPEAT, KeptViews, Packed
from rice_core.datasets.in_bytes import still
from rice_core.errors import UserError
from rice_core.record import Skipped

PREFETCH = 2


@dataclass(frozen=True)
class ViewBatch:
    """B views and what is known about them."""

    examples: tuple[ViewExample, ...]
    """Without pixels, features and the truth of the whole image, which are of no use beside a batch."""
    skipped: tuple[Skipped, ...] = ()
    pixels_BSS3: torch.Tensor | None = None
    """uint8; None where features are kept."""
    kept: Packed | None = None
    """Features that are kept; None where the encoder has to be asked."""

    @property
    def pixels_B3SS(self) -> torch.Tensor:
        """uint8."""
        assert self.pixels_BSS3 is not None
        return self.pixels_BSS3.permute(0, 3, 1, 2)

    def pin_memory(self) -> ViewBatch:
        """What goes to the GPU in memory that it reads by itself; `DataLoader` calls it."""
        return replace(
            self,
            examples=tuple(replace(each, target=each.target.moved(torch.Tensor.pin_memory)) for each in self.examples),
            pixels_BSS3=None if self.pixels_BSS3 is None else self.pixels_BSS3.pin_memory(),
            kept=None if self.kept is None else replace(self.kept, half_BCTU=self.kept.half_BCTU.pin_memory()),
        )

    @property
    def sizes_hw(self) -> list[tuple[int, int]]:
        """What each view shows of its image; the rest is padding."""
        return [example.placing.valid_hw for example in self.examples]


@dataclass(frozen=True)
class Shuffled(Sampler[tuple[int, int]]):
    """(place in the sequence, image) from `start` on, without end, of one rank's share.

    Args:
        repeats: how often each image is shown in an epoch, at least once; the fraction is drawn anew each epoch.
    """

    repeats: npt.NDArray[np.float64]
    seed: int
    start: int = 0
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = 0
        for epoch in count():
            order = self._epoch(epoch)
            for offset in range(max(0, self.start - first), len(order)):
                if (first + offset) % self.world == self.rank:
                    yield first + offset, int(order[offset])
            first += len(order)

    def _epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        floor_N = np.floor(self.repeats).astype(np.int64)
        draws_N = np.random.default_rng([self.seed, REPEAT, epoch]).random(len(self.repeats))
        images = np.repeat(np.arange(len(self.repeats)), floor_N + (draws_N < self.repeats - floor_N))
        return np.random.default_rng([self.seed, ORDER, epoch]).permutation(images)


def repeat_factors(images: Sequence[TruthImage], threshold: float | None) -> npt.NDArray[np.float64]:
    """How often each image is shown in an epoch: max over its categories of max(1, sqrt(threshold / share of images)).

    Gupta et al. 2019, section 5.1. Without a threshold each is shown once.
    """
    if threshold is None:
        return np.ones(len(images))
    labels = [{thing.label for thing in image.things if not thing.crowd} for image in images]
    share = {label: n / len(images) for label, n in Counter(label for each in labels for label in each).items()}
    factor = {label: max(1.0, math.sqrt(threshold / s)) for label, s in share.items()}
    return np.array([max((factor[label] for label in each), default=1.0) for each in labels])


def training_batches(
    images: Sequence[TruthImage],
    config: TrainingConfig,
    *,
    side: int,
    masks: bool,
    told: bool,
    seed: int,
    first: int = 0,
    rank: int = 0,
    world: int = 1,
    kept: KeptViews | None = None,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[ViewBatch]:
    """This rank's share of each step's batch, in `accumulate` parts, from step `first` on, without end.

    An image that cannot be read, or has another size than annotated, is named and the next one takes its place.

    Args:
        side: S. told: also give the truth that an informed encoder asks for.
        kept: features in place of pixels. pin: whether a GPU reads the batches.

    Raises:
        UserError: `batch` does not divide over the ranks, or no image of the split can be read.
    """
    if config.batch % (world * config.accumulate):
        raise UserError(
            f"a batch of {config.batch} images does not divide into {config.accumulate} parts on {world} ranks; choose a multiple."
        )
    order = Shuffled(repeat_factors(images, config.repeat_threshold), seed, first * config.batch, rank, world)
    views = Views(images, config, side, masks, told, seed, kept)
    for batch in _loader(views, config.batch // (world * config.accumulate), workers, order, pin=pin):
        if isinstance(batch, UserError):
            raise batch
        yield batch


def pool_batches(
    images: Sequence[TruthImage],
    chosen: range,
    config: TrainingConfig,
    *,
    side: int,
    told: bool,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[ViewBatch]:
    """Every view of the chosen images of a recipe with `views`, in order, as many at once as a part of a training batch."""
    views = Pool(images, chosen, config, side, told)
    return iter(_loader(views, max(1, config.batch // config.accumulate), workers, None, pin=pin))


def whole_batches(
    images: Sequence[TruthImage], *, side: int, batch: int, told: bool, workers: int = 0, pin: bool = False
) -> Iterator[ViewBatch]:
    """Whole images, in order; those that cannot be read are missing and named in `ViewBatch.skipped`."""
    return iter(_loader(Whole(images, side, told), batch, workers, None, pin=pin))


def _loader(views: Dataset[Any], batch: int, workers: int, order: Shuffled | None, *, pin: bool) -> DataLoader[Any]:
    return DataLoader(
        views,
        batch_size=batch,
        sampler=order,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        collate_fn=_collated,
        worker_init_fn=still,
        pin_memory=pin,
        # Else it draws a seed from the global generator, and the number of resumes would change the training.
        generator=torch.Generator(),
    )


def _collated(found: list[ViewExample | Skipped | UserError]) -> ViewBatch | UserError:
    for each in found:
        if isinstance(each, UserError):
            return each
    examples = tuple(each for each in found if isinstance(each, ViewExample))
    skipped = [each for each in found if isinstance(each, Skipped)]
    skipped += [skip for example in examples for skip in example.skipped]
    # In one piece, and here: what a worker hands over as a tensor is not copied in the process that trains.
    pixels = [example.pixels_SS3 for example in examples if example.pixels_SS3 is not None]
    kept = [example.kept for example in examples if example.kept is not None]
    return ViewBatch(
        tuple(example.light() for example in examples),
        tuple(skipped),
        torch.from_numpy(np.stack(pixels)) if pixels else None,
        _packed(kept) if kept else None,
    )


def _packed(kept: list[tuple[npt.NDArray[np.float16], int]]) -> Packed:
    half_BCTU = torch.from_numpy(np.stack([half_CTU for half_CTU, _ in kept]))
    return Packed(half_BCTU, torch.tensor([exponent for _, exponent in kept]))
