"""One scene of the miniature world from (seed, index): the same pixels in every process, in any order.

3 to 5 objects and one or two words on a textured background. What an object is shows in its shape and texture alone; its
colour is drawn apart from its category. Shapes: H x W pixels, P x P an object's stamp.

    easy    dark ink on a light background
    hard    ink darker or lighter than a background of middle brightness and any hue; twice the categories
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from rice_core.world.shapes import Floats, Level, categories, draw_stamp, font_file
from rice_core.world.words import Word, draw_word

WORLD_VERSION = 1
"""Rises when the same (seed, index) comes to look different."""

FEWEST_PIXELS = 24
"""An object of which less is seen is drawn, and left out of the truth."""

LEGIBLE = 0.6
"""A word of which a smaller share of the ink is seen is drawn, and left out of the truth."""

Place = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

_TRIES = 24
_INKED = 0.25
"""Opacity from which a pixel counts as a word's ink; strokes are thin and blurred."""
_FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono")


@dataclass(frozen=True)
class Difficulty:
    """How hard a scene is to read. `at(0)` is the easy level; everything gets worse towards `at(1)`."""

    fade: float
    """Share of the contrast between an object and its background that is lost."""
    clutter: int
    """Strokes drawn behind and between the objects."""
    overlap: float
    """Share of an object's square that may lie on another's."""
    noise: float
    """Standard deviation of the pixel noise, of 255."""

    @classmethod
    def at(cls, level: float) -> Difficulty:
        if not 0 <= level <= 1:
            raise ValueError(f"a difficulty lies between 0 and 1, not at {level}")
        return cls(fade=0.85 * level, clutter=round(14 * level), overlap=0.02 + 0.58 * level, noise=2 + 38 * level)


@dataclass(frozen=True)
class SceneObject:
    """One object as it is seen."""

    category: int
    """Index into `categories(level)`."""
    box_xywh: tuple[int, int, int, int]
    """Around the visible pixels."""
    mask_HW: npt.NDArray[np.bool_]
    """Its visible pixels: at least half covered by it, and by nothing drawn later."""


@dataclass(frozen=True)
class Scene:
    """The picture and its truth."""

    pixels_HW3: npt.NDArray[np.uint8]
    things: tuple[SceneObject, ...]
    words: tuple[Word, ...]
    """Those that can be read, in the order of writing."""


@dataclass(frozen=True)
class Written:
    """A word on the canvas, before objects are put in front of it."""

    text: str
    ink_HW: npt.NDArray[np.bool_]
    edges: tuple[float, ...]


def draw_scene(
    seed: int, index: int, *, size: int = 96, difficulty: Difficulty | None = None, level: Level = "easy"
) -> Scene:
    """Draw scene `index` of the world `seed`; `size` is its side in pixels, at least 48."""
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    hard = difficulty or Difficulty.at(0)
    canvas_HW3 = _background(rng, size, level)
    for _ in range(hard.clutter):
        canvas_HW3 = _stroke(rng, canvas_HW3, hard.fade, level)
    places: list[Place] = []
    for _ in range(rng.integers(3, 6)):
        places.append(_place_thing(rng, places, size, hard.overlap))
    things = list(places)
    texts = [draw_word(rng) for _ in range(rng.integers(1, 3))]
    written: list[Written] = []
    for text in texts:
        canvas_HW3, word = _write(rng, canvas_HW3, text, places, hard, level)
        written.append(word)
    owner_HW = np.full((size, size), -1)
    kinds = [int(category) for category in rng.integers(len(categories(level)), size=len(things))]
    for number, (category, place) in enumerate(zip(kinds, things, strict=True)):
        _paste(rng, canvas_HW3, owner_HW, number, category, place, hard.fade, level)
    noise_HW3 = rng.standard_normal(canvas_HW3.shape, dtype=np.float32) * hard.noise
    pixels_HW3 = np.clip(np.rint(canvas_HW3 + noise_HW3), 0, 255).astype(np.uint8)
    return Scene(pixels_HW3, _seen(owner_HW, kinds), _read(written, owner_HW >= 0))


def _background(rng: np.random.Generator, size: int, level: Level) -> Floats:
    """A colour, uneven at two scales."""
    colour = _colour(rng, (0.0, 0.25), (0.82, 0.97)) if level == "easy" else _colour(rng, (0.1, 0.7), (0.5, 0.7))
    canvas_HW3 = np.tile(colour, (size, size, 1))
    for cells, depth in ((4, 9.0), (16, 6.0)):
        coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
        canvas_HW3 += depth * np.asarray(coarse.resize((size, size), Image.Resampling.BILINEAR))[:, :, None]
    return canvas_HW3


