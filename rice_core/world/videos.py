"""One clip of the miniature world from (seed, index): a target among things that look nearly like it, and where it is.

The target is a shape in a texture and a hue. Two or three others share two of the three with it and differ in the third. A
band passes before it in most clips, it leaves the view in some; the camera moves over a textured background, the light and
the target's size change. Shapes: T frames of H x W pixels.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from rice_core.world.clip_truth import ClipTruth, Placed, clip_truth
from rice_core.world.motion import Walk, goals_for, pan, walk
from rice_core.world.shapes import SHAPES, TEXTURES, Floats, turned_stamp

Canvas = npt.NDArray[np.float32]

VIDEO_VERSION = 1
"""Rises when the same (seed, index) comes to look different."""

LEAVES, BAND = 0.3, 0.75
"""Shares of clips in which the target leaves the view, and in which a band passes before it."""

HUES = {"red": 0.0, "yellow": 0.14, "green": 0.33, "cyan": 0.5, "blue": 0.63, "magenta": 0.84}

_SALT = 15
"""No generator of a clip is one of a scene, whatever their seeds."""
_TARGET, _BAND = 1, 127
_ROOM = 44
"""Pixels of background beyond each edge, at a height of 144: more than the camera moves."""


@dataclass(frozen=True)
class Look:
    """What a thing looks like. Its shade and turn vary beside."""

    shape: str
    texture: str
    hue: str

    @property
    def category(self) -> int:
        """Of the easy level's scenes."""
        return SHAPES.index(self.shape) * len(TEXTURES) + TEXTURES.index(self.texture)

    @property
    def sentence(self) -> str:
        """As a data set with language names its target."""
        return f"the {self.hue} {self.shape}" + ("" if self.texture == "solid" else f" with {self.texture}")


@dataclass(frozen=True)
class WorldClip:
    """Frames and their truth."""

    frames_THW3: npt.NDArray[np.uint8]
    owner_THW: npt.NDArray[np.int8]
    """What is seen at a pixel: 0 background, 1 the target, 2.. the others, 127 the band."""
    target: Look
    others: tuple[Look, ...]
    truth: ClipTruth


def draw_clip(seed: int, index: int, *, size: int = 144) -> WorldClip:
    """Draw clip `index` of the world `seed`: 24 to 40 frames of `size` pixels' height and 4/3 of its width.

    In the first frame the target is whole and nothing is before it.
    """
    rng, frames, target = _begin(seed, index)
    height, width, scale = size, size * 4 // 3, size / 144
    others = _others(rng, target)
    pan_T2 = pan(rng, frames, scale)
    walks = _walks(rng, pan_T2, len(others), np.array([width, height]), scale)
    band = _Band.before(rng, walks[0], width, scale)
    canvas = _background(rng, height, width, scale)
    inks = [_ink(rng, look) for look in (target, *others)]
    depth = [int(k) for k in rng.permutation(len(walks))]
    light_T = _light(rng, frames)
    pictures, owners, placed = [], [], []
    for t in range(frames):
        left, top = (np.round(_ROOM * scale + pan_T2[t])).astype(int)
        view_HW3 = canvas[top : top + height, left : left + width].copy()
        owner_HW = np.zeros((height, width), dtype=np.int8)
        for k in depth:
            at = _paste(view_HW3, owner_HW, _TARGET + k, (target, *others)[k], inks[k], walks[k], t)
            if k == 0:
                placed.append(at)
        band.paste(view_HW3, owner_HW, t)
        view_HW3 = view_HW3 * light_T[t] + rng.standard_normal(view_HW3.shape, dtype=np.float32) * np.float32(3)
        pictures.append(np.clip(np.rint(view_HW3), 0, 255).astype(np.uint8))
        owners.append(owner_HW)
    owner_THW = np.stack(owners)
    truth = clip_truth(owner_THW == _TARGET, placed)
    return WorldClip(np.stack(pictures), owner_THW, target, others, truth)


def target_of(seed: int, index: int) -> Look:
    """What clip `index` of the world `seed` follows, without drawing it."""
    return _begin(seed, index)[2]


