"""The miniature world as a COCO-format folder: train/, val/, annotations/instances_*.json and a manifest.

The manifest says what was asked for and what came out, so that a finished folder is used again and a damaged one is
drawn again. `pixels` in it is over the arrays: PNG bytes depend on the zlib at hand, what is drawn does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import secrets
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from itertools import starmap
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from rice_core.digest import bytes_digest, file_digest, json_digest
from rice_core.errors import UserError
from rice_core.spec import Frozen
from rice_core.world.scenes import WORLD_VERSION, Difficulty, Scene, draw_scene
from rice_core.world.shapes import CATEGORIES

MANIFEST = "manifest.json"
VAL_START = 1_000_000
"""Index of the first val scene, so that val stays the same however many train scenes there are."""


class Request(Frozen):
    """What fixes every pixel of the folder."""

    seed: int
    train: int
    val: int
    size: int
    difficulty: float
    version: int = WORLD_VERSION


class Manifest(Frozen):
    request: Request
    pixels: str
    """Over the arrays and masks of all scenes, in order."""
    files: dict[str, str]
    """Relative name -> sha256 of the bytes."""


def write_coco(
    folder: Path,
    *,
    seed: int,
    train: int,
    val: int,
    size: int = 96,
    difficulty: Literal["easy"] | float = "easy",
    workers: int = 1,
) -> Path:
    """Draw a world and put it at `folder`, whole or not at all; a folder that already holds it is used as it is.

    Args:
        train: scenes 0, 1, ... of the world `seed`; `val` counts from VAL_START.
        difficulty: 0 ("easy") to 1; see `scenes.Difficulty`.
        workers: processes that draw. The result does not depend on it. More than one needs an importable main module.

    Raises:
        UserError: the folder holds something that this function did not write.
    """
    level = 0.0 if difficulty == "easy" else float(difficulty)
    request = Request(seed=seed, train=train, val=val, size=size, difficulty=level)
    folder = folder.absolute()
    if _holds(folder, request):
        return folder
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} holds files that are no miniature world; choose an empty folder.")
    drawn = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    try:
        _draw(drawn, request, workers)
        _put_in_place(drawn, folder, request)
    finally:
        shutil.rmtree(drawn, ignore_errors=True)
    return folder


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a written folder; None where there is none that can be read."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None


def _holds(folder: Path, request: Request) -> bool:
    """Whether the folder holds what was asked for, byte for byte as it was written."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.request != request:
        return False
    try:
        return all(file_digest(folder / name) == digest for name, digest in manifest.files.items())
    except OSError:
        return False


def _draw(folder: Path, request: Request, workers: int) -> None:
    splits = {"train": range(request.train), "val": range(VAL_START, VAL_START + request.val)}
    jobs = [(split, index) for split, indices in splits.items() for index in indices]
    (folder / "annotations").mkdir(parents=True)
    for split in splits:
        (folder / split).mkdir()
    write = partial(_write_scene, folder, request)
    if workers > 1:
        # A fork of a process in which torch has started threads may hang.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            results = list(pool.map(write, *zip(*jobs, strict=True), chunksize=16)) if jobs else []
    else:
        results = list(starmap(write, jobs))
    files = {result["file"]: result["sha256"] for result in results}
    for split in splits:
        body = _instances([r for (of, _), r in zip(jobs, results, strict=True) if of == split], request)
        name = f"annotations/instances_{split}.json"
        data = json.dumps(body, separators=(",", ":")).encode()
        (folder / name).write_bytes(data)
        files[name] = bytes_digest(data)
    pixels = json_digest([result["pixels"] for result in results])
    manifest = Manifest(request=request, pixels=pixels, files=files)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1))


def _write_scene(folder: Path, request: Request, split: str, index: int) -> dict[str, Any]:
    """Runs in a worker: draws and writes one image, returns what the annotations need."""
    scene = draw_scene(request.seed, index, size=request.size, difficulty=Difficulty.at(request.difficulty))
    buffer = BytesIO()
    Image.fromarray(scene.pixels_HW3).save(buffer, "PNG", compress_level=1)
    name = f"{split}/{index:07d}.png"
    (folder / name).write_bytes(buffer.getvalue())
    return {
        "file": name,
        "index": index,
        "sha256": bytes_digest(buffer.getvalue()),
        "pixels": _pixels_digest(scene),
        "things": [_annotation(thing.category, thing.box_xywh, thing.mask_HW) for thing in scene.things],
    }


def _pixels_digest(scene: Scene) -> str:
    digest = hashlib.sha256(scene.pixels_HW3.tobytes())
    for thing in scene.things:
        digest.update(bytes([thing.category]) + np.packbits(thing.mask_HW).tobytes())
    return digest.hexdigest()


def _annotation(category: int, box_xywh: tuple[int, ...], mask_HW: Any) -> dict[str, Any]:
    run_lengths = coco_mask.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
    return {
        "category_id": category + 1,
        "bbox": list(map(float, box_xywh)),
        "area": int(np.count_nonzero(mask_HW)),
        "iscrowd": 0,
        "segmentation": {"size": list(mask_HW.shape), "counts": run_lengths["counts"].decode()},
    }


def _instances(results: list[dict[str, Any]], request: Request) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for result in results:
        name = Path(result["file"]).name
        images.append({"id": result["index"], "file_name": name, "height": request.size, "width": request.size})
        for thing in result["things"]:
            annotations.append({"id": len(annotations) + 1, "image_id": result["index"], **thing})
    categories = [{"id": k + 1, "name": name, "supercategory": name.split("-")[0]} for k, name in enumerate(CATEGORIES)]
    return {
        "info": {"description": "ricebench miniature world", **request.model_dump()},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def _put_in_place(drawn: Path, folder: Path, request: Request) -> None:
    """Rename; what was at `folder` is an older world of ours, or another process that drew the same was faster."""
    old = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.old.tmp"
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    try:
        drawn.rename(folder)
    except OSError:
        if not _holds(folder, request):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
