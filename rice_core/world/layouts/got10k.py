"""Clips of the miniature world as GOT-10k is on disk.

    FOLDER/train/ val/ test/list.txt                   the sequences' names
    FOLDER/train/GOT-10k_Train_000001/00000001.jpg     the frames, from 1
        groundtruth.txt                                x,y,w,h a frame, of what is seen; in test the first frame's alone
        absence.label cover.label cut_by_image.label   a number a frame; not in test
        meta_info.ini
    FOLDER/manifest.json                               see `folder`

An absent target's box is -1,-1,-1,-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.layouts.clips import ClipJob, DrawnClip, column, lines
from rice_core.world.layouts.folder import write_world
from rice_core.world.videos import VIDEO_VERSION

_STARTS = {"train": 0, "val": 1_000_000, "test": 2_000_000}
"""Index of each split's first clip, so that none moves with the size of another."""


class Got10kRequest(Frozen):
    """What fixes every pixel and every annotation of the folder."""

    layout: Literal["got10k"] = "got10k"
    seed: int
    train: int
    val: int
    test: int
    size: int
    version: int = VIDEO_VERSION


def write_got10k(
    folder: Path,
    *,
    seed: int,
    train: int,
    val: int,
    test: int,
    size: int = 144,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Draw clips and put them at `folder`, whole or not at all, used again when there; see `write_coco`.

    Args:
        train: clips, as `val` and `test`.
        size: height of a frame in pixels; its width is 4/3 of it.

    Raises:
        UserError: the folder holds something that this function did not write.
    """
    request = Got10kRequest(seed=seed, train=train, val=val, test=test, size=size)
    counts = {"train": train, "val": val, "test": test}
    jobs = [
        ClipJob(f"{split}/{_name(split, k)}", seed, _STARTS[split] + k, size, _name(split, k))
        for split, count in counts.items()
        for k in range(count)
    ]

    def annotations(drawn: Sequence[DrawnClip]) -> dict[str, str]:
        lists = {f"{split}/list.txt": "".join(f"{_name(split, k)}\n" for k in range(n)) for split, n in counts.items()}
        return lists | {name: body for clip in drawn for name, body in _files(clip).items()}

    return write_world(folder, request, jobs, annotations, workers=workers, progress=progress)


def _name(split: str, k: int) -> str:
    return f"GOT-10k_{split.capitalize()}_{k + 1:06d}"


def _files(clip: DrawnClip) -> dict[str, str]:
    """The annotation files of one sequence."""
    truth = clip.truth
    boxes_T4 = np.where(truth.absent_T[:, None], -1, truth.boxes_T4)
    if clip.place.startswith("test/"):
        return {f"{clip.place}/groundtruth.txt": lines(boxes_T4[:1].tolist(), digits=4)}
    return {
        f"{clip.place}/groundtruth.txt": lines(boxes_T4.tolist(), digits=4),
        f"{clip.place}/absence.label": column(truth.absent_T),
        f"{clip.place}/cover.label": column(truth.cover_T),
        f"{clip.place}/cut_by_image.label": column(truth.cut_T),
        f"{clip.place}/meta_info.ini": _meta(clip),
    }


def _meta(clip: DrawnClip) -> str:
    """Read by key, and by peers by the line."""
    width, height = clip.size_wh
    fields = {
        "url": "none",
        "begin": "00:00:00",
        "end": f"00:00:{len(clip.truth.seen_T) // 10:02d}",
        "anno_fps": "10Hz",
        "object_class": clip.target.shape,
        "motion_class": "drifting",
        "major_class": "glyph",
        "root_class": clip.target.texture,
        "motion_adverb": "smoothly",
        "resolution": f"({width}, {height})",
    }
    return "[METAINFO]\n" + "".join(f"{key}: {value}\n" for key, value in fields.items())
