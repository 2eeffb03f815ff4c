"""The categories and how one object is drawn: shapes x textures, and icons.

    easy    8 shapes x 3 textures and 24 icons: 48 categories
    hard    12 shapes x 4 textures and 48 icons: 96 categories

A stamp is an object alone: how opaque it is and how light its ink, P x P pixels each. Colour comes later and does not
depend on the category.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Floats = npt.NDArray[np.floating[Any]]
Distance = Callable[[Floats, Floats], Floats]
Level = Literal["easy", "hard"]

_MOST_TURN = 20.0
"""Degrees to either side: a square stays a square and no diamond."""

_ICONS = {
    "sun": "☀",
    "cloud": "☁",
    "umbrella": "☂",
    "telephone": "☎",
    "shamrock": "☘",
    "radiation": "☢",
    "yin-yang": "☯",
    "knight": "♞",
    "queen": "♛",
    "spade": "♠",
    "anchor": "⚓",
    "flag": "⚑",
    "airplane": "✈",
    "scissors": "✂",
    "envelope": "✉",
    "flower": "✿",
    "notes": "♫",
    "skull": "☠",
    "gear": "⚙",
    "house": "⌂",
    "lightning": "⚡",
    "hammers": "⚒",
    "rook": "♜",
    "recycling": "♻",
}

_MORE_ICONS = {
    "eject": "⏏",
    "hand": "☛",
    "wheel": "☸",
    "peace": "☮",
    "frown": "☹",
    "trident": "♆",
    "pawn": "♟",
    "bishop": "♝",
    "club": "♣",
    "diamond": "♦",
    "rosette": "❁",
    "wheelchair": "♿",
    "die": "⚅",
    "swords": "⚔",
    "scales": "⚖",
    "alembic": "⚗",
    "atom": "⚛",
    "lily": "⚜",
    "warning": "⚠",
    "reel": "✇",
    "pencil": "✎",
    "nib": "✒",
    "tick": "✔",
    "snowflake": "❄",
}


def draw_stamp(category: int, radius: float, rng: np.random.Generator, level: Level = "easy") -> tuple[Floats, Floats]:
    """(opacity, lightness of the ink) of category `category` of `categories(level)`.

    Both P x P in [0, 1] with P = 2 * ceil(radius) + 2.
    """
    return turned_stamp(category, radius, float(rng.uniform(-_MOST_TURN, _MOST_TURN)), level)


def turned_stamp(category: int, radius: float, turn: float, level: Level = "easy") -> tuple[Floats, Floats]:
    """`draw_stamp` for an object that is turned by `turn` degrees."""
    side = 2 * int(np.ceil(radius)) + 2
    kinds = _KINDS[level]
    if category >= len(kinds.shapes) * len(kinds.textures):
        icon = list(kinds.icons.values())[category - len(kinds.shapes) * len(kinds.textures)]
        opacity = _icon_stamp(icon, radius, turn, side)
        return opacity, np.zeros_like(opacity)
    shape, texture = divmod(category, len(kinds.textures))
    axis = (np.arange(side) - (side - 1) / 2) / radius
    sin, cos = np.sin(np.radians(turn)), np.cos(np.radians(turn))
    u, v = cos * axis[None, :] + sin * axis[:, None], cos * axis[:, None] - sin * axis[None, :]
    edge = list(kinds.shapes.values())[shape](u, v)
    opacity = np.clip(0.5 - edge * radius, 0, 1)
    return opacity, list(kinds.textures.values())[texture](u, v)


def categories(level: Level) -> tuple[str, ...]:
    """Names of a level's categories, by index."""
    kinds = _KINDS[level]
    return (
        *(f"{shape}-{texture}" for shape in kinds.shapes for texture in kinds.textures),
        *(f"icon-{icon}" for icon in kinds.icons),
    )


def font_file(name: str) -> Path:
    """A DejaVu font, as matplotlib ships it; found without importing matplotlib."""
    spec = find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("matplotlib, whose fonts the miniature world is drawn with")
    return Path(spec.submodule_search_locations[0], "mpl-data", "fonts", "ttf", f"{name}.ttf")


def _icon_stamp(icon: str, radius: float, turn: float, side: int) -> Floats:
    fitted = round(2 * radius)
    small = _icon(icon).rotate(turn, Image.Resampling.BICUBIC).resize((fitted, fitted), Image.Resampling.BOX)
    stamp = np.zeros((side, side))
    start = (side - fitted) // 2
    stamp[start : start + fitted, start : start + fitted] = np.asarray(small) / 255
    return stamp


@lru_cache(maxsize=128)
def _icon(icon: str, side: int = 72) -> Image.Image:
    """The glyph's ink as large as a square allows once it is turned a little."""
    font = ImageFont.truetype(str(font_file("DejaVuSans")), 120)
    left, top, right, bottom = font.getbbox(icon)
    square = max(right - left, bottom - top) * 1.12
    ink = Image.new("L", (round(square), round(square)))
    ImageDraw.Draw(ink).text(
        ((square - right + left) / 2 - left, (square - bottom + top) / 2 - top), icon, font=font, fill=255
    )
    return ink.resize((side, side), Image.Resampling.BOX)


