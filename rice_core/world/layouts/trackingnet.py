"""Clips of the miniature world as TrackingNet is on disk.

    FOLDER/TRAIN_0/ TRAIN_1/ TEST/frames/0Sb-_nYcV3k_0/0.jpg    the frames, from 0 and without zeros before
        anno/0Sb-_nYcV3k_0.txt                                  x,y,w,h a frame; in TEST the first frame's alone
    FOLDER/truth/0Sb-_nYcV3k_0.txt                              all rows of TEST, which the real data set keeps to its server
    FOLDER/manifest.json                                        see `folder`

Nothing says where a target is absent: its boxes lie between those before and after, as the real training boxes do, which are
interpolated. Put the files of truth/ in the place of TEST/anno/'s to have TEST judged.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.clip_truth import ClipTruth
from rice_core.world.layouts.clips import ClipJob, DrawnClip, lines
from rice_core.world.layouts.folder import write_world
from rice_core.world.shapes import Floats
from rice_core.world.videos import VIDEO_VERSION

_STARTS = {"train": 20_000_000, "test": 21_000_000}
"""Index of each split's first clip: no clip is in two splits, nor in another layout."""


class TrackingNetRequest(Frozen):
    """What fixes every pixel and every annotation of the folder."""

    layout: Literal["trackingnet"] = "trackingnet"
    seed: int
    train: int
    test: int
    size: int
    version: int = VIDEO_VERSION


def write_trackingnet(
    folder: Path,
    *,
    seed: int,
    train: int,
    test: int,
    size: int = 144,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Draw clips and put them at `folder`, whole or not at all, used again when there. Args and errors are `write_got10k`'s."""
    request = TrackingNetRequest(seed=seed, train=train, test=test, size=size)
    chunks = [(f"TRAIN_{k % 2}", _STARTS["train"] + k) for k in range(train)]
    chunks += [("TEST", _STARTS["test"] + k) for k in range(test)]
    jobs = []
    for chunk, index in chunks:
        name = _name(seed, index)
        jobs.append(ClipJob(f"{chunk}/frames/{name}", seed, index, size, name, first=0, names=("{}.jpg",)))

    def annotations(drawn: Sequence[DrawnClip]) -> dict[str, str]:
        return {name: body for clip in drawn for name, body in _files(clip).items()}

    return write_world(folder, request, jobs, annotations, workers=workers, progress=progress)


def _name(seed: int, index: int) -> str:
    """As YouTube calls its videos, a dash in front at times, and the number of the object."""
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
    return f"{base64.urlsafe_b64encode(digest)[:11].decode()}_{index % 3}"


def _files(clip: DrawnClip) -> dict[str, str]:
    """The annotation files of one sequence."""
    chunk, rows = clip.place.split("/")[0], _interpolated(clip.truth).tolist()
    if chunk == "TEST":
        return {
            f"TEST/anno/{clip.name}.txt": lines(rows[:1], digits=2),
            f"truth/{clip.name}.txt": lines(rows, digits=2),
        }
    return {f"{chunk}/anno/{clip.name}.txt": lines(rows, digits=2)}


def _interpolated(truth: ClipTruth) -> Floats:
    frames, there = np.arange(len(truth.seen_T)), np.flatnonzero(~truth.absent_T)
    return np.stack([np.interp(frames, there, side_T[there]) for side_T in truth.boxes_T4.T], axis=1)
