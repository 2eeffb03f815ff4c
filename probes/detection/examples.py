"""Views of a detection data set, one by one: pixels or kept features, and the truth in the same geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import Dataset

from probes.detection.images import Placing, jittered, label_view, shown, whole
from probes.detection.nouns import Target
from probes.detection.recipe import TrainingConfig
from probes.detection.truth import TruthImage
from probes.detection.views import VIEW, KeptViews, view_of
from rice_core.errors import UserError
from rice_core.features import Truth
from rice_core.images import ImageError, load_image
from rice_core.record import Skipped


@dataclass(frozen=True)
class ViewExample:
    """One view."""

    image: TruthImage
    placing: Placing
    pixels_SS3: npt.NDArray[np.uint8] | None
    """None where the features are kept."""
    kept: tuple[npt.NDArray[np.float16], int] | None
    """As `KeptViews.read` gives them."""
    target: Target
    truth: Truth | None
    """For an encoder that is told it."""
    skipped: tuple[Skipped, ...] = ()

    def light(self) -> ViewExample:
        """Without what a batch holds in one piece, and without the truth in the geometry of the image."""
        image = replace(self.image, things=(), ignored=())
        return replace(self, image=image, pixels_SS3=None, kept=None)


@dataclass(frozen=True)
class Views(Dataset["ViewExample | UserError"]):
    """Training views by (place, image)."""

    images: Sequence[TruthImage]
    config: TrainingConfig
    side: int
    masks: bool
    told: bool
    seed: int
    kept: KeptViews | None

    def __getitem__(self, index: tuple[int, int]) -> ViewExample | UserError:
        place, chosen = index
        rng = np.random.default_rng([self.seed, VIEW, place])
        view = None if self.config.views is None else int(rng.integers(self.config.views))
        skipped: list[Skipped] = []
        for step in range(len(self.images)):
            number = (chosen + step) % len(self.images)
            truth = self.images[number]
            try:
                if view is not None and self.kept is not None:
                    return self._kept_example(self.kept, number, view, tuple(skipped))
                image = _read(truth)
            except ImageError as error:
                skipped.append(Skipped(item=truth.sample.id, reason=str(error)))
                continue
            size_hw = (image.height, image.width)
            if view is None:
                placing = jittered(size_hw, self.side, self.config.jitter, self.config.flip, rng)
            else:
                placing = view_of(number, view, size_hw, self.side, self.config)
            return _example(truth, placing, image, self.masks, self.told, tuple(skipped))
        # As a value: DataLoader would wrap a raised one in the worker's traceback.
        first = f"{skipped[0].item} {skipped[0].reason}" if skipped else "there are none"
        return UserError(f"no training image can be read; the first: {first}.")

    def _kept_example(self, kept: KeptViews, number: int, view: int, skipped: tuple[Skipped, ...]) -> ViewExample:
        """Nothing is decoded; the truth alone is drawn again.

        Raises:
            ImageError: the image could not be read when its features were made.
        """
        if number in kept.reasons:
            raise ImageError(kept.reasons[number])
        truth = self.images[number]
        placing = view_of(number, view, kept.sizes[number], self.side, self.config)
        return ViewExample(
            truth, placing, None, kept.read(number, view), _target(truth, placing, masks=self.masks), None, skipped
        )


@dataclass(frozen=True)
class Pool(Dataset["ViewExample | Skipped"]):
    """The views of some images, view by view."""

    images: Sequence[TruthImage]
    chosen: range
    config: TrainingConfig
    side: int
    told: bool

    def __len__(self) -> int:
        return len(self.chosen) * (self.config.views or 0)

    def __getitem__(self, index: int) -> ViewExample | Skipped:
        nth, view = divmod(index, self.config.views or 1)
        number = self.chosen[nth]
        truth = self.images[number]
        try:
            image = _read(truth)
        except ImageError as error:
            return Skipped(item=truth.sample.id, reason=str(error))
        placing = view_of(number, view, (image.height, image.width), self.side, self.config)
        return _example(truth, placing, image, False, self.told, ())


@dataclass(frozen=True)
class Whole(Dataset["ViewExample | Skipped"]):
    images: Sequence[TruthImage]
    side: int
    told: bool

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> ViewExample | Skipped:
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
) -> ViewExample:
    known = Truth(label_view(truth.things, placing), None) if told else None
    return ViewExample(
        truth, placing, placing.pixels(image), None, _target(truth, placing, masks=masks), known, skipped
    )


def _target(truth: TruthImage, placing: Placing, *, masks: bool) -> Target:
    seen = shown(truth, placing, masks=masks)
    return Target(
        boxes_N4=torch.from_numpy(seen.boxes_N4),
        labels_N=torch.from_numpy(seen.labels_N),
        masks_NHW=None if seen.masks_NSS is None else torch.from_numpy(seen.masks_NSS),
        masked_N=None if seen.masked_N is None else torch.from_numpy(seen.masked_N),
        ignored_M4=None if seen.ignored_M4 is None else torch.from_numpy(seen.ignored_M4),
    )