def _begin(seed: int, index: int) -> tuple[np.random.Generator, int, Look]:
    rng = np.random.Generator(np.random.PCG64([seed, index, _SALT]))
    frames = int(rng.integers(24, 41))
    return rng, frames, Look(*(str(rng.choice(kinds)) for kinds in (SHAPES, TEXTURES, tuple(HUES))))


def _others(rng: np.random.Generator, target: Look) -> tuple[Look, ...]:
    """Two or three that differ from the target in one thing; one of them never in its hue, for a colour would find it."""
    kinds = [name for name in SHAPES if name != target.shape], [name for name in TEXTURES if name != target.texture]
    hues = [name for name in HUES if name != target.hue]
    other = [
        Look(str(rng.choice(kinds[0])), target.texture, target.hue),
        Look(target.shape, str(rng.choice(kinds[1])), target.hue),
        Look(target.shape, target.texture, str(rng.choice(hues))),
    ]
    drop = int(rng.integers(6))
    return tuple(look for k, look in enumerate(other) if k != drop)


def _walks(
    rng: np.random.Generator, pan_T2: Floats, others: int, view_2: npt.NDArray[np.int64], scale: float
) -> list[Walk]:
    """The target's way and the others', which keep near it and begin apart from it."""
    radii = rng.uniform(10, 15.5, 1 + others) * scale
    count = goals_for(len(pan_T2))
    start_2 = _spot(rng, view_2, radii[0])
    goals_G2 = np.stack([_spot(rng, view_2, radii[0]) for _ in range(count)])
    if rng.random() < LEAVES:
        gone = int(rng.integers(1, max(2, count - 1)))
        goals_G2[gone - 1 : gone + 1] = _way_out(goals_G2[gone - 1], view_2, radii[0])
    walks = [walk(rng, start_2, goals_G2, radii[0], pan_T2)]
    starts = [start_2]
    for radius in radii[1:]:
        tries = [_spot(rng, view_2, radius) for _ in range(24)]
        apart = [min(float(np.abs(spot - start).max()) for start in starts) for spot in tries]
        starts.append(tries[int(np.argmax(apart))])
        near_G2 = goals_G2 + rng.normal(0, 2.5 * radii[0], (count, 2))
        free_G2 = np.stack([_spot(rng, view_2, radius) for _ in range(count)])
        walks.append(walk(rng, starts[-1], np.where(rng.random((count, 1)) < 0.5, near_G2, free_G2), radius, pan_T2))
    return walks


def _spot(rng: np.random.Generator, view_2: npt.NDArray[np.int64], radius: float) -> Floats:
    """A place where a thing of that radius is in view with some room."""
    return np.asarray(rng.uniform(1.25 * radius, view_2 - 1.25 * radius))


def _way_out(from_2: Floats, view_2: npt.NDArray[np.int64], radius: float) -> Floats:
    """Two places, at the nearest edge and well beyond it."""
    edges_2 = np.where(from_2 < view_2 / 2, 0, view_2)
    axis = int(np.argmin(np.abs(edges_2 - from_2)))
    outwards = 1 if edges_2[axis] else -1
    way_22 = np.stack([from_2, from_2])
    way_22[:, axis] = edges_2[axis] + outwards * radius * np.array([-1.5, 4.0])
    return way_22


def _ink(rng: np.random.Generator, look: Look) -> Floats:
    """RGB of 255: dark, of the look's hue, in a shade of its own."""
    hue = HUES[look.hue] + rng.uniform(-0.02, 0.02)
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.7, 1.0), rng.uniform(0.35, 0.6)))


def _light(rng: np.random.Generator, frames: int) -> Floats:
    """A factor a frame, from about 0.75 to 1.1, smooth."""
    phase = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(1, 6), frames)
    return np.asarray((0.95 + rng.uniform(0.03, 0.16) * np.sin(phase)).astype(np.float32))


