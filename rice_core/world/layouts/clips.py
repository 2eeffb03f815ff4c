"""Clips that are written as folders of frames; how tracking data sets number them and write their boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rice_core.digest import bytes_digest
from rice_core.world.clip_truth import ClipTruth
from rice_core.world.layouts.folder import encode
from rice_core.world.videos import Look, WorldClip, draw_clip


@dataclass(frozen=True)
class ClipJob:
    """One clip to draw."""

    place: str
    """The folder of its frames, relative to the world's."""
    seed: int
    index: int
    size: int
    """Height of a frame; its width is 4/3 of it."""
    name: str
    """What the sequence is called."""
    first: int = 1
    """Number of the first frame."""
    names: tuple[str, ...] = ("{:08d}.jpg",)
    """Of a frame by its number; several take turns."""

    def write(self, folder: Path) -> DrawnClip:
        clip = draw_clip(self.seed, self.index, size=self.size)
        (folder / self.place).mkdir(parents=True, exist_ok=True)
        files = {}
        for k, pixels_HW3 in enumerate(clip.frames_THW3):
            name = f"{self.place}/{self.names[k % len(self.names)].format(self.first + k)}"
            data = encode(pixels_HW3, Path(name).suffix)
            (folder / name).write_bytes(data)
            files[name] = bytes_digest(data)
        _, height, width, _ = clip.frames_THW3.shape
        return DrawnClip(self.name, self.place, files, _pixels_digest(clip), (width, height), clip.target, clip.truth)


@dataclass(frozen=True)
class DrawnClip:
    """A clip whose frames are written: what the annotations need of it, and digests. It travels between processes."""

    name: str
    place: str
    files: Mapping[str, str]
    pixels: str
    size_wh: tuple[int, int]
    target: Look
    truth: ClipTruth


def lines(rows: Iterable[Sequence[float]], *, between: str = ",", digits: int = 0) -> str:
    """Rows of numbers as text, a line each."""
    return "".join(between.join(f"{value:.{digits}f}" for value in row) + "\n" for row in rows)


def column(values: Iterable[bool | int | np.integer | np.bool_]) -> str:
    """Whole numbers as text, a line each."""
    return "".join(f"{int(value)}\n" for value in values)


def attributes(truth: ClipTruth) -> frozenset[str]:
    """What makes a clip hard, by the short names and definitions of Fan et al. 2019 (LaSOT) that TNL2K has too.

    IV, CM, ROT, BC: in every clip the light and the camera change, the target turns and others look like it.
    """
    boxes_T4 = truth.boxes_T4[~truth.absent_T]
    area_T, aspect_T = boxes_T4[:, 2] * boxes_T4[:, 3], boxes_T4[:, 2] / boxes_T4[:, 3]
    there = {
        "POC": (truth.seen_T < truth.in_view_T) & ~truth.absent_T,
        "FOC": truth.full_occlusion_T,
        "OV": truth.out_of_view_T,
        "SV": np.abs(np.log2(area_T / area_T[0])) > 1,
        "ARC": np.abs(np.log2(aspect_T / aspect_T[0])) > 1,
        "LR": area_T < 1000,
    }
    return frozenset({"IV", "CM", "ROT", "BC"} | {name for name, at in there.items() if at.any()})


def _pixels_digest(clip: WorldClip) -> str:
    digest = hashlib.sha256(clip.frames_THW3.tobytes())
    digest.update(clip.owner_THW.tobytes())
    return digest.hexdigest()
