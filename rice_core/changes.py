"""Changed views: named changes of a decoded image, as `blur:3`, so that any probe can be swept over them.

The picture is changed at its own size, before anything of the encoder's: every encoder then sees the same changed picture. Each
change is deterministic; noise is drawn from the image's name.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rice_core.errors import UserError, did_you_mean

if TYPE_CHECKING:  # a probe names its changes where it is listed: what makes them is imported when they are made
    from PIL import Image

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels of the image before it was changed."""


def _blur(image: Image.Image, amount: float, name: str) -> Image.Image:
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(amount))


def _enhanced(kind: str) -> Callable[[Image.Image, float, str], Image.Image]:
    def change(image: Image.Image, amount: float, name: str) -> Image.Image:
        from PIL import ImageEnhance

        enhanced: Image.Image = getattr(ImageEnhance, kind)(image).enhance(amount)
        return enhanced

    return change


def _noise(image: Image.Image, amount: float, name: str) -> Image.Image:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(zlib.crc32(name.encode(errors="surrogateescape")))
    pixels = np.asarray(image) + amount * rng.standard_normal((image.height, image.width, 3))
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image, amount: float, name: str) -> Image.Image:
    from PIL import Image

    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(amount))
    return Image.open(file).convert("RGB")


def _crop(image: Image.Image, amount: float, name: str) -> Image.Image:
    top, left, bottom, right = _centre(amount, (image.height, image.width))
    return image.crop((left, top, right, bottom))


def _centre(share: float, image_hw: tuple[int, int]) -> Box:
    h, w = (max(1, round(share * side)) for side in image_hw)
    top, left = (image_hw[0] - h) // 2, (image_hw[1] - w) // 2
    return top, left, top + h, left + w


_TABLE: dict[str, tuple[Callable[[Image.Image, float, str], Image.Image], float, float, str]] = {
    "blur": (_blur, 0.1, 100, "standard deviation in pixels"),
    "noise": (_noise, 0.1, 255, "standard deviation in grey levels of 255"),
    "jpeg": (_jpeg, 1, 95, "quality"),
    "brightness": (_enhanced("Brightness"), 0, 10, "factor; 1 changes nothing"),
    "contrast": (_enhanced("Contrast"), 0, 10, "factor; 1 changes nothing"),
    "saturation": (_enhanced("Color"), 0, 10, "factor; 0 is grey, 1 changes nothing"),
    "crop": (_crop, 0.01, 1, "share of each side that stays, of the centre"),
}


@dataclass(frozen=True)
class Change:
    """One change by a given amount."""

    name: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> Change:
        """Read `name:amount`.

        Raises:
            UserError: there is no such change, or the amount is out of its range.
        """
        name, _, amount = text.partition(":")
        if name not in _TABLE:
            near = did_you_mean(name, _TABLE)
            raise UserError(
                f"There is no change {text!r} of an image; {near}write one of {', '.join(_TABLE)} as in blur:3."
            )
        _, least, most, what = _TABLE[name]
        try:
            found = float(amount)
        except ValueError:
            found = float("nan")
        if not least <= found <= most:
            raise UserError(
                f"The change {text!r} cannot be made; write {name}:A with A from {least:g} to {most:g} ({what})."
            )
        return cls(name, found)

    def __str__(self) -> str:
        return f"{self.name}:{self.amount:g}"

    def __call__(self, image: Image.Image, name: str) -> Image.Image:
        """The RGB image, changed. `name` is the image's own."""
        return _TABLE[self.name][0](image, self.amount, name)

    def box(self, image_hw: tuple[int, int]) -> Box | None:
        """What is still to be seen of an image of that size; None where it is all of it."""
        return _centre(self.amount, image_hw) if self.name == "crop" else None