def _background(rng: np.random.Generator, height: int, width: int, scale: float) -> Canvas:
    """What the camera moves over: light, of one colour, uneven at four scales, with strokes."""
    h, w = (side + 2 * round(_ROOM * scale) for side in (height, width))
    base = 255 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.05, 0.35), rng.uniform(0.75, 0.92)))
    paper = Image.fromarray(np.tile(base.astype(np.uint8), (h, w, 1)))
    pen = ImageDraw.Draw(paper)
    for _ in range(18):
        ends = rng.uniform(0, (w, h), (3, 2))
        shade = tuple(int(c) for c in np.clip(base * rng.uniform(0.72, 1.12) + rng.normal(0, 10, 3), 0, 255))
        pen.line([tuple(map(float, end)) for end in ends], fill=shade, width=max(1, int(rng.integers(2, 9) * scale)))
    canvas = np.asarray(paper, dtype=np.float32).copy()
    for cells, depth in ((4, 14.0), (12, 9.0), (36, 8.0), (90, 5.0)):
        coarse = Image.fromarray(rng.standard_normal((cells, cells * w // h), dtype=np.float32))
        canvas += np.float32(depth) * np.asarray(coarse.resize((w, h), Image.Resampling.BILINEAR))[:, :, None]
    return canvas


def _paste(
    view_HW3: Canvas, owner_HW: npt.NDArray[np.int8], number: int, look: Look, ink: Floats, way: Walk, t: int
) -> Placed:
    """Draw a thing where it is in frame `t`, cut where the view ends."""
    opacity_PP, light_PP = turned_stamp(look.category, float(way.radius_T[t]), float(way.turn_T[t]))
    side = len(opacity_PP)
    left, top = (round(centre - side / 2) for centre in way.centre_T2[t].tolist())
    placed = Placed(top, left, opacity_PP >= 0.5)
    rows, columns = placed.inside(*owner_HW.shape)
    cut = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    window_PP3 = view_HW3[rows, columns]
    colour_PP3 = ink + 0.72 * light_PP[cut][:, :, None] * (255 - ink)
    window_PP3 += opacity_PP[cut][:, :, None] * (colour_PP3 - window_PP3)
    owner_HW[rows, columns][placed.opaque_PP[cut]] = number
    return placed


@dataclass(frozen=True)
class _Band:
    """What passes before the target: upright, as wide as hides it wholly for a while or only in part."""

    texture_hw3: Canvas
    top: int
    left_T: npt.NDArray[np.int64]

    @classmethod
    def before(cls, rng: np.random.Generator, target: Walk, width: int, scale: float) -> _Band:
        """It comes in from the nearer edge and meets the target in the second half of the clip, or never."""
        frames, side = len(target.centre_T2), 2 * target.radius_T[0]
        meets = int(rng.integers(frames // 3, frames - 6))
        x, y = target.centre_T2[meets]
        wide, high = round(side * rng.uniform(0.5, 1.7)), round(side * rng.uniform(1.6, 3.2))
        start = -wide / 2 - 2 if x < width / 2 else width + wide / 2 + 2
        middle_T = start + (x - start) * np.arange(frames) / meets
        if rng.random() >= BAND:
            middle_T = np.full(frames, -2.0 * width)
        gray = 255 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.45, 0.7)))
        coarse = Image.fromarray(rng.standard_normal((max(2, high // 4), max(2, wide // 4)), dtype=np.float32))
        grain_hw = np.asarray(coarse.resize((wide, high), Image.Resampling.BILINEAR))
        texture_hw3 = (gray + 16 * grain_hw[:, :, None]).astype(np.float32)
        return cls(texture_hw3, round(y - high / 2), np.rint(middle_T - wide / 2).astype(np.int64))

    def paste(self, view_HW3: Canvas, owner_HW: npt.NDArray[np.int8], t: int) -> None:
        placed = Placed(self.top, int(self.left_T[t]), np.ones(self.texture_hw3.shape[:2], dtype=np.bool_))
        rows, columns = placed.inside(*owner_HW.shape)
        if rows.start < rows.stop and columns.start < columns.stop:
            up, back = self.top, placed.left
            view_HW3[rows, columns] = self.texture_hw3[
                rows.start - up : rows.stop - up, columns.start - back : columns.stop - back
            ]
            owner_HW[rows, columns] = _BAND
