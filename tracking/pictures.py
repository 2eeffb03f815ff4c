"""Strips of frames with where the object is and where it was found, and a short animation of the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from rice_core.datasets import Video
from rice_core.images import ImageError, load_image
from rice_core.outlines import DASHED, HALO, SOLID, framed
from tracking.curves import Floats

Pixels = npt.NDArray[np.uint8]
ACROSS, EACH = 8, 2
"""Frames of a strip, and strips of each kind."""
MOVING = 40
"""Frames of an animation at most."""
_TILE, _FILM = (176, 132), (352, 264)
"""Width and height of a frame in a strip and in an animation, which it is fitted into."""
_GAP, _LINE = 4, 16
_FONT = ImageFont.load_default(11)
_INK = (34, 34, 34)
_TRUE, _FOUND, _LOST = (20, 110, 40), (0, 90, 200), (200, 30, 30)


@dataclass(frozen=True)
class FollowedVideo:
    """One video, and how well its object was followed."""

    video: Video
    boxes_T4: Floats
    """In the origin of the annotation."""
    value: float
    """Its own headline number, in percent."""


def strips(videos: Sequence[tuple[str, FollowedVideo]], headline: str) -> Pixels:
    """A sheet with a row a video (H, W, 3); where the object is has a dashed frame.

    Args:
        videos: as `chosen` gives them, at least one. headline: what `value` is called.
    """
    rows = []
    for kind, each in videos:
        words = f"{kind}: {each.video.id}, {headline} {each.value:.1f}"
        places = np.linspace(0, len(each.boxes_T4) - 1, min(ACROSS, len(each.boxes_T4))).round().astype(int)
        tiles = [_tile(each, place, _TILE) for place in dict.fromkeys(places.tolist())]
        row = Image.new("RGB", (ACROSS * (_TILE[0] + _GAP), _LINE + _TILE[1] + _GAP), HALO)
        ImageDraw.Draw(row).text((0, 1), words, fill=_INK, font=_FONT)
        for column, tile in enumerate(tiles):
            row.paste(tile, (column * (_TILE[0] + _GAP), _LINE))
        rows.append(np.asarray(row))
    return np.concatenate([_legend(ACROSS * (_TILE[0] + _GAP)), *rows])


def animation(followed: FollowedVideo) -> Pixels:
    """The whole video in at most MOVING frames (T, H, W, 3)."""
    T = len(followed.boxes_T4)
    places = np.linspace(0, T - 1, min(MOVING, T)).round().astype(int)
    legend = _legend(_FILM[0])
    return np.stack([np.concatenate([legend, np.asarray(_tile(followed, place, _FILM))]) for place in places.tolist()])


def chosen(followed: Sequence[FollowedVideo]) -> list[tuple[str, FollowedVideo]]:
    """The best, the middle and the worst by value; none twice, and what is left for a kind where there are few."""
    ranked = sorted((each for each in followed if each.value == each.value), key=lambda each: -each.value)
    worst = ranked[EACH:][-EACH:]
    rest = ranked[EACH : len(ranked) - len(worst)]
    middle = max(0, (len(rest) - EACH + 1) // 2)
    kinds = {"best": ranked[:EACH], "median": rest[middle : middle + EACH], "worst": worst}
    return list(chain.from_iterable(((kind, each) for each in of_kind) for kind, of_kind in kinds.items()))


def _tile(followed: FollowedVideo, place: int, size: tuple[int, int]) -> Image.Image:
    """A frame with its boxes, fitted into `size`, and below which it is, and the overlap."""
    tile = Image.new("RGB", size, HALO)
    pen, video = ImageDraw.Draw(tile), followed.video
    try:
        picture = load_image(video.frames[place])
    except (ImageError, IndexError):
        pen.text((4, 4), f"frame {place}: cannot be read", fill=_INK, font=_FONT)
        return tile
    scale = min(size[0] / picture.width, (size[1] - _LINE) / picture.height)
    shown = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    tile.paste(picture.resize(shown, Image.Resampling.BICUBIC))
    track = video.track()
    true_4, found_4 = track.boxes_T4[place], followed.boxes_T4[place]
    there = bool(track.usable_T[place])
    overlap = _overlap(true_4, found_4) if there else 0.0
    inside = ImageDraw.Draw(tile)
    # The true frame lies a line outside its box, so that a found one that meets it is seen.
    for box_4, ink, line, beyond in (
        (true_4, _TRUE, DASHED, 3),
        (found_4, _FOUND if overlap >= 0.5 else _LOST, SOLID, 0),
    ):
        if np.isfinite(box_4).all() and (there or line == SOLID):
            x, y, w, h = (box_4 - [video.origin, video.origin, 0, 0]) * scale
            left, top = max(1.0, x - beyond), max(1.0, y - beyond)
            # What is beyond the frame would be drawn over the words.
            right, bottom = min(x + w + beyond, shown[0] - 2.0), min(y + h + beyond, shown[1] - 2.0)
            framed(inside, (left, top, right, bottom), ink, line, halo=line == DASHED)
    pen.rectangle((0, shown[1], size[0], size[1]), fill=HALO)
    words = f"frame {place}: " + (f"IoU {overlap:.2f}" if there else "not to be seen")
    pen.text((2, shown[1] + 1), words, fill=_INK, font=_FONT)
    return tile


def _legend(width: int) -> Pixels:
    line = Image.new("RGB", (width, _LINE + 4), HALO)
    pen, left = ImageDraw.Draw(line), 4.0
    for ink, kind, words in (
        (_TRUE, DASHED, "true"),
        (_FOUND, SOLID, "found, IoU at least .5"),
        (_LOST, SOLID, "found, below .5"),
    ):
        framed(pen, (left, 5, left + 20, 14), ink, kind)
        pen.text((left + 26, 3), words, fill=_INK, font=_FONT)
        left += 26 + pen.textlength(words, _FONT) + 16
    return np.asarray(line)


def _overlap(a_4: Floats, b_4: Floats) -> float:
    low_2, high_2 = np.maximum(a_4[:2], b_4[:2]), np.minimum(a_4[:2] + a_4[2:], b_4[:2] + b_4[2:])
    shared = float(np.maximum(high_2 - low_2, 0).prod())
    return shared / max(float(a_4[2:].prod() + b_4[2:].prod()) - shared, 1e-9)
