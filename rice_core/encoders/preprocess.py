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
import torch.nn.functional as F
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
        pixels_B3HW = torch.stack([self._shape(rgb_pixels(image), height, width) for image in images])
        # In the order of operations of the processor that an export carries, so that both give the same bits.
        mean, std = (torch.tensor(value)[:, None, None] * 255 for value in (self.mean, self.std))
        return (pixels_B3HW.float() - mean) / std

    def described(self) -> Mapping[str, Any]:
        return self.model_dump(mode="json") | {"backend": "torch" if self.geometry == "crop" else "pillow"}

    def _shape(self, image: Image.Image, height: int, width: int) -> torch.Tensor:
        """(3, height, width) uint8."""
        tall, wide = round(height * self.zoom), round(width * self.zoom)
        if self.geometry == "crop":
            # The side that needs the larger scale fits exactly; the other is rounded down as torchvision's Resize does.
            if tall * image.width >= wide * image.height:
                wide = max(wide, int(tall * image.width / image.height))
            else:
                tall = max(tall, int(wide * image.height / image.width))
        # Odd margins as in the CLIP processor that an export to transformers carries; torchvision's own would round.
        left, top = (wide - width) // 2, (tall - height) // 2
        return self._resized(image, tall, wide)[:, top : top + height, left : left + width]

    def _resized(self, image: Image.Image, height: int, width: int) -> torch.Tensor:
        if self.geometry == "crop" and self.interpolation in ("bilinear", "bicubic"):
            # As torchvision does, and so the processor of an export. Pillow, which resizes the views of whole pictures
            # everywhere, rounds the same filter differently, by a grey level or two.
            pixels_3HW = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            return F.interpolate(pixels_3HW[None], (height, width), mode=self.interpolation, antialias=True)[0]
        resized = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def as_ours(recipe: PixelRecipe, title: str) -> Preprocess:
    """The recipe as an export states it: the shortest edge to the size, then the centre.

    Raises:
        UserError: it gives other pixels than that.
    """
    ours = Preprocess(
        resolution=recipe.resolution, interpolation=recipe.interpolation, mean=recipe.mean, std=recipe.std
    )
    noise = np.random.default_rng(0).integers(0, 256, (97, 64, 3), dtype=np.uint8)
    for pixels in (noise, noise.swapaxes(0, 1)):
        image = Image.fromarray(np.ascontiguousarray(pixels))
        wanted, found = (each.prepare([image], *recipe.resolution) for each in (recipe, ours))
        if not torch.allclose(wanted, found, atol=1e-4):  # a grey level is 100 times that
            raise UserError(
                f"{title}: its pictures are not resized to their shortest edge and cut at the centre, which is all that an "
                "export states; export it with another processor, or measure it as it is."
            )
    return ours


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
