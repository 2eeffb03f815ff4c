"""The truth of drawn scenes as annotation files say it: COCO instances and captions, TextOCR words.

An object's area is what is seen of it; a word's box lies around all of its ink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from rice_core.world.scenes import SceneObject
from rice_core.world.words import SYLLABLES, Word


@dataclass(frozen=True)
class DrawnScene:
    """A scene whose image is written: what the annotations need of it, and digests. It travels between processes."""

    file: str
    """`<split>/<name>`, relative to the folder."""
    index: int
    sha256: str
    """Of the file's bytes."""
    pixels: str
    """Digest of the arrays."""
    things: tuple[dict[str, Any], ...]
    """COCO annotations that still lack their ids."""
    words: tuple[Word, ...]
    caption: str

    @property
    def files(self) -> dict[str, str]:
        return {self.file: self.sha256}


def thing_annotation(thing: SceneObject) -> dict[str, Any]:
    """An object in COCO's form, its mask run-length encoded; categories count from 1."""
    return {
        "category_id": thing.category + 1,
        "bbox": list(map(float, thing.box_xywh)),
        "area": int(np.count_nonzero(thing.mask_HW)),
        "iscrowd": 0,
        "segmentation": run_lengths(thing.mask_HW),
    }


def syllable_annotations(words: Sequence[Word]) -> tuple[dict[str, Any], ...]:
    """Every syllable of every word as an object of its own, in COCO's form; it has a box and no mask."""
    return tuple(
        {
            "category_id": SYLLABLES.index(syllable) + 1,
            "bbox": [round(side, 3) for side in box_xywh],
            "area": round(box_xywh[2] * box_xywh[3], 3),
            "iscrowd": 0,
        }
        for word in words
        for syllable, box_xywh in word.syllables
    )


def run_lengths(mask_HW: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths, as JSON holds them."""
    encoded = coco_mask.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
    return {"size": list(mask_HW.shape), "counts": encoded["counts"].decode()}


def instances(drawn: Sequence[DrawnScene], *, size: int, names: Sequence[str], info: dict[str, Any]) -> dict[str, Any]:
    """`instances_*.json` of COCO."""
    annotations: list[dict[str, Any]] = []
    for scene in drawn:
        for thing in scene.things:
            annotations.append({"id": len(annotations) + 1, "image_id": scene.index, **thing})
    return {
        "info": info,
        "images": _images(drawn, size),
        "annotations": annotations,
        "categories": [
            {"id": k + 1, "name": name, "supercategory": name.split("-")[0]} for k, name in enumerate(names)
        ],
    }


def captions(drawn: Sequence[DrawnScene], *, size: int, info: dict[str, Any]) -> dict[str, Any]:
    """`captions_*.json` of COCO."""
    lines = [{"id": k, "image_id": s.index, "caption": s.caption} for k, s in enumerate(drawn, start=1)]
    return {"info": info, "images": _images(drawn, size), "annotations": lines}


def text(drawn: Sequence[DrawnScene], *, size: int, split: str, info: dict[str, Any]) -> dict[str, Any]:
    """TextOCR's form: ids are texts, and file names begin with the split."""
    images, words, of_image = {}, {}, {}
    for scene in drawn:
        image = str(scene.index)
        images[image] = {"id": image, "width": size, "height": size, "set": split, "file_name": scene.file}
        named = {f"{image}_{k}": word for k, word in enumerate(scene.words, start=1)}
        words.update({name: _word_annotation(name, image, word) for name, word in named.items()})
        of_image[image] = list(named)
    return {"info": info, "imgs": images, "anns": words, "imgToAnns": of_image}


def _images(drawn: Sequence[DrawnScene], size: int) -> list[dict[str, Any]]:
    return [{"id": s.index, "file_name": Path(s.file).name, "height": size, "width": size} for s in drawn]


def _word_annotation(name: str, image: str, word: Word) -> dict[str, Any]:
    x, y, w, h = map(float, word.box_xywh)
    return {
        "id": name,
        "image_id": image,
        "bbox": [x, y, w, h],
        "utf8_string": word.text,
        "points": [x, y, x + w, y, x + w, y + h, x, y + h],
        "area": w * h,
    }