def _stroke(rng: np.random.Generator, canvas_HW3: Floats, fade: float, level: Level) -> Floats:
    size = len(canvas_HW3)
    ink = Image.new("L", (size, size))
    ends = [tuple(map(float, point)) for point in rng.uniform(0, size, (3, 2))]
    ImageDraw.Draw(ink).line(ends, fill=255, width=max(1, size // 48), joint="curve")
    return _blend(canvas_HW3, np.asarray(ink) / 255, _ink_colour(rng, level)[0], fade)


def _write(
    rng: np.random.Generator, canvas_HW3: Floats, text: str, places: list[Place], hard: Difficulty, level: Level
) -> tuple[Floats, Written]:
    """Write a word where it hides least behind what is at `places`, and add its own place to them."""
    size = len(canvas_HW3)
    font = font_of(_FONTS[rng.integers(len(_FONTS))], round(float(rng.uniform(9, 12)) * size / 96))
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    w, h = right - left, bottom - top
    spots = rng.integers(0, (max(1, size - w), max(1, size - h)), size=(_TRIES, 2))
    place = _freest([(x, y, x + w, y + h) for x, y in spots.tolist()], places, hard.overlap)
    places.append(place)
    ink = Image.new("L", (size, size))
    origin = place[0] - left
    ImageDraw.Draw(ink).text((origin, place[1] - top), text, font=font, fill=255)
    opacity_HW = np.asarray(ink) / 255
    edges = tuple(origin + float(font.getlength(text[:end])) for end in range(0, len(text) + 1, 2))
    canvas_HW3 = _blend(canvas_HW3, opacity_HW, _ink_colour(rng, level)[0], hard.fade)
    return canvas_HW3, Written(text, opacity_HW >= _INKED, edges)


def _place_thing(rng: np.random.Generator, places: list[Place], size: int, most: float) -> Place:
    """A square inside the image."""
    radii = rng.uniform(11, 16, _TRIES) * size / 96
    # One pixel of air, for the blurred edge.
    corners = 1 + rng.random((_TRIES, 2)) * (size - 2 - 2 * radii[:, None])
    tries = zip(corners.tolist(), (2 * radii).tolist(), strict=True)
    return _freest([(x, y, x + side, y + side) for (x, y), side in tries], places, most)


def _freest(tries: list[Place], places: list[Place], most: float) -> Place:
    """The first try of which at most the share `most` lies on another place, else the best one."""
    best, least = tries[0], float("inf")
    for spot in tries:
        share = max((_shared(spot, other) for other in places), default=0.0)
        if share < least:
            best, least = spot, share
        if share <= most:
            break
    return best


def _shared(a: Place, b: Place) -> float:
    """Common area over the smaller one's."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(0.0, across) * max(0.0, down) / smaller


def _paste(
    rng: np.random.Generator,
    canvas_HW3: Floats,
    owner_HW: npt.NDArray[np.int64],
    number: int,
    category: int,
    place: Place,
    fade: float,
    level: Level,
) -> None:
    radius = (place[2] - place[0]) / 2
    opacity_PP, light_PP = draw_stamp(category, radius, rng, level)
    ink, opposite = _ink_colour(rng, level)
    side = len(opacity_PP)
    top, left = (
        min(max(0, round(centre - side / 2)), len(canvas_HW3) - side)
        for centre in (place[1] + radius, place[0] + radius)
    )
    window = np.s_[top : top + side, left : left + side]
    colour_PP3 = ink + 0.72 * light_PP[:, :, None] * (opposite - ink)
    canvas_HW3[window] = _blend(canvas_HW3[window], opacity_PP, colour_PP3, fade)
    owner_HW[window][opacity_PP >= 0.5] = number


def _seen(owner_HW: npt.NDArray[np.int64], categories: list[int]) -> tuple[SceneObject, ...]:
    things: list[SceneObject] = []
    for number, category in enumerate(categories):
        mask_HW = owner_HW == number
        if np.count_nonzero(mask_HW) < FEWEST_PIXELS:
            continue
        things.append(SceneObject(category, _box(mask_HW), mask_HW))
    return tuple(things)


def _read(written: list[Written], hidden_HW: npt.NDArray[np.bool_]) -> tuple[Word, ...]:
    """The words that can be read: not too much of the ink lies behind an object or a later word."""
    words: list[Word] = []
    for word in reversed(written):
        if np.count_nonzero(word.ink_HW & ~hidden_HW) >= LEGIBLE * np.count_nonzero(word.ink_HW) > 0:
            words.append(Word(word.text, _box(word.ink_HW), word.edges))
        hidden_HW = hidden_HW | word.ink_HW
    return tuple(reversed(words))


def _box(mask_HW: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x, y, width, height around what is true."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def _blend(canvas: Floats, opacity: Floats, colour: Floats, fade: float) -> Floats:
    return canvas + ((1 - fade) * opacity)[:, :, None] * (colour - canvas)


def _ink_colour(rng: np.random.Generator, level: Level) -> tuple[Floats, float]:
    """An ink, and the gray towards which its light parts go."""
    if level == "hard" and rng.random() < 0.5:
        return _colour(rng, (0.0, 0.5), (0.9, 1.0)), 0.0
    return _colour(rng, (0.4, 1.0), (0.2, 0.5) if level == "easy" else (0.05, 0.25)), 255.0


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Floats:
    """RGB of 255 with any hue."""
    hue, s, v = rng.random(), rng.uniform(*saturation), rng.uniform(*value)
    k = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    return cast(Floats, 255 * v * (1 - s * np.clip(np.minimum(k, 4 - k), 0, 1)))


@lru_cache(maxsize=64)
def font_of(name: str, height: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file(name)), height)
