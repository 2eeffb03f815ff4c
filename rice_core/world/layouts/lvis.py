"""The miniature world as LVIS v1 is on disk: the scenes of the COCO layout, with a long tail of categories.

    FOLDER/train2017/ val2017/                    one PNG a scene
    FOLDER/annotations/lvis_v1_{train,val}.json
    FOLDER/manifest.json                          see `folder`

As in LVIS (Gupta et al. 2019), images have addresses and no file names; most images of val lie in train2017; a category
is annotated in some of the images that show it, and in the others nobody has looked; an image names a few categories that
were looked for and are not there, and those of which some objects are left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.layouts.annotations import DrawnScene
from rice_core.world.layouts.coco import VAL_START
from rice_core.world.layouts.folder import Job, write_world
from rice_core.world.scenes import WORLD_VERSION
from rice_core.world.shapes import Level, categories

LOOKED_FOR = (2, 5)
"""Fewest and most absent categories that an image names."""

_RARE = (1, 2, 3, 5, 7, 10)
_COMMON = (15, 30, 60, 100)
_SALT = 77


class LvisRequest(Frozen):
    """What fixes every pixel and every annotation of the folder."""

    layout: Literal["lvis"] = "lvis"
    seed: int
    train: int
    val: int
    size: int
    difficulty: float
    level: Level = "easy"
    version: int = WORLD_VERSION


@dataclass(frozen=True)
class TailCategory:
    """A category of the long tail."""

    name: str
    of: tuple[int, ...]
    """The world's categories that it is made of."""
    most: int | None
    """Train images in which it is annotated; None: all."""


