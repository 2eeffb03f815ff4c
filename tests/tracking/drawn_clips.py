"""Videos of a white rectangle on black, whose place in every pixel is known; data sets of them and of still images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rice_core.datasets.nouns import Dataset, Region, Sample, Video
from rice_core.datasets.tracks import KnownTrack, Track
from rice_core.errors import UserError
from rice_core.spec import DatasetSpec


@dataclass(frozen=True)
class Unreadable:
    """Truth that cannot be read."""

    files = ()

    def read(self):
        raise UserError("groundtruth.txt, row 3 is no box; correct it.")


def draw(path: Path, box, size_hw=(90, 120), colour=(255, 255, 255)) -> Path:
    """A rectangle (x, y, w, h of whole pixels) in a frame."""
    pixels_HW3 = np.zeros((*size_hw, 3), np.uint8)
    x, y, w, h = box
    pixels_HW3[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels_HW3).save(path)
    return path


def clip(folder: Path, name: str, boxes, absent=None, origin: int = 0, **look) -> Video:
    """A frame a box; the annotation counts from `origin`."""
    frames = tuple(draw(folder / name / f"{n:04}.png", box, **look) for n, box in enumerate(boxes))
    boxes_T4 = np.array(boxes, np.float64).reshape(-1, 4)
    boxes_T4[:, :2] += origin
    absent_T = np.zeros(len(boxes), bool) if absent is None else np.array(absent)
    return Video(name, frames, KnownTrack(Track(boxes_T4, absent_T)), origin)


def moving(folder: Path, name: str = "v", n: int = 12, **look) -> Video:
    """From left to right."""
    return clip(folder, name, [(10 + 4 * t, 20 + t, 24, 18) for t in range(n)], **look)


def dataset(*items, name: str = "drawn") -> Dataset:
    """Of videos, or of images."""
    spec = DatasetSpec(name=name, layout="videos", fingerprint=name)
    provides = frozenset({"videos" if isinstance(items[0], Video) else "regions"})
    return Dataset(spec, ("thing",), {"train": items}, provides)


def still(folder: Path, name: str, *boxes, crowds=()) -> Sample:
    """An image that shows the first of its objects."""
    path = draw(folder / f"{name}.png", boxes[0])
    as_regions = [tuple(Region(box, 0) for box in group) for group in (boxes, crowds)]
    return Sample(name, path, regions=as_regions[0], crowds=as_regions[1], size_hw=(90, 120))