def _disk(u: Floats, v: Floats) -> Floats:
    return cast(Floats, np.hypot(u, v) - 0.92)


def _square(u: Floats, v: Floats) -> Floats:
    return cast(Floats, np.maximum(np.abs(u), np.abs(v)) - 0.8)


def _triangle(u: Floats, v: Floats) -> Floats:
    return cast(Floats, np.maximum(v - 0.68, 0.87 * np.abs(u) - 0.49 * (v + 1.0)))


def _star(u: Floats, v: Floats) -> Floats:
    # All ten half-edges of the star fold onto one, from the tip (1, 0) to the notch at 36 degrees.
    wedge = np.abs((np.arctan2(u, -v) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    along, across = np.hypot(u, v) * np.cos(wedge), np.hypot(u, v) * np.sin(wedge)
    notch = 0.42 * np.exp(1j * np.pi / 5) - 1.0
    normal = np.array([notch.imag, -notch.real]) / np.abs(notch)
    return cast(Floats, (along - 1.0) * normal[0] + across * normal[1])


def _ring(u: Floats, v: Floats) -> Floats:
    return cast(Floats, np.abs(np.hypot(u, v) - 0.66) - 0.27)


def _cross(u: Floats, v: Floats) -> Floats:
    a, b = np.abs(u), np.abs(v)
    return cast(Floats, np.minimum(np.maximum(a - 0.93, b - 0.32), np.maximum(a - 0.32, b - 0.93)))


def _crescent(u: Floats, v: Floats) -> Floats:
    return cast(Floats, np.maximum(np.hypot(u, v) - 0.95, 0.72 - np.hypot(u - 0.42, v)))


def _heart(u: Floats, v: Floats) -> Floats:
    lobes = np.hypot(np.abs(u) - 0.4, v + 0.28) - 0.5
    tip = (np.abs(u) + np.abs(v - 0.12)) * 0.7071 - 0.555
    return cast(Floats, np.minimum(lobes, tip))


def _half(u: Floats, v: Floats) -> Floats:
    """The upper half of a disk."""
    return cast(Floats, np.maximum(np.hypot(u, v - 0.4) - 0.95, v - 0.4))


def _oval(u: Floats, v: Floats) -> Floats:
    # Not the exact distance; right at the edge and of the right slope near it.
    reach = np.hypot(u / 0.95, v / 0.55)
    return cast(Floats, (reach - 1.0) * 0.7)


def _chevron(u: Floats, v: Floats) -> Floats:
    band = np.abs(v - 0.75 * np.abs(u) + 0.25) * 0.8 - 0.26
    return cast(Floats, np.maximum(band, np.abs(u) - 0.76))


def _clover(u: Floats, v: Floats) -> Floats:
    """Four leaves."""
    return cast(Floats, np.hypot(np.abs(u) - 0.42, np.abs(v) - 0.42) - 0.42)


def _solid(u: Floats, v: Floats) -> Floats:
    return np.zeros_like(u)


def _stripes(u: Floats, v: Floats) -> Floats:
    """Four light bands across the object."""
    return np.where(np.sin(v * 14.0) > 0, 1.0, 0.0)


def _dots(u: Floats, v: Floats) -> Floats:
    """Light dots on a square lattice."""
    return np.where(np.cos(u * 12.0) + np.cos(v * 12.0) > 0.7, 1.0, 0.0)


def _checks(u: Floats, v: Floats) -> Floats:
    """Light squares of a chess board."""
    return np.where(np.sin(u * 8.0) * np.sin(v * 8.0) > 0, 1.0, 0.0)


@dataclass(frozen=True)
class _Kinds:
    """What a level draws from."""

    shapes: dict[str, Distance]
    """Distance to the edge in units of the radius, negative inside; u to the right, v down."""
    textures: dict[str, Distance]
    """1 where the ink is light."""
    icons: dict[str, str]


_SHAPES: dict[str, Distance] = {
    "disk": _disk,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "crescent": _crescent,
    "heart": _heart,
}
_MORE_SHAPES: dict[str, Distance] = {"half": _half, "oval": _oval, "chevron": _chevron, "clover": _clover}
_TEXTURES: dict[str, Distance] = {"solid": _solid, "stripes": _stripes, "dots": _dots}

_KINDS: dict[Level, _Kinds] = {
    "easy": _Kinds(_SHAPES, _TEXTURES, _ICONS),
    "hard": _Kinds(_SHAPES | _MORE_SHAPES, _TEXTURES | {"checks": _checks}, _ICONS | _MORE_ICONS),
}

SHAPES, TEXTURES = tuple(_SHAPES), tuple(_TEXTURES)
"""Of the easy level, whose first categories are each shape in each texture, in this order."""

CATEGORIES = categories("easy")
"""The 48 of the easy level."""
