"""Plain pictures with expressions that name one thing in them, as REFER publishes its data sets.

FOLDER/mini/refs(umd).p                                       a pickle of Python 2, split by pictures into train, val and test as refCOCOg's
FOLDER/mini/instances.json                                    pictures, and masks as polygons
FOLDER/images/mscoco/images/train2014/MINI_000000000000.jpg   the pictures of all splits
FOLDER/manifest.json                                          see `folder`

What is told apart by what:

    colour     the red shape
    shape      the star
    relation   the shape left of the ring, where it is the only one that lies so; else the place, the shape at the top left
    word       the word boko, the word at the bottom left

A mask is as many polygons as its outline needs without holes; of every other shape two of them overlap. The last picture of each split has an
expression for a shape that is not there, whose mask is empty.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rice_core.digest import bytes_digest
from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.layouts.folder import encode, write_world
from rice_core.world.plain import PLACES, PLAIN_VERSION, PlainScene, draw_plain_masks
from rice_core.world.shapes import SHAPES

REFS, INSTANCES = "mini/refs(umd).p", "mini/instances.json"
PICTURES = "images/mscoco/images/train2014"

_STARTS = {"train": 0, "val": 1_000_000, "test": 2_000_000}
"""Index of a split's first picture, so that a split stays the same however many the others have."""
_MOST = 8
"""No picture has as many references, and no reference as many sentences: so numbers are those of the picture."""
_OVERLAP = 2
"""Rows of pixels that two polygons share."""
Polygon = list[float]


class ReferRequest(Frozen):
    """What fixes every pixel and every word of the folder."""

    layout: Literal["refer"] = "refer"
    seed: int
    train: int
    val: int
    test: int
    size: int
    version: int = 1
    plain: int = PLAIN_VERSION


