"""The miniature world as Roboflow 100 is on disk: a folder a data set, each Roboflow's COCO export.

    FOLDER/aerial-cows/train/ valid/ test/    JPEG images and _annotations.coco.json
    FOLDER/apex-videogame/...                 seven data sets, one a domain
    FOLDER/manifest.json                      see `folder`

They carry names of the real list, so that what knows the domains by them works here too; what they show is drawn. As in
Roboflow's exports there are boxes alone, ids count from 0 in every split, and category 0 is the data set's own name, above
the others and never used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.layouts.annotations import DrawnScene
from rice_core.world.layouts.folder import Annotate, Job, write_world
from rice_core.world.scenes import WORLD_VERSION
from rice_core.world.shapes import Level, categories
from rice_core.world.words import SYLLABLES

_APART = 10_000_000
"""Between the first scenes of two data sets: no scene is in two of them, nor in another layout."""
_SPLIT_APART = 1_000_000


@dataclass(frozen=True)
class WorldPart:
    """One data set. What it does not name is drawn too, and is background there."""

    name: str
    categories: tuple[str, ...]
    """Each a shape or a texture of the world, or all of its icons; or the first letter of a syllable."""
    scale: float
    """Side of its images, of the size asked for."""
    difficulty: float
    level: Level = "easy"
    annotate: Annotate = "objects"


PARTS = (
    WorldPart("aerial-cows", ("disk", "square", "triangle", "cross", "heart"), scale=0.75, difficulty=0.0),
    WorldPart("apex-videogame", ("solid", "dots", "checks"), scale=1.25, difficulty=0.1, level="hard"),
    WorldPart("bccd-ouzjz", ("disk", "ring", "icon"), scale=1.0, difficulty=0.3),
    WorldPart("aquarium-qlnqy", ("crescent", "heart", "star", "cross"), scale=1.0, difficulty=0.5),
    WorldPart("tweeter-posts", ("b", "d", "f", "g", "k"), scale=1.5, difficulty=0.0, annotate="syllables"),
    WorldPart("thermal-cheetah-my4dp", ("oval", "chevron", "icon"), scale=1.25, difficulty=0.4, level="hard"),
    WorldPart("marbles", ("solid", "stripes"), scale=1.0, difficulty=0.2),
)


class Rf100Request(Frozen):
    """What fixes every pixel and every annotation of the folder."""

    layout: Literal["rf100"] = "rf100"
    seed: int
    train: int
    valid: int
    test: int
    size: int
    version: int = WORLD_VERSION


def write_rf100(
    folder: Path,
    *,
    seed: int,
    train: int = 60,
    valid: int = 30,
    test: int = 30,
    size: int = 96,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Draw the seven data sets of PARTS, all of them or none; used again when there. See `write_coco`.

    Args:
        train: images of each data set, as `valid` and `test`.
        size: pixels; a data set's images are larger or smaller by its scale.

    Raises:
        UserError: the folder holds something that this function did not write.
    """
    request = Rf100Request(seed=seed, train=train, valid=valid, test=test, size=size)
    counts = {"train": train, "valid": valid, "test": test}
    jobs = [
        _job(request, part, split, (number + 1) * _APART + place * _SPLIT_APART + k)
        for number, part in enumerate(PARTS)
        for place, (split, count) in enumerate(counts.items())
        for k in range(count)
    ]

    def annotations(drawn: Sequence[DrawnScene]) -> dict[str, Any]:
        bodies = {}
        for part in PARTS:
            for split in counts:
                scenes = [scene for scene in drawn if scene.file.startswith(f"{part.name}/{split}/")]
                bodies[f"{part.name}/{split}/_annotations.coco.json"] = _body(request, part, scenes)
        return bodies

    return write_world(folder, request, jobs, annotations, workers=workers, progress=progress)


def _job(request: Rf100Request, part: WorldPart, split: str, index: int) -> Job:
    # Roboflow puts a hash of its own into the name of every image that it exports.
    mark = hashlib.sha256(f"{request.seed}/{part.name}/{index}".encode()).hexdigest()[:32]
    return Job(
        file=f"{part.name}/{split}/{index}_png.rf.{mark}.jpg",
        seed=request.seed,
        index=index,
        size=round(request.size * part.scale),
        difficulty=part.difficulty,
        level=part.level,
        annotate=part.annotate,
    )


def _body(request: Rf100Request, part: WorldPart, scenes: Sequence[DrawnScene]) -> dict[str, Any]:
    side = round(request.size * part.scale)
    own = [{"id": k, "name": name, "supercategory": part.name} for k, name in enumerate(part.categories, start=1)]
    return {
        "info": {"description": "ricebench miniature world", "year": "2020", **request.model_dump()},
        "licenses": [{"id": 1, "name": "none", "url": ""}],
        "categories": [{"id": 0, "name": part.name, "supercategory": "none"}, *own],
        "images": [
            {
                "id": k,
                "license": 1,
                "file_name": Path(scene.file).name,
                "height": side,
                "width": side,
                "date_captured": "2020-01-01T00:00:00+00:00",
            }
            for k, scene in enumerate(scenes)
        ],
        "annotations": [{"id": k} | thing for k, thing in enumerate(_things(part, scenes))],
    }


def _things(part: WorldPart, scenes: Sequence[DrawnScene]) -> list[dict[str, Any]]:
    """Annotations that still lack their ids."""
    ours = _category_ids(part)
    return [
        {
            "image_id": image,
            "category_id": ours[thing["category_id"]],
            "bbox": thing["bbox"],
            "area": round(thing["bbox"][2] * thing["bbox"][3], 3),
            "segmentation": [],
            "iscrowd": 0,
        }
        for image, scene in enumerate(scenes)
        for thing in scene.things
        if thing["category_id"] in ours
    ]


def _category_ids(part: WorldPart) -> dict[int, int]:
    """The world's category id -> the data set's, of what it names."""
    names = SYLLABLES if part.annotate == "syllables" else categories(part.level)
    words = [{name[0]} if part.annotate == "syllables" else set(name.split("-")) for name in names]
    found = {name: [k for k, of in enumerate(words, start=1) if name in of] for name in part.categories}
    return {world: own for own, name in enumerate(part.categories, start=1) for world in found[name]}
