"""One way to read an image file: RGB, upright, whole, or an `ImageError` that says why not.

What is decided here, so that no two parts of the project see different pixels of one file:

    transparent     laid on white, as a page would show it; the colour stored under transparency is arbitrary, often black
    16-bit          scaled to 8 bits by 257; Pillow's own conversion would clip nearly every pixel to white
    rotated         turned as its EXIF orientation says; a broken EXIF block counts as none
    animated        the first frame
    CMYK, palette   Pillow's conversion; colour profiles are not applied, as in the training pipelines of the encoders
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
"""Lower-case endings of the files that a folder is searched for."""

MAX_PIXELS = 89_478_485
"""Pillow's own warning threshold: a quarter of a gigabyte as RGB."""

# Only these decoders run. Pillow would hand an EPS file, whatever it is called, to Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = {_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}


class ImageError(Exception):
    """This file gives no image. The message is the reason alone, without the file's name."""


def is_image_name(name: str) -> bool:
    """Whether the name ends like an image that is read here."""
    stem, _, ending = name.rpartition(".")  # Data sets have millions of names, and a Path takes ten times as long.
    return bool(stem) and f".{ending.lower()}" in IMAGE_SUFFIXES


def load_image(path: Path, *, most_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a file to an RGB image of 8 bits a channel, upright, without touching Pillow's global settings.

    Args:
        most_pixels: a larger image is refused from its header alone, before anything is decoded.

    Raises:
        ImageError: empty, not an image, damaged or truncated, too large, or of unknown value range; the reason.
    """
    try:
        if path.stat().st_size == 0:
            raise ImageError("is empty (0 bytes)")
        with path.open("rb") as file:
            return decode_image(file, most_pixels=most_pixels)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or type(error).__name__}") from error


def decode_image(file: BinaryIO, *, most_pixels: int = MAX_PIXELS) -> Image.Image:
    """`load_image` of an open file or of bytes in memory.

    Raises:
        ImageError: as `load_image`.
    """
    return rgb_image(_open(file, most_pixels))


def upright_size(path: Path, *, most_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width that `load_image` gives, from the file's header alone: what lies behind it may be damaged.

    Raises:
        ImageError: as `load_image`, as far as the header says so.
    """
    try:
        with path.open("rb") as file:
            image = _open(file, most_pixels)
            sides = image.height, image.width
            return sides[::-1] if _turn(image) in _ON_THEIR_SIDE else sides
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or type(error).__name__}") from error


def rgb_image(image: Image.Image) -> Image.Image:
    """An image that Pillow has opened or made, as `load_image` would give it: RGB of 8 bits a channel, upright.

    Raises:
        ImageError: damaged or truncated, or of unknown value range; the reason.
    """
    _decode(image)
    return _upright(rgb_pixels(image), image)


def load_values(path: Path) -> npt.NDArray[np.int64]:
    """The whole numbers that a file of one channel holds, H x W, as they lie: of a palette its indices, not its colours.

    Raises:
        ImageError: as `load_image`, or several channels, or no whole numbers.
    """
    try:
        with path.open("rb") as file:
            image = _open(file, MAX_PIXELS)
            _decode(image)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or type(error).__name__}") from error
    values = np.asarray(image)
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise ImageError(f"holds no whole number a pixel (its mode is {image.mode})")
    return values.astype(np.int64)


def _open(file: BinaryIO, most_pixels: int) -> Image.Image:
    try:
        image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError("is no image in a known format, or its header is damaged") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("has more pixels than Pillow's limit") from error
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise ImageError(f"has a damaged header: {_said(error)}") from error
    width, height = image.size
    if width * height > most_pixels:
        raise ImageError(f"has {width} x {height} pixels, more than the limit of {most_pixels}")
    return image


def _decode(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise ImageError(f"is truncated or damaged: {_said(error)}") from error


def rgb_pixels(image: Image.Image) -> Image.Image:
    """Its pixels as RGB of 8 bits a channel, as they lie: not turned.

    Raises:
        ImageError: of unknown value range; the reason.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Pillow opens a 16-bit PNM as 32-bit integers and scales it to 65535.
        pixels = np.asarray(image).astype(np.int64)
        return Image.fromarray(((pixels + 128) // 257).clip(0, 255).astype(np.uint8), "L").convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError("has 32-bit pixels, and the file does not say which value is white")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _upright(rgb: Image.Image, source: Image.Image) -> Image.Image:
    turn = _turn(source)
    if turn is None:
        return rgb
    upright = rgb.transpose(turn)
    upright.info.clear()  # it would keep the orientation, and be turned again by whoever reads it next
    return upright


def _turn(source: Image.Image) -> Image.Transpose | None:
    try:
        return _UPRIGHT.get(source.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to lose the picture
        return None


def _said(error: Exception) -> str:
    """The decoder's words without a path, in one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