def write_lvis(
    folder: Path,
    *,
    seed: int,
    train: int,
    val: int,
    size: int = 96,
    difficulty: float = 0.0,
    level: Level = "easy",
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Draw the scenes of `write_coco` and annotate them as LVIS does; whole or not at all, used again when there.

    Args and errors are `write_coco`'s. From 600 train scenes on, the easy level has rare, common and frequent categories.
    """
    request = LvisRequest(seed=seed, train=train, val=val, size=size, difficulty=difficulty, level=level)
    indices = [*range(train), *range(VAL_START, VAL_START + val)]
    jobs = [Job(_file(index), seed, index, size, difficulty, level) for index in indices]

    def annotations(drawn: Sequence[DrawnScene]) -> dict[str, Any]:
        return _annotations(request, drawn)

    places = ("train2017", "val2017")
    return write_world(folder, request, jobs, annotations, places=places, workers=workers, progress=progress)


def tail(level: Level) -> tuple[TailCategory, ...]:
    """Half of the shapes whatever their texture, the other half by texture, and icons, of which half are rare."""
    of: dict[str, tuple[int, ...]] = defaultdict(tuple)
    names = categories(level)
    shapes = list(dict.fromkeys(name.split("-")[0] for name in names if not name.startswith("icon-")))
    joined = shapes[: len(shapes) // 2]
    for number, name in enumerate(names):
        shape = name.split("-")[0]
        of[shape if shape in joined else name] += (number,)
    rare, common = cycle(_RARE), cycle(_COMMON)
    icons = [name for name in of if name.startswith("icon-")]
    most = {name: next(rare) if name in icons[::2] else next(common) for name in of if name not in joined}
    return tuple(TailCategory(name, numbers, most.get(name)) for name, numbers in of.items())


def _file(index: int) -> str:
    in_val2017 = index >= VAL_START and index % 4 == 0
    return f"{'val2017' if in_val2017 else 'train2017'}/{index:012d}.png"


def _annotations(request: LvisRequest, drawn: Sequence[DrawnScene]) -> dict[str, Any]:
    kinds = tail(request.level)
    train = [scene for scene in drawn if scene.index < VAL_START]
    val = [scene for scene in drawn if scene.index >= VAL_START]
    annotated = {"train": _annotated(train, kinds, request.seed, thin=True)}
    # All of val is annotated, so that a score of rare categories is no matter of one or two objects.
    annotated["val"] = _annotated(val, kinds, request.seed, thin=False)
    described = _categories(kinds, annotated["train"])
    return {
        f"annotations/lvis_v1_{split}.json": {
            "info": {"description": "ricebench miniature world", **request.model_dump()},
            "licenses": [{"id": 1, "name": "none", "url": ""}],
            "images": [image.entry(scene, request.size) for scene, image in zip(scenes, annotated[split], strict=True)],
            "annotations": [
                {"id": number} | thing
                for number, thing in enumerate((t for image in annotated[split] for t in image.things), start=1)
            ],
            "categories": described,
        }
        for split, scenes in (("train", train), ("val", val))
    }


@dataclass(frozen=True)
class _Image:
    """What LVIS says of one scene."""

    things: tuple[dict[str, Any], ...]
    """Annotations that still lack their ids."""
    absent: tuple[int, ...]
    partly: tuple[int, ...]

    def entry(self, scene: DrawnScene, size: int) -> dict[str, Any]:
        return {
            "id": scene.index,
            "license": 1,
            "height": size,
            "width": size,
            "date_captured": "2020-01-01 00:00:00",
            "flickr_url": "",
            "coco_url": f"http://images.ricebench.invalid/{scene.file}",
            "neg_category_ids": list(self.absent),
            "not_exhaustive_category_ids": list(self.partly),
        }


def _annotated(scenes: Sequence[DrawnScene], kinds: Sequence[TailCategory], seed: int, *, thin: bool) -> list[_Image]:
    number = {world: k + 1 for k, kind in enumerate(kinds) for world in kind.of}
    # By category: LVIS's id -> scene -> its objects there.
    shown: dict[int, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for scene in scenes:
        for thing in scene.things:
            shown[number[thing["category_id"] - 1]][scene.index].append(thing)
    looked = {key: set(_some(found, kinds[key - 1], seed) if thin else found) for key, found in shown.items()}
    return [_image(scene.index, shown, looked, len(kinds), seed) for scene in scenes]


def _some(scenes: Mapping[int, Any], kind: TailCategory, seed: int) -> list[int]:
    """The scenes in which a category is annotated, by hashes, so that they do not depend on the order."""
    ordered = sorted(scenes, key=lambda index: hashlib.sha256(f"{seed}/{kind.name}/{index}".encode()).digest())
    return ordered[: kind.most]


def _image(
    index: int,
    shown: Mapping[int, Mapping[int, list[dict[str, Any]]]],
    looked: Mapping[int, set[int]],
    n_kinds: int,
    seed: int,
) -> _Image:
    rng = np.random.Generator(np.random.PCG64([seed, index, _SALT]))
    there = [key for key in range(1, n_kinds + 1) if index in shown.get(key, {})]
    things: list[dict[str, Any]] = []
    partly: list[int] = []
    for key in there:
        if index not in looked[key]:
            continue
        found = shown[key][index]
        if len(found) > 1 and rng.random() < 0.5:
            partly.append(key)
            found = found[:-1]
        for thing in found:
            # LVIS has no crowds.
            kept = {field: value for field, value in thing.items() if field != "iscrowd"}
            things.append({"image_id": index} | kept | {"category_id": key})
    others = np.setdiff1d(np.arange(1, n_kinds + 1), there)
    wanted = min(len(others), int(rng.integers(LOOKED_FOR[0], LOOKED_FOR[1] + 1)))
    absent = sorted(map(int, rng.choice(others, wanted, replace=False)))
    return _Image(tuple(things), tuple(absent), tuple(partly))


def _categories(kinds: Sequence[TailCategory], train: Sequence[_Image]) -> list[dict[str, Any]]:
    """As both files have them: counts are of train, and how frequent a category is goes by them."""
    instances = Counter(thing["category_id"] for image in train for thing in image.things)
    images = Counter(key for image in train for key in {thing["category_id"] for thing in image.things})
    return [
        {
            "id": key,
            "name": kind.name,
            "synset": f"{kind.name}.n.01",
            "synonyms": [kind.name],
            "def": f"the shape or icon {kind.name}",
            "frequency": _frequency(images[key]),
            "image_count": images[key],
            "instance_count": instances[key],
        }
        for key, kind in enumerate(kinds, start=1)
    ]


def _frequency(images: int) -> str:
    """LVIS: rare in up to 10 images, common in up to 100."""
    return "r" if images <= 10 else "c" if images <= 100 else "f"
