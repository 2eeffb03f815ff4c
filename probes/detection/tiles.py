"""One image with what is true of it, or was found in it: masks, boxes and names. What holds has solid lines, what does not dashed ones."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from probes.detection.truth import TruthImage
from rice_core.datasets.geometry import region_mask
from rice_core.datasets.nouns import Region
from rice_core.images import ImageError, load_image
from rice_core.outlines import HALO, Box, framed

Look = Literal["holds", "fails", "crowd"]
LINES: dict[Look, tuple[int, int]] = {"holds": (1, 0), "fails": (6, 4), "crowd": (2, 4)}
"""Pixels of a dash and of the gap behind it."""
FONT = ImageFont.load_default(12)
_EMPTY = (235, 235, 235)
_FILLED = 0.4


@dataclass(frozen=True)
class Drawn:
    """One object, in pixels of the image."""

    box: Box
    """Left, top, right, bottom."""
    label: int
    words: str
    look: Look
    segmentation: Any = None


def tile(image: TruthImage, things: Sequence[Drawn], side: int) -> Image.Image:
    """The image, its longer side `side`, with the things in it; an empty square where it cannot be read."""
    try:
        picture = load_image(image.sample.path)
    except ImageError:
        return Image.new("RGB", (side, side), _EMPTY)
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    pixels_HW3 = np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).astype(np.float64)
    for each in things:
        if each.segmentation is not None:
            mask_HW = _mask(each, (picture.height, picture.width), size)
            pixels_HW3[mask_HW] = (1 - _FILLED) * pixels_HW3[mask_HW] + _FILLED * np.array(colour(each.label))
    drawn = Image.fromarray(pixels_HW3.round().astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    for each in things:
        box = tuple(value * scale for value in each.box)
        outline(pen, (box[0], box[1], box[2] - 1, box[3] - 1), colour(each.label), each.look)
    taken: list[Box] = []
    for each in things:
        _write(pen, each, tuple(value * scale for value in each.box), size, taken)
    return drawn


def colour(label: int) -> tuple[int, int, int]:
    """Of a category: hues that lie far apart for neighbours."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.9, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def outline(pen: ImageDraw.ImageDraw, box: Box, ink: tuple[int, int, int], look: Look) -> None:
    """A frame on a pale one, in the lines of its look."""
    framed(pen, box, ink, LINES[look])


def _mask(each: Drawn, image_hw: tuple[int, int], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """At the size (width, height) of the tile."""
    x0, y0, x1, y1 = each.box
    mask_HW = region_mask(Region((x0, y0, x1 - x0, y1 - y0), each.label, each.segmentation), image_hw)
    assert mask_HW is not None
    return np.asarray(Image.fromarray(mask_HW).resize(size, Image.Resampling.NEAREST))


def _write(
    pen: ImageDraw.ImageDraw, each: Drawn, box: Iterable[float], size: tuple[int, int], taken: list[Box]
) -> None:
    """The words inside the picture: above the box, in it, below it or at its foot, where no other words are if there is such a place."""
    x0, y0, _, y1 = box
    words = each.words
    while len(words) > 1 and pen.textlength(words, FONT) + 4 > size[0]:
        words = words[:-2] + "…"
    width, height = pen.textlength(words, FONT) + 4, 14.0
    left = max(0.0, min(x0, size[0] - width))
    tops = [max(0.0, min(top, size[1] - height)) for top in (y0 - height - 2, y0 + 2, y1 + 2, y1 - height - 2)]
    top = next(
        (top for top in tops if not any(_touch((left, top, left + width, top + height), other) for other in taken)),
        tops[0],
    )
    taken.append((left, top, left + width, top + height))
    pen.rectangle(taken[-1], fill=HALO)
    pen.text((left + 2, top), words, fill=colour(each.label), font=FONT)


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
