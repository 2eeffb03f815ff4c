"""Pictures that a small language model can learn to speak of: one to three shapes and a word, each in a quarter of its own.

No shape and no colour is there twice, so that "the star" and "the red one" are one thing. The ground is grey, the shapes are solid, and the
word is one of eight. On the grounds of `scenes`, of any hue, a colour is told from the mean of a shape's quarter in 7 of 10 pictures; here in
all, and a model of a million weights sees it within minutes. Shapes: H x W pixels, P x P a shape's stamp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from rice_core.world.scenes import font_of
from rice_core.world.shapes import SHAPES, TEXTURES, Floats, draw_stamp

PLAIN_VERSION = 1
"""Rises when the same (seed, index) comes to look different."""

COLOURS = {
    "red": (205, 30, 35),
    "green": (20, 140, 50),
    "blue": (30, 65, 205),
    "yellow": (240, 200, 20),
    "purple": (130, 40, 165),
    "black": (25, 25, 25),
}
"""RGB; each shape's varies a little."""
PLACES = ("top left", "top right", "bottom left", "bottom right")
"""The quarters, by rows."""
PLAIN_WORDS = ("boko", "dofi", "fila", "gano", "kibo", "lada", "magi", "nimi")
"""Each is three letters from every other: a wrong one is no nearly right one."""
MOST = 3
"""Shapes of a picture: the fourth quarter is the word's."""

_FEWER = (0.5, 0.8)
"""Share of the pictures that have one shape, and at most two. Of one alone its colour and place are told before it is known how to look
for a shape by its name."""
_SALT = 0xA5
"""No generator of a plain picture is one of a scene, whatever their seeds."""
_FONTS = ("DejaVuSans-Bold", "DejaVuSansMono-Bold")


@dataclass(frozen=True)
class PlainThing:
    """A shape of a picture."""

    shape: str
    colour: str
    quarter: int
    """Index into PLACES."""

    @property
    def place(self) -> str:
        return PLACES[self.quarter]


@dataclass(frozen=True)
class PlainScene:
    """The picture and its truth."""

    pixels_HW3: npt.NDArray[np.uint8]
    things: tuple[PlainThing, ...]
    """By quarters."""
    word: str
    word_quarter: int

    @property
    def caption(self) -> str:
        """As in "a red star at the top left, a blue ring at the top right, the word boko at the bottom left"."""
        things = [f"a {thing.colour} {thing.shape} at the {thing.place}" for thing in self.things]
        return ", ".join([*things, f"the word {self.word} at the {PLACES[self.word_quarter]}"])


@dataclass(frozen=True)
class PlainMasks:
    """Where everything is in a plain picture."""

    things: tuple[npt.NDArray[np.bool_], ...]
    """[H, W], as its things are ordered: at least half covered by the shape."""
    word_box: tuple[int, int, int, int]
    """Left, top, right and bottom of the word's ink."""


def draw_plain(seed: int, index: int, *, size: int = 96) -> PlainScene:
    """Draw plain picture `index` of the world `seed`; `size` is its side in pixels, at least 48."""
    return draw_plain_masks(seed, index, size=size)[0]


def draw_plain_masks(seed: int, index: int, *, size: int = 96) -> tuple[PlainScene, PlainMasks]:
    """The same, and where everything is in it."""
    rng = np.random.Generator(np.random.PCG64([seed, index, _SALT]))
    count = 1 + int(np.searchsorted(_FEWER, rng.random(), side="right"))
    quarters = [int(k) for k in rng.permutation(len(PLACES))]
    shapes, colours = (rng.permutation(list(kinds)).tolist() for kinds in (SHAPES, COLOURS))
    things = [PlainThing(*each) for each in zip(shapes, colours, quarters[:count], strict=False)]
    word = str(rng.choice(PLAIN_WORDS))
    canvas_HW3 = np.full((size, size, 3), rng.uniform(225, 250))
    masks = {thing.quarter: _paste(rng, canvas_HW3, thing) for thing in things}
    canvas_HW3, word_box = _write(rng, canvas_HW3, word, quarters[count])
    noise_HW3 = rng.standard_normal(canvas_HW3.shape, dtype=np.float32) * 2
    pixels_HW3 = np.clip(np.rint(canvas_HW3 + noise_HW3), 0, 255).astype(np.uint8)
    ordered = tuple(sorted(things, key=lambda thing: thing.quarter))
    scene = PlainScene(pixels_HW3, ordered, word, quarters[count])
    return scene, PlainMasks(tuple(masks[thing.quarter] for thing in ordered), word_box)


def _paste(rng: np.random.Generator, canvas_HW3: Floats, thing: PlainThing) -> npt.NDArray[np.bool_]:
    """The pixels that it covers."""
    half = len(canvas_HW3) // 2
    radius = float(rng.uniform(0.7, 0.96)) * (half // 2 - 1)  # so that its stamp fits into a quarter
    opacity_PP, _ = draw_stamp(SHAPES.index(thing.shape) * len(TEXTURES), radius, rng)
    side = len(opacity_PP)
    left, top = _corner(rng, thing.quarter, half, side, side)
    ink_3 = np.clip(np.array(COLOURS[thing.colour]) + rng.normal(0, 10, 3), 0, 255)
    window_PP3 = canvas_HW3[top : top + side, left : left + side]
    window_PP3 += opacity_PP[:, :, None] * (ink_3 - window_PP3)
    mask_HW = np.zeros(canvas_HW3.shape[:2], bool)
    mask_HW[top : top + side, left : left + side] = opacity_PP >= 0.5
    return mask_HW


def _write(
    rng: np.random.Generator, canvas_HW3: Floats, word: str, quarter: int
) -> tuple[Floats, tuple[int, int, int, int]]:
    """The canvas with the word, and the box of its ink."""
    size = len(canvas_HW3)
    font = font_of(_FONTS[rng.integers(len(_FONTS))], round(float(rng.uniform(13, 15)) * size / 96))
    left, top, right, bottom = (int(edge) for edge in font.getbbox(word))
    x, y = _corner(rng, quarter, size // 2, right - left, bottom - top)
    ink = Image.new("L", (size, size))
    ImageDraw.Draw(ink).text((x - left, y - top), word, font=font, fill=255)
    shade_3 = rng.uniform(0, 60, 3)
    box = ink.getbbox()
    assert box is not None  # no word is empty
    return canvas_HW3 + np.asarray(ink)[:, :, None] / 255 * (shade_3 - canvas_HW3), box


def _corner(rng: np.random.Generator, quarter: int, half: int, width: int, height: int) -> tuple[int, int]:
    """Left and top of a box anywhere inside a quarter."""
    row, column = divmod(quarter, 2)
    x, y = (int(rng.integers(max(1, half - side + 1))) for side in (width, height))
    return column * half + x, row * half + y
