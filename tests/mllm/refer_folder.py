"""A folder in REFER's own layout, written by hand."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

SQUARE = [10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]
"""100 pixels."""
BESIDE = [16.0, 16.0, 26.0, 16.0, 26.0, 26.0, 16.0, 26.0]
"""100 pixels, of which 16 are SQUARE's too."""
SIZE_HW = (40, 60)


def reference(
    ref: int, split: str, sents: list[str], *, ann: int | None = None, image: int | None = None
) -> dict[str, Any]:
    """Sentences are numbered on from ten times their reference's number; its picture has the reference's."""
    image = ref if image is None else image
    return {
        "sent_ids": [10 * ref + k for k in range(len(sents))],
        "file_name": f"COCO_train2014_{image:012d}_{ref}.jpg",
        "ann_id": ref if ann is None else ann,
        "ref_id": ref,
        "image_id": image,
        "split": split,
        "sentences": [
            {"tokens": sent.split(), "raw": sent.upper(), "sent_id": 10 * ref + k, "sent": sent}
            for k, sent in enumerate(sents)
        ],
        "category_id": 1,
    }


def annotation(key: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": key,
        "image_id": key,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [1, 2, 3, 4],
        "segmentation": segmentation,
        **more,
    }


def write_refer(
    folder: Path,
    refs: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    *,
    file: str = "refs(unc).p",
    pictures: str = "",
) -> Path:
    """Args: folder: of one data set, such as refcoco. pictures: where they are put, relative to the folder above it; nowhere if empty."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(pickle.dumps(refs, protocol=0))
    numbers = sorted({each["image_id"] for each in refs})
    height, width = SIZE_HW
    images = [{"id": n, "file_name": f"COCO_train2014_{n:012d}.jpg", "height": height, "width": width} for n in numbers]
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    if pictures:
        place = folder.parent / pictures
        place.mkdir(parents=True, exist_ok=True)
        for image in images:
            (place / image["file_name"]).write_bytes(b"picture")
    return folder
