"""Clips of the miniature world as LaSOT is on disk; a class is a shape.

    FOLDER/training_set.txt testing_set.txt          the sequences' names
    FOLDER/annos/att/star-1.txt                      of test: 14 numbers, as the toolkit has them
    FOLDER/star/star-1/img/00000001.jpg              the frames, from 1
        groundtruth.txt                              x,y,w,h a frame, whole numbers; the first pixel is 1
        full_occlusion.txt out_of_view.txt           0,0,1,... on one line
        nlp.txt                                      a sentence
    FOLDER/manifest.json                             see `folder`

An absent target's box is 0,0,0,0 where it is out of view, and an ordinary one, of what is hidden, where it is occluded: LaSOT
has both, and says by its flags alone whether the target can be seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rice_core.datasets.videos.subsets import LASOT
from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.layouts.clips import ClipJob, DrawnClip, attributes, lines
from rice_core.world.layouts.folder import write_world
from rice_core.world.videos import VIDEO_VERSION, target_of

_STARTS = {"train": 10_000_000, "test": 11_000_000}
"""Index of each split's first clip: no clip is in two splits, nor in another layout."""


class LasotRequest(Frozen):
    """What fixes every pixel and every annotation of the folder."""

    layout: Literal["lasot"] = "lasot"
    seed: int
    train: int
    test: int
    size: int
    version: int = VIDEO_VERSION


def write_lasot(
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
    request = LasotRequest(seed=seed, train=train, test=test, size=size)
    # Test first, so that its names do not move with the size of train.
    indices = [_STARTS[split] + k for split, count in (("test", test), ("train", train)) for k in range(count)]
    jobs: list[ClipJob] = []
    seen: Counter[str] = Counter()
    for index in indices:
        kind = target_of(seed, index).shape
        seen[kind] += 1
        name = f"{kind}-{seen[kind]}"
        jobs.append(ClipJob(f"{kind}/{name}/img", seed, index, size, name))

    def annotations(drawn: Sequence[DrawnClip]) -> dict[str, str]:
        lists = {"testing_set.txt": drawn[:test], "training_set.txt": drawn[test:]}
        bodies = {file: "".join(f"{clip.name}\n" for clip in clips) for file, clips in lists.items()}
        bodies |= {
            f"annos/att/{clip.name}.txt": lines([[name in attributes(clip.truth) for name in LASOT]])
            for clip in drawn[:test]
        }
        return bodies | {name: body for clip in drawn for name, body in _files(clip).items()}

    return write_world(folder, request, jobs, annotations, workers=workers, progress=progress)


def _files(clip: DrawnClip) -> dict[str, str]:
    """The annotation files of one sequence."""
    truth, folder = clip.truth, clip.place.removesuffix("/img")
    boxes_T4 = np.where(truth.full_occlusion_T[:, None], truth.whole_T4, truth.boxes_T4)
    boxes_T4 = boxes_T4 + np.where(truth.out_of_view_T[:, None], 0, np.array([1, 1, 0, 0]))
    return {
        f"{folder}/groundtruth.txt": lines(boxes_T4.tolist()),
        f"{folder}/full_occlusion.txt": lines([truth.full_occlusion_T.tolist()]),
        f"{folder}/out_of_view.txt": lines([truth.out_of_view_T.tolist()]),
        f"{folder}/nlp.txt": f"{clip.target.sentence}\n",
    }
