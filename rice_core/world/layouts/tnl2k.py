"""Clips of the miniature world as TNL2K is on disk.

FOLDER/TNL2K_train_subset/ TNL2K_test_subset/Star_video_01-Done/
    imgs/                         jpg, png, or both in turn; numbered from 1, with zeros before or not
    groundtruth.txt               x,y,w,h a frame, whole numbers from 0; 0,0,0,0 where the target is absent
    language.txt                  a sentence
FOLDER/annos/absent/              of test, as the toolkit has them: 0 or 1 a frame
FOLDER/annos/att/                 of test: 17 numbers a sequence
FOLDER/manifest.json              see `folder`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rice_core.datasets.videos.subsets import TNL2K
from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.layouts.clips import ClipJob, DrawnClip, attributes, column, lines
from rice_core.world.layouts.folder import write_world
from rice_core.world.videos import VIDEO_VERSION, target_of

_STARTS = {"train": 30_000_000, "test": 31_000_000}
"""Index of each split's first clip: no clip is in two splits, nor in another layout."""
_NAMES = (("{:05d}.jpg",), ("{}.png",), ("img{:05d}.jpg",), ("{}.jpg", "{}.png"))
"""Of frames. As text, 10.png comes before 2.png."""


class Tnl2kRequest(Frozen):
    """What fixes every pixel and every annotation of the folder."""

    layout: Literal["tnl2k"] = "tnl2k"
    seed: int
    train: int
    test: int
    size: int
    version: int = VIDEO_VERSION


def write_tnl2k(
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
    request = Tnl2kRequest(seed=seed, train=train, test=test, size=size)
    jobs = [
        _job(request, split, _STARTS[split] + k, k)
        for split, count in (("train", train), ("test", test))
        for k in range(count)
    ]

    def annotations(drawn: Sequence[DrawnClip]) -> dict[str, str]:
        return {name: body for clip in drawn for name, body in _files(clip).items()}

    return write_world(folder, request, jobs, annotations, workers=workers, progress=progress)


def _job(request: Tnl2kRequest, split: str, index: int, k: int) -> ClipJob:
    kind = target_of(request.seed, index).shape.capitalize()
    name = f"{kind}_video_{'' if split == 'train' else 'X'}{k + 1:02d}{'-Done' if k % 2 else '_done'}"
    place = f"TNL2K_{split}_subset/{name}/imgs"
    return ClipJob(place, request.seed, index, request.size, name, names=_NAMES[k % len(_NAMES)])


def _files(clip: DrawnClip) -> dict[str, str]:
    """The annotation files of one sequence."""
    folder = clip.place.removesuffix("/imgs")
    files = {
        f"{folder}/groundtruth.txt": lines(clip.truth.boxes_T4.tolist()),
        f"{folder}/language.txt": clip.target.sentence,
    }
    if clip.place.startswith("TNL2K_test"):
        flags = [name in attributes(clip.truth) for name in TNL2K]
        files[f"annos/absent/{clip.name}.txt"] = column(clip.truth.absent_T)
        files[f"annos/att/{clip.name}_attribute.txt"] = lines([flags])
    return files
