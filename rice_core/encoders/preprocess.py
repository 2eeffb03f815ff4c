"""Resize, crop, mean and std: one small recipe that every adapter fills from its model's own configuration.

Shapes: B images, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from PIL import Image

from rice_core.spec import Frozen

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
Interpolation = Literal["nearest", "lanczos", "bilinear", "bicubic"]
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


class Preprocess(Frozen):
    """How a model wants its images. The size itself comes from the spec, so that the recipe holds at any resolution."""

    resolution: tuple[int, int]
    """The model's own height and width."""
    geometry: Literal["crop", "squash"] = "crop"
    """crop: cover the target, aspect ratio kept. squash: both sides to the target. Then the centre is cut out."""
    zoom: float = 1.0
    """Size before the cut over size after it (DINOv2: 256 / 224)."""
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def pixels(self, images: Sequence[Image.Image], height: int, width: int) -> torch.Tensor:
        """Images of any size -> (B, 3, height, width) in [0, 1], not yet normalised."""
        shaped = [
            self._shape(image if image.mode == "RGB" else image.convert("RGB"), height, width) for image in images
        ]
        pixels_BHW3 = torch.from_numpy(np.stack([np.asarray(image) for image in shaped]))
        return pixels_BHW3.permute(0, 3, 1, 2).float() / 255

    def normalize(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        """[0, 1] -> model space, on the device of the pixels."""
        mean, std = (pixels_B3HW.new_tensor(value)[:, None, None] for value in (self.mean, self.std))
        return (pixels_B3HW - mean) / std

    def _shape(self, image: Image.Image, height: int, width: int) -> Image.Image:
        tall, wide = round(height * self.zoom), round(width * self.zoom)
        if self.geometry == "crop":
            # The side that needs the larger scale fits exactly; the other is rounded down as torchvision's Resize does.
            if tall * image.width >= wide * image.height:
                wide = max(wide, int(tall * image.width / image.height))
            else:
                tall = max(tall, int(wide * image.height / image.width))
        left, top = round((wide - width) / 2), round((tall - height) / 2)
        image = image.resize((wide, tall), _FILTERS[self.interpolation])
        return image if (wide, tall) == (width, height) else image.crop((left, top, left + width, top + height))


def interpolation_name(value: Any) -> Interpolation:
    """A PIL filter number, a torchvision mode or a name -> our name.

    Raises:
        ValueError: the filter is none of the four.
    """
    if isinstance(value, int):
        value = Image.Resampling(value).name
    name = str(getattr(value, "value", value)).lower()
    if name not in _FILTERS:
        raise ValueError(f"unknown interpolation {name!r}")
    return cast(Interpolation, name)
