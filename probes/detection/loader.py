"""Training batches and test batches of a detection data set.

Which image is shown when, and how it is jittered, is a function of the seed and of its place in the endless sequence of
training images. So a resumed training sees what it would have seen, whatever the number of workers and ranks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from probes.detection.annotations import TruthImage
from probes.detection.images import Placing, jittered, label_view, shown, whole
from probes.detection.nouns import Target
from probes.detection.recipe import TrainingConfig
from rice_core.errors import UserError
from rice_core.features import Truth
from rice_core.images import ImageError, load_image
from rice_core.record import Skipped

_ORDER, _VIEW, _REPEAT = 0, 1, 2
"""Keep the uses of the seed apart."""
PREFETCH = 2


@dataclass(frozen=True)
class Example:
    """One view."""

    image: TruthImage
    placing: Placing
    pixels_SS3: npt.NDArray[np.uint8]
    target: Target
    truth: Truth | None
    """For an encoder that is told it."""
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Batch:
    """B views and what is known about them."""

    examples: tuple[Example, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def pixels_B3SS(self) -> torch.Tensor:
        """uint8."""
        return torch.from_numpy(np.stack([example.pixels_SS3 for example in self.examples])).permute(0, 3, 1, 2)

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
        draws_N = np.random.default_rng([self.seed, _REPEAT, epoch]).random(len(self.repeats))
        images = np.repeat(np.arange(len(self.repeats)), floor_N + (draws_N < self.repeats - floor_N))
        return np.random.default_rng([self.seed, _ORDER, epoch]).permutation(images)


def repeat_factors(images: Sequence[TruthImage], threshold: float | None) -> npt.NDArray[np.float64]:
    """How often each image is shown in an epoch: max over its categories of max(1, sqrt(threshold / share of images)).

    Gupta et al. 2019, section 5.1. Without a threshold each is shown once.
    """
    labels = [{thing.label for thing in image.things if not thing.crowd} for image in images]
    if threshold is None:
        return np.ones(len(images))
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
    workers: int = 0,
) -> Iterator[Batch]:
    """This rank's share of each step's batch, in `accumulate` parts, from step `first` on, without end.

    An image that cannot be read, or has another size than annotated, is named and the next one takes its place.

    Args:
        side: S. told: also give the truth that an informed encoder asks for.

    Raises:
        UserError: `batch` does not divide over the ranks, or no image of the split can be read.
    """
    if config.batch % (world * config.accumulate):
        raise UserError(
            f"a batch of {config.batch} images does not divide into {config.accumulate} parts on {world} ranks; choose a multiple."
        )
    order = Shuffled(repeat_factors(images, config.repeat_threshold), seed, first * config.batch, rank, world)
    views = _Views(tuple(images), config, side, masks, told, seed)
    for batch in _loader(views, config.batch // (world * config.accumulate), workers, order):
        if isinstance(batch, UserError):
            raise batch
        yield batch


def whole_batches(
    images: Sequence[TruthImage], *, side: int, batch: int, told: bool, start: int = 0, workers: int = 0
) -> Iterator[Batch]:
    """Whole images from the `start`-th on, in order; those that cannot be read are missing and named in `Batch.skipped`."""
    views = _Whole(tuple(images[start:]), side, told)
    return iter(_loader(views, batch, workers, None))


@dataclass(frozen=True)
class _Views(Dataset["Example | UserError"]):
    """Training views by (place, image)."""

    images: tuple[TruthImage, ...]
    config: TrainingConfig
    side: int
    masks: bool
    told: bool
    seed: int

    def __getitem__(self, index: tuple[int, int]) -> Example | UserError:
        place, chosen = index
        rng = np.random.default_rng([self.seed, _VIEW, place])
        skipped: list[Skipped] = []
        for step in range(len(self.images)):
            truth = self.images[(chosen + step) % len(self.images)]
            try:
                image = _read(truth)
            except ImageError as error:
                skipped.append(Skipped(item=truth.sample.id, reason=str(error)))
                continue
            size_hw = (image.height, image.width)
            placing = jittered(size_hw, self.side, self.config.jitter, self.config.flip, rng)
            return _example(truth, placing, image, self.masks, self.told, tuple(skipped))
        # As a value: DataLoader would wrap a raised one in the worker's traceback.
        first = f"{skipped[0].item} {skipped[0].reason}" if skipped else "there are none"
        return UserError(f"no training image can be read; the first: {first}.")


@dataclass(frozen=True)
class _Whole(Dataset["Example | Skipped"]):
    images: tuple[TruthImage, ...]
    side: int
    told: bool

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example | Skipped:
        truth = self.images[index]
        try:
            image = _read(truth)
        except ImageError as error:
            return Skipped(item=truth.sample.id, reason=str(error))
        placing = whole((image.height, image.width), self.side)
        return _example(truth, placing, image, False, self.told, ())


def _read(truth: TruthImage) -> Image.Image:
    image = load_image(truth.sample.path)
    if truth.size_hw is not None and truth.size_hw != (image.height, image.width):
        raise ImageError(f"is {image.width}x{image.height} pixels, annotated as {truth.size_hw[1]}x{truth.size_hw[0]}")
    return image


def _example(
    truth: TruthImage, placing: Placing, image: Image.Image, masks: bool, told: bool, skipped: tuple[Skipped, ...]
) -> Example:
    seen = shown(truth, placing, masks=masks)
    target = Target(
        boxes_N4=torch.from_numpy(seen.boxes_N4),
        labels_N=torch.from_numpy(seen.labels_N),
        masks_NHW=None if seen.masks_NSS is None else torch.from_numpy(seen.masks_NSS),
    )
    known = Truth(label_view(truth.things, placing), None) if told else None
    return Example(truth, placing, placing.pixels(image), target, known, skipped)


def _loader(views: Dataset[Any], batch: int, workers: int, order: Shuffled | None) -> DataLoader[Any]:
    return DataLoader(
        views,
        batch_size=batch,
        sampler=order,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        collate_fn=_collated,
        # Else it draws a seed from the global generator, and the number of resumes would change the training.
        generator=torch.Generator(),
    )


def _collated(found: list[Example | Skipped | UserError]) -> Batch | UserError:
    for each in found:
        if isinstance(each, UserError):
            return each
    examples = tuple(each for each in found if isinstance(each, Example))
    skipped = [each for each in found if isinstance(each, Skipped)]
    return Batch(examples, (*skipped, *(skip for example in examples for skip in example.skipped)))
