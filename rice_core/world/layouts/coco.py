"""The miniature world as a COCO-format folder.

In it lie:

    FOLDER/train/ val/                     one PNG a scene
    FOLDER/annotations/instances_*.json    objects, as COCO has them
    FOLDER/annotations/captions_*.json     captions, as COCO has them
    FOLDER/annotations/text_*.json         words, as TextOCR has them
    FOLDER/manifest.json                   see `folder`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.layouts.annotations import DrawnScene, captions, instances, text
from rice_core.world.layouts.folder import Annotate, Job, write_world
from rice_core.world.scenes import WORLD_VERSION
from rice_core.world.shapes import Level, categories
from rice_core.world.words import SYLLABLES

VAL_START = 1_000_000
"""Index of the first val scene, so that val stays the same however many train scenes there are."""


class CocoRequest(Frozen):
    """What fixes every pixel of the folder."""

    seed: int
    train: int
    val: int
    size: int
    difficulty: float
    level: Level = "easy"
    annotate: Annotate = "objects"
    version: int = WORLD_VERSION


def write_coco(
    folder: Path,
    *,
    seed: int,
    train: int,
    val: int,
    size: int = 96,
    difficulty: Literal["easy"] | float = "easy",
    level: Level = "easy",
    annotate: Annotate = "objects",
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Draw a world and put it at `folder`, whole or not at all; a folder that already holds it is used as it is.

    Args:
        train: scenes 0, 1, ... of the world `seed`; `val` counts from VAL_START.
        difficulty: 0 ("easy") to 1; see `scenes.Difficulty`. The dial works at either level.
        level: which categories and colours; see `scenes`.
        annotate: what the instances are: the objects, or each syllable of the words (24 categories, boxes alone), so that
            any probe of regions becomes a probe of reading.
        workers: processes that draw. The result does not depend on it. More than one needs an importable main module.

    Raises:
        UserError: the folder holds something that this function did not write.
    """
    dial = 0.0 if difficulty == "easy" else float(difficulty)
    request = CocoRequest(seed=seed, train=train, val=val, size=size, difficulty=dial, level=level, annotate=annotate)
    splits = {"train": range(request.train), "val": range(VAL_START, VAL_START + request.val)}
    jobs = [
        Job(f"{split}/{index:07d}.png", seed, index, size, dial, level, annotate)
        for split, indices in splits.items()
        for index in indices
    ]

    def annotations(drawn: Sequence[DrawnScene]) -> dict[str, Any]:
        return {
            f"annotations/{kind}_{split}.json": body
            for split in splits
            for kind, body in _bodies(request, split, [d for d in drawn if d.file.startswith(f"{split}/")]).items()
        }

    return write_world(folder, request, jobs, annotations, places=splits, workers=workers, progress=progress)


def _bodies(request: CocoRequest, split: str, drawn: list[DrawnScene]) -> dict[str, Any]:
    """What each kind of annotation file says of a split."""
    # The easy level's files say what they said before there were levels: records are keyed by their bytes.
    asked = request.model_dump(exclude_defaults=True) | {"version": request.version}
    info = {"description": "ricebench miniature world", **asked}
    names = SYLLABLES if request.annotate == "syllables" else categories(request.level)
    return {
        "instances": instances(drawn, size=request.size, names=names, info=info),
        "captions": captions(drawn, size=request.size, info=info),
        "text": text(drawn, size=request.size, split=split, info=info),
    }
