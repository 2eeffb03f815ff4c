"""The miniature world as a COCO-format folder.

    FOLDER/train/ val/                     one PNG a scene
    FOLDER/annotations/instances_*.json    objects, as COCO has them
    FOLDER/annotations/captions_*.json     captions, as COCO has them
    FOLDER/annotations/text_*.json         words, as TextOCR has them
    FOLDER/manifest.json

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
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from itertools import starmap
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from rice_core.digest import bytes_digest, file_digest, json_digest
from rice_core.errors import UserError
from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.captions import write_caption
from rice_core.world.layouts.annotations import Drawn, captions, instances, syllable_annotations, text, thing_annotation
from rice_core.world.scenes import WORLD_VERSION, Difficulty, Scene, draw_scene
from rice_core.world.shapes import Level, categories
from rice_core.world.words import SYLLABLES

MANIFEST = "manifest.json"
Annotate = Literal["objects", "syllables"]
VAL_START = 1_000_000
"""Index of the first val scene, so that val stays the same however many train scenes there are."""


class Request(Frozen):
    """What fixes every pixel of the folder."""

    seed: int
    train: int
    val: int
    size: int
    difficulty: float
    level: Level = "easy"
    annotate: Annotate = "objects"
    version: int = WORLD_VERSION


class Manifest(Frozen):
    format: Literal[2]
    """1 had neither captions nor text: such a folder is drawn again."""
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
    request = Request(seed=seed, train=train, val=val, size=size, difficulty=dial, level=level, annotate=annotate)
    folder = folder.absolute()
    if _holds(folder, request):
        return folder
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} holds files that are no miniature world; choose an empty folder.")
    drawn = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    try:
        _draw(drawn, request, workers, progress or Progress(quiet=True))
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


def _draw(folder: Path, request: Request, workers: int, progress: Progress) -> None:
    splits = {"train": range(request.train), "val": range(VAL_START, VAL_START + request.val)}
    jobs = [(split, index) for split, indices in splits.items() for index in indices]
    (folder / "annotations").mkdir(parents=True)
    for split in splits:
        (folder / split).mkdir()
    write = partial(_write_scene, folder, request)
    with contextlib.ExitStack() as stack:
        drawn: Iterable[Drawn] = starmap(write, jobs)
        if workers > 1 and jobs:
            # A fork of a process in which torch has started threads may hang.
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
            drawn = pool.map(write, *zip(*jobs, strict=True), chunksize=16)
        results = [each for _, each in zip(progress.track(jobs, "drawing scenes"), drawn, strict=True)]
    files = {result.file: result.sha256 for result in results}
    for split in splits:
        files |= _write_annotations(folder, request, split, [r for r in results if r.file.startswith(f"{split}/")])
    pixels = json_digest([result.pixels for result in results])
    manifest = Manifest(format=2, request=request, pixels=pixels, files=files)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1))


def _write_scene(folder: Path, request: Request, split: str, index: int) -> Drawn:
    """Runs in a worker: draws and writes one image."""
    scene = draw_scene(
        request.seed, index, size=request.size, difficulty=Difficulty.at(request.difficulty), level=request.level
    )
    buffer = BytesIO()
    Image.fromarray(scene.pixels_HW3).save(buffer, "PNG", compress_level=1)
    name = f"{split}/{index:07d}.png"
    (folder / name).write_bytes(buffer.getvalue())
    return Drawn(
        file=name,
        index=index,
        sha256=bytes_digest(buffer.getvalue()),
        pixels=_pixels_digest(scene),
        things=tuple(
            syllable_annotations(scene.words)
            if request.annotate == "syllables"
            else map(thing_annotation, scene.things)
        ),
        words=scene.words,
        caption=write_caption(scene, request.seed, index, request.level),
    )


def _pixels_digest(scene: Scene) -> str:
    digest = hashlib.sha256(scene.pixels_HW3.tobytes())
    for thing in scene.things:
        digest.update(bytes([thing.category]) + np.packbits(thing.mask_HW).tobytes())
    return digest.hexdigest()


def _write_annotations(folder: Path, request: Request, split: str, drawn: list[Drawn]) -> dict[str, str]:
    """Relative name of each file -> digest of its bytes."""
    # The easy level's files say what they said before there were levels: records are keyed by their bytes.
    asked = request.model_dump(exclude_defaults=True) | {"version": request.version}
    info = {"description": "ricebench miniature world", **asked}
    names = SYLLABLES if request.annotate == "syllables" else categories(request.level)
    bodies = {
        "instances": instances(drawn, size=request.size, names=names, info=info),
        "captions": captions(drawn, size=request.size, info=info),
        "text": text(drawn, size=request.size, split=split, info=info),
    }
    digests = {}
    for kind, body in bodies.items():
        data = json.dumps(body, separators=(",", ":")).encode()
        name = f"annotations/{kind}_{split}.json"
        (folder / name).write_bytes(data)
        digests[name] = bytes_digest(data)
    return digests


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
