"""The random resized crop of a training image, and how its regions follow.

R regions of an image of W x H pixels. A crop is a rectangle of whole pixels, perhaps mirrored, squashed to S x S.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

ASPECTS = (3 / 4, 4 / 3)
_TRIES = 10


@dataclass(frozen=True)
class ResizedCrop:
    """A rectangle of an image in its pixels."""

    left: int
    top: int
    width: int
    height: int
    flip: bool

    def pixels(self, image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
        """(3, side, side): the crop, bicubic with antialiasing."""
        box = (self.left, self.top, self.left + self.width, self.top + self.height)
        pixels_SS3 = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
        if self.flip:
            pixels_SS3 = pixels_SS3[:, ::-1]
        return np.ascontiguousarray(pixels_SS3.transpose(2, 0, 1))

    def boxes(self, boxes_R4: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
        """Boxes (left, top, right, bottom) of the image in pixels of the squashed crop, clipped to it."""
        moved_R4 = (boxes_R4 - np.array([self.left, self.top] * 2)) * (
            side / np.array([self.width, self.height] * 2, dtype=np.float64)
        )
        if self.flip:
            moved_R4 = np.stack([side - moved_R4[:, 2], moved_R4[:, 1], side - moved_R4[:, 0], moved_R4[:, 3]], axis=1)
        clipped_R4: npt.NDArray[np.float64] = moved_R4.clip(0, side)
        return clipped_R4

    def mask(self, mask_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """The crop's part of a mask of the image, (height, width): not squashed, so nothing is rounded."""
        part = mask_HW[self.top : self.top + self.height, self.left : self.left + self.width]
        return part[:, ::-1] if self.flip else part


def random_crop(
    size_wh: tuple[int, int], scale: tuple[float, float], flip: bool, rng: np.random.Generator
) -> ResizedCrop:
    """A rectangle of `scale` of the image's area and an aspect of 3/4 to 4/3 (log-uniform), anywhere in it.

    Where ten draws do not fit, the largest central rectangle within those aspects, as everywhere in the field.
    A scale of (1, 1) is the whole image, whatever its aspect.
    """
    W, H = size_wh
    mirrored = flip and bool(rng.random() < 0.5)
    if scale == (1, 1):
        return ResizedCrop(0, 0, W, H, mirrored)
    for _ in range(_TRIES):
        area = W * H * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        width, height = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
        if width <= W and height <= H:
            left, top = int(rng.integers(W - width + 1)), int(rng.integers(H - height + 1))
            return ResizedCrop(left, top, width, height, mirrored)
    width, height = min(W, max(1, round(H * ASPECTS[1]))), min(H, max(1, round(W / ASPECTS[0])))
    return ResizedCrop((W - width) // 2, (H - height) // 2, width, height, mirrored)


def area(boxes_R4: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(R,) areas; 0 for a box whose edges are in the wrong order."""
    sides_R2 = (boxes_R4[:, 2:] - boxes_R4[:, :2]).clip(min=0)
    product_R: npt.NDArray[np.float64] = sides_R2[:, 0] * sides_R2[:, 1]
    return product_R
