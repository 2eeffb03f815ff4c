"""Tiny curated shards for tests: what a label says can be seen, so that a training on them can learn.

An object is a rectangle (or, by its mask, a disc) in the colour of its cluster; a line of text is a strip of bars, one a
token, in the colours of its tokens. The image's cluster is that of its first object.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from rice_core.digest import bytes_digest
from rice_core.rice.regions import MANIFEST, Bank, RegionManifest, Shard


def write_shards(
    folder: Path,
    samples: int = 64,
    shards: int = 8,
    size: int = 48,
    classes: int = 10,
    tokens: int = 12,
    captions: bool = True,
    seed: int = 0,
) -> Path:
    """Shards of JPEG images with 1 to 3 objects and 0 to 2 lines of text, and their manifest; returns `folder`."""
    drawn = [draw(index, size, classes, tokens, captions, seed) for index in range(samples)]
    parts = [drawn[number::shards] for number in range(shards)]
    banks = {
        "object": Bank(classes=classes, what="colours"),
        "ocr": Bank(classes=tokens, what="bars"),
        "image": Bank(classes=classes, what="colour of the first object"),
    }
    return write_samples(folder, parts, banks)


def write_samples(folder: Path, parts: list[list[dict[str, Any]]], banks: dict[str, Bank]) -> Path:
    """One shard a part, of WebDataset samples as they are given (bytes stay bytes), and the manifest."""
    import webdataset

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, part in enumerate(parts):
        path = folder / f"shard-{number:06d}.tar"
        with webdataset.TarWriter(str(path), encoder=False, mtime=0) as writer:
            for sample in part:
                writer.write(sample)
        files.append(Shard(file=path.name, samples=len(part), sha256=bytes_digest(path.read_bytes())))
    manifest = RegionManifest(banks=banks, shards=tuple(files), counts={"images": sum(map(len, parts))})
    (folder / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def draw(index: int, size: int, classes: int, tokens: int, captions: bool, seed: int) -> dict[str, Any]:
    """The sample KEY = 000000INDEX: {"__key__", "jpg", "json"}, the last two as bytes."""
    rng = np.random.default_rng([seed, index])
    pixels_HW3 = rng.integers(200, 256, (size, size, 3), dtype=np.uint8)
    objects = [_object(pixels_HW3, rng, classes, masked=bool(rng.random() < 0.3)) for _ in range(rng.integers(1, 4))]
    lines = [_line(pixels_HW3, rng, tokens) for _ in range(rng.integers(0, 3))]
    body = {
        "width": size,
        "height": size,
        "regions": objects + lines,
        "image_labels": [objects[0]["labels"][0]],
        "caption": " ".join(f"colour{region['labels'][0]}" for region in objects) if captions else None,
        "source": f"{index:06d}.jpg",
    }
    return {"__key__": f"{index:09d}", "jpg": jpeg(pixels_HW3), "json": json.dumps(body).encode()}


def jpeg(pixels_HW3: np.ndarray) -> bytes:
    """Whole colours: no chroma subsampling."""
    file = io.BytesIO()
    Image.fromarray(pixels_HW3).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def colour(label: int, classes: int) -> np.ndarray:
    """The dark colour of a label, uint8 RGB."""
    return (np.random.default_rng([classes, label]).uniform(0, 170, 3)).astype(np.uint8)


def _object(pixels_HW3: np.ndarray, rng: np.random.Generator, classes: int, masked: bool) -> dict[str, Any]:
    size, label = len(pixels_HW3), int(rng.integers(classes))
    width, height = rng.integers(size // 5, size // 2, 2)
    left, top = int(rng.integers(size - width)), int(rng.integers(size - height))
    mask_HW = np.zeros(pixels_HW3.shape[:2], dtype=bool)
    mask_HW[top : top + height, left : left + width] = True
    if masked:
        y, x = np.mgrid[:size, :size] + 0.5
        mask_HW &= ((x - left - width / 2) / (width / 2)) ** 2 + ((y - top - height / 2) / (height / 2)) ** 2 <= 1
    pixels_HW3[mask_HW] = colour(label, classes)
    region = {"type": "object", "box": [left, top, left + int(width), top + int(height)], "labels": [label]}
    if masked:
        rle = coco_mask.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
        region["rle"] = {"size": [size, size], "counts": rle["counts"].decode()}
    return region


def _line(pixels_HW3: np.ndarray, rng: np.random.Generator, tokens: int) -> dict[str, Any]:
    size = len(pixels_HW3)
    labels = rng.permutation(tokens)[: rng.integers(1, 5)].tolist()
    height, wide = max(3, size // 12), max(2, size // 8)
    left, top = int(rng.integers(size - wide * len(labels) + 1)), int(rng.integers(size - height))
    for place, label in enumerate(labels):
        pixels_HW3[top : top + height, left + place * wide : left + (place + 1) * wide] = colour(label, tokens)
    box = [left, top, left + wide * len(labels), top + height]
    return {"type": "ocr", "box": box, "labels": labels, "text": " ".join(map(str, labels)), "score": 0.9}