def write_refer(
    folder: Path,
    *,
    seed: int,
    train: int,
    val: int,
    test: int,
    size: int = 96,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Draw pictures with expressions and put them at `folder`, whole or not at all; see `write_coco`.

    Args:
        train: pictures of that split; each has two to four things with two or three expressions.

    Raises:
        UserError: the folder holds something that this function did not write.
    """
    request = ReferRequest(seed=seed, train=train, val=val, test=test, size=size)
    jobs = [
        ReferJob(f"{PICTURES}/MINI_{index:012d}.jpg", seed, index, size, split, last=k == count - 1)
        for split, count in (("train", train), ("val", val), ("test", test))
        for k, index in enumerate(range(_STARTS[split], _STARTS[split] + count))
    ]

    def annotations(drawn: Sequence[DrawnReferred]) -> dict[str, Any]:
        # Through JSON, so that no text is one object at two places: a pickle would say so.
        refs = json.loads(json.dumps([ref for each in drawn for ref in each.refs]))
        return {
            REFS: pickle.dumps(refs, protocol=0).decode("ascii"),
            INSTANCES: {
                "info": {"description": "ricebench miniature world", **request.model_dump()},
                "images": [each.image(size) for each in drawn],
                "annotations": [annotation for each in drawn for annotation in each.annotations],
                "categories": [{"id": k + 1, "name": name} for k, name in enumerate((*SHAPES, "word"))],
            },
        }

    return write_world(folder, request, jobs, annotations, workers=workers, progress=progress)


@dataclass(frozen=True)
class ReferJob:
    """One picture with its references to draw."""

    file: str
    """Relative to the folder."""
    seed: int
    index: int
    size: int
    split: str
    last: bool
    """Of its split: it has a reference to what is not there."""

    def write(self, folder: Path) -> DrawnReferred:
        scene, masks = draw_plain_masks(self.seed, self.index, size=self.size)
        data = encode(scene.pixels_HW3, ".jpg")
        (folder / self.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / self.file).write_bytes(data)
        drawn = [polygons_of(mask_HW, overlapping=bool(k % 2)) for k, mask_HW in enumerate(masks.things)]
        left, top, right, bottom = map(float, masks.word_box)
        drawn.append([[left, top, right, top, right, bottom, left, bottom]])
        pixels = bytes_digest(scene.pixels_HW3.tobytes() + json.dumps(drawn).encode())
        refs, annotations = _references(self, scene, drawn)
        return DrawnReferred(self.file, self.index, bytes_digest(data), pixels, refs, annotations)


@dataclass(frozen=True)
class DrawnReferred:
    """A picture that is written, and what is said of it. It travels between processes."""

    file: str
    index: int
    sha256: str
    pixels: str
    refs: list[dict[str, Any]]
    annotations: list[dict[str, Any]]

    @property
    def files(self) -> dict[str, str]:
        return {self.file: self.sha256}

    def image(self, size: int) -> dict[str, Any]:
        return {"id": self.index, "file_name": self.file.rpartition("/")[2], "height": size, "width": size}


def polygons_of(mask_HW: npt.NDArray[np.bool_], *, overlapping: bool = False) -> list[Polygon]:
    """Polygons along the edges of pixels whose union is the mask, as pycocotools draws them; none has a hole.

    Args:
        overlapping: let the first that is tall enough be two that share some rows.
    """
    done: list[list[tuple[int, int, int]]] = []
    open_: list[list[tuple[int, int, int]]] = []
    for y, row_W in enumerate(mask_HW):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row_W, [False]]).astype(int))).tolist()
        runs = list(zip(edges[::2], edges[1::2], strict=True))
        below = {run: [strip for strip in open_ if strip[-1][1] < run[1] and run[0] < strip[-1][2]] for run in runs}
        # A strip goes on where it meets one run alone, and that run no other strip.
        going = []
        for run in runs:
            met = below[run]
            alone = len(met) == 1 and sum(met[0] in others for others in below.values()) == 1
            strip = met[0] if alone else []
            strip.append((y, *run))
            going.append(strip)
        done += [strip for strip in open_ if not any(strip is each for each in going)]
        open_ = going
    strips = done + open_
    if overlapping and (tall := next((strip for strip in strips if len(strip) > 2 * _OVERLAP), None)):
        middle = len(tall) // 2
        strips = [each for each in strips if each is not tall] + [tall[: middle + _OVERLAP], tall[middle:]]
    return [_around(strip) for strip in strips]


def _around(strip: Sequence[tuple[int, int, int]]) -> Polygon:
    """Down its left edge and up its right one."""
    left = [number for y, x, _ in strip for number in (x, y, x, y + 1)]
    right = [number for y, _, x in reversed(strip) for number in (x, y + 1, x, y)]
    return [float(number) for number in (*left, *right)]


def _references(
    job: ReferJob, scene: PlainScene, drawn: Sequence[list[Polygon]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Entries of the pickle and of instances.json."""
    rng = np.random.Generator(np.random.PCG64([job.seed, job.index, 0xEF]))
    told = [(SHAPES.index(thing.shape), _of_thing(scene, k, rng)) for k, thing in enumerate(scene.things)]
    told.append((len(SHAPES), [f"the word {scene.word}", f"the word at the {PLACES[scene.word_quarter]}"]))
    masks = list(drawn)
    if job.last:
        absent = str(rng.choice([shape for shape in SHAPES if shape not in {each.shape for each in scene.things}]))
        told.append((SHAPES.index(absent), [f"the {absent}"]))
        masks.append([])
    refs, annotations = [], []
    for k, ((kind, sents), polygons) in enumerate(zip(told, masks, strict=True)):
        key = job.index * _MOST + k
        sentences = [
            {"tokens": sent.split(), "raw": f"{sent[0].upper()}{sent[1:]}. ", "sent_id": key * _MOST + n, "sent": sent}
            for n, sent in enumerate(sents)
        ]
        refs.append(
            {
                "sent_ids": [sentence["sent_id"] for sentence in sentences],
                # As REFER has it: no file is called so.
                "file_name": f"MINI_{job.index:012d}_{key}.jpg",
                "ann_id": key,
                "ref_id": key,
                "image_id": job.index,
                "split": job.split,
                "sentences": sentences,
                "category_id": kind + 1,
            }
        )
        truth = {"id": key, "image_id": job.index, "category_id": kind + 1, "iscrowd": 0}
        annotations.append(truth | {"bbox": _box(polygons), "segmentation": polygons})
    return refs, annotations


def _of_thing(scene: PlainScene, k: int, rng: np.random.Generator) -> list[str]:
    thing = scene.things[k]
    others = [other for other in scene.things if other is not thing]
    related = [
        f"the shape {how} the {other.shape}" for other in others for how in _HOW if _alone(scene, k, how, other.quarter)
    ]
    where = related[rng.integers(len(related))] if related else f"the shape at the {thing.place}"
    return [f"the {thing.colour} shape", f"the {thing.shape}", where]


_HOW = ("left of", "right of", "above", "below")


def _alone(scene: PlainScene, k: int, how: str, quarter: int) -> bool:
    """Whether the thing, and no other, lies so to what is in that quarter."""
    return [n for n, each in enumerate(scene.things) if _lies(each.quarter, how, quarter)] == [k]


def _lies(quarter: int, how: str, other: int) -> bool:
    (row, column), (rows, columns) = divmod(quarter, 2), divmod(other, 2)
    return {"left of": column < columns, "right of": column > columns, "above": row < rows, "below": row > rows}[how]


def _box(polygons: Sequence[Polygon]) -> list[float]:
    if not polygons:
        return [0.0, 0.0, 0.0, 0.0]
    xs, ys = ([number for polygon in polygons for number in polygon[start::2]] for start in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
