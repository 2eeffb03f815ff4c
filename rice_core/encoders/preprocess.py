"""How a model wants its images: our own recipe, and the arithmetic of a library where the checkpoint comes from one.

Shapes: B images, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol, cast, get_args

import numpy as np
import torch
from PIL import Image
from pydantic import Field, PositiveInt

from rice_core.errors import UserError
from rice_core.images import ImageError, rgb_pixels
from rice_core.spec import Channels, Deviations, Frozen, Interpolation

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class PixelRecipe(Protocol):
    """From pictures of any size to what a model reads."""

    @property
    def resolution(self) -> tuple[int, int]:
        """The model's own height and width."""

    @property
    def mean(self) -> Channels:
        """Of pixels in [0, 1]; `std` likewise."""

    @property
    def std(self) -> Channels: ...

    @property
    def interpolation(self) -> Interpolation: ...

    def prepare(self, images: Sequence[Image.Image], height: int, width: int) -> torch.Tensor:
        """Images of any size -> (B, 3, height, width) in model space, by the model's own resize, cut, mean and std.

        Raises:
            UserError: the recipe cannot give that size.
        """

    def described(self) -> Mapping[str, Any]:
        """All that changes pixels, as JSON: part of the architecture's digest."""


class Preprocess(Frozen):
    """Our own recipe. The size itself comes from the spec, so that it holds at any resolution."""

    resolution: tuple[PositiveInt, PositiveInt]
    """The model's own height and width."""
    geometry: Literal["crop", "squash"] = "crop"
    """crop: cover the target, aspect ratio kept. squash: both sides to the target. Then the centre is cut out."""
    zoom: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    """Size before the cut over size after it (DINOv2: 256 / 224)."""
    interpolation: Interpolation = "bicubic"
    mean: Channels = CLIP_MEAN
    std: Deviations = CLIP_STD

    def prepare(self, images: Sequence[Image.Image], height: int, width: int) -> torch.Tensor:
        """See `PixelRecipe`."""
        pixels_BHW3 = np.stack([np.asarray(self._shape(rgb_pixels(image), height, width)) for image in images])
        return normalized(torch.from_numpy(pixels_BHW3).permute(0, 3, 1, 2).float() / 255, self)

    def described(self) -> Mapping[str, Any]:
        """See `PixelRecipe`."""
        return self.model_dump(mode="json")

    def _shape(self, image: Image.Image, height: int, width: int) -> Image.Image:
        tall, wide = round(height * self.zoom), round(width * self.zoom)
        if self.geometry == "crop":
            # The side that needs the larger scale fits exactly; the other is rounded down as torchvision's Resize does.
            if tall * image.width >= wide * image.height:
                wide = max(wide, int(tall * image.width / image.height))
            else:
                tall = max(tall, int(wide * image.height / image.width))
        # Odd margins as in the CLIP processor that an export to transformers carries; torchvision's own would round.
        left, top = (wide - width) // 2, (tall - height) // 2
        image = image.resize((wide, tall), Image.Resampling[self.interpolation.upper()])
        return image if (wide, tall) == (width, height) else image.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class LibraryRecipe:
    """The arithmetic of the library that a checkpoint was published for, pixel for pixel."""

    resolution: tuple[int, int]
    mean: Channels
    std: Channels
    interpolation: Interpolation
    image: Callable[[Image.Image, int, int], torch.Tensor]
    """One RGB image, height, width -> (3, height, width) in model space."""
    description: Mapping[str, Any]

    def prepare(self, images: Sequence[Image.Image], height: int, width: int) -> torch.Tensor:
        """See `PixelRecipe`.

        Raises:
            ImageError: the library fails on a picture, as on one of 500 x 7 whose longest edge is to be 32.
        """
        prepared = []
        for image in images:
            try:
                prepared.append(self.image(rgb_pixels(image), height, width))
            except (ImageError, UserError):
                raise
            except Exception as error:
                said = " ".join(f"{image.width}x{image.height} to {width}x{height}: {error}".split())[:150]
                raise ImageError(f"cannot be resized by its encoder's library, {said}") from error
        return torch.stack(prepared)

    def described(self) -> Mapping[str, Any]:
        """See `PixelRecipe`."""
        return {"resolution": self.resolution, **self.description}


def by_size(
    make: Callable[[int, int], Callable[[Image.Image], torch.Tensor]],
) -> Callable[[Image.Image, int, int], torch.Tensor]:
    """A library's factory of transforms for a height and width, as `LibraryRecipe.image`."""
    made = lru_cache(maxsize=8)(make)
    return lambda image, height, width: made(height, width)(image)


def normalized(pixels_B3HW: torch.Tensor, recipe: PixelRecipe) -> torch.Tensor:
    """[0, 1] -> model space, on the device of the pixels."""
    mean, std = (pixels_B3HW.new_tensor(value)[:, None, None] for value in (recipe.mean, recipe.std))
    return (pixels_B3HW - mean) / std


def channels(value: Any) -> Channels:
    """One number for all colours, or three.

    Raises:
        TypeError, ValueError: anything else.
    """
    red, *others = [float(each) for each in value] if isinstance(value, (list, tuple)) else [float(value)]
    green, blue = others or (red, red)
    return red, green, blue


def interpolation_name(value: Any) -> Interpolation:
    """A PIL filter number, a torchvision mode or a name -> our name.

    Raises:
        ValueError: the filter is none of the four.
    """
    if isinstance(value, int):
        value = Image.Resampling(value).name
    name = str(getattr(value, "value", value)).lower()
    if name not in get_args(Interpolation):
        raise ValueError(f"unknown interpolation {name!r}")
    return cast(Interpolation, name)
