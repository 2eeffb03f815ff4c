"""A world's folder: drawn whole or not at all, used again when it is there, drawn again when it is damaged.

The manifest says what was asked for and what came out. `pixels` in it is over the arrays: the bytes of PNG and JPEG depend
on the libraries at hand, what is drawn does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from rice_core.digest import bytes_digest, file_digest, json_digest
from rice_core.disk.files import refuse_links
from rice_core.disk.temporaries import beside, sweep_beside
from rice_core.errors import UserError
from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.workers import pool_of
from rice_core.world.captions import write_caption
from rice_core.world.layouts.annotations import DrawnScene, syllable_annotations, thing_annotation
from rice_core.world.scenes import Difficulty, Scene, draw_scene
from rice_core.world.shapes import Level

MANIFEST = "manifest.json"
Annotate = Literal["objects", "syllables"]


class DrawnImages(Protocol):
    """What a drawing is, once its images are written. It travels between processes."""

    @property
    def files(self) -> Mapping[str, str]:
        """Those that it wrote: name relative to the folder -> sha256 of the bytes."""

    @property
    def pixels(self) -> str:
        """Digest of the arrays."""


DrawnT = TypeVar("DrawnT", bound=DrawnImages)
DrawnT_co = TypeVar("DrawnT_co", bound=DrawnImages, covariant=True)
Annotations = Callable[[Sequence[DrawnT]], Mapping[str, Any]]
"""What was drawn, in order -> the annotation files: name relative to the folder -> text as it stands, or what its JSON says."""


class DrawJob(Protocol[DrawnT_co]):
    """One scene, or one clip, to draw."""

    def write(self, folder: Path) -> DrawnT_co:
        """Draw it and write its images below `folder`, in a worker."""


@dataclass(frozen=True)
class Job:
    """One scene to draw."""

    file: str
    """Where its image goes, relative to the folder: .png, or .jpg with a little loss."""
    seed: int
    index: int
    size: int
    difficulty: float
    level: Level
    annotate: Annotate = "objects"

    def write(self, folder: Path) -> DrawnScene:
        return _write_scene(folder, self)


class Manifest(Frozen):
    format: Literal[2]
    """1 had neither captions nor text: such a folder is drawn again."""
    request: dict[str, Any]
    pixels: str
    """Over the arrays and masks of all scenes or clips, in order."""
    files: dict[str, str]
    """Relative name -> sha256 of the bytes."""


def write_world(
    folder: Path,
    request: Frozen,
    jobs: Sequence[DrawJob[DrawnT]],
    annotations: Annotations[DrawnT],
    *,
    places: Iterable[str] = (),
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Draw the jobs and put them at `folder`, whole or not at all; a folder that already holds them is used as it is.

    Args:
        request: what fixes every pixel and every annotation; a folder that was written for another one is replaced.
        places: folders that are there even without an image.
        workers: processes that draw. The result does not depend on it. More than one needs an importable main module.

    Raises:
        UserError: the folder holds something that this function did not write, or is a link.
    """
    folder = folder.absolute()
    if _holds(folder, request):
        return folder
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} holds files that are no miniature world; choose an empty folder.")
    refuse_links(folder.parent, folder)
    sweep_beside(folder)
    drawn = beside(folder)
    try:
        for place in {"", *places}:
            (drawn / place).mkdir(parents=True, exist_ok=True)
        _draw(drawn, request, jobs, annotations, workers, progress or Progress(quiet=True))
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


def _holds(folder: Path, request: Frozen) -> bool:
    """Whether the folder holds what was asked for, byte for byte as it was written."""
    manifest = read_manifest(folder)
    try:
        if manifest is None or type(request).model_validate(manifest.request) != request:
            return False
        return all(file_digest(folder / name) == digest for name, digest in manifest.files.items())
    except (OSError, ValueError):
        return False


def _draw(
    folder: Path,
    request: Frozen,
    jobs: Sequence[DrawJob[DrawnT]],
    annotations: Annotations[DrawnT],
    workers: int,
    progress: Progress,
) -> None:
    write = partial(_write, folder)
    with contextlib.ExitStack() as stack:
        drawn: Iterable[DrawnT] = map(write, jobs)
        if workers > 1 and jobs:
            drawn = stack.enter_context(pool_of(workers)).map(write, jobs, chunksize=16)
        results = [each for _, each in zip(progress.track(jobs, "drawing"), drawn, strict=True)]
    files = {name: sha256 for result in results for name, sha256 in result.files.items()}
    for name, body in annotations(results).items():
        data = (body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))).encode()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        files[name] = bytes_digest(data)
    pixels = json_digest([result.pixels for result in results])
    manifest = Manifest(format=2, request=request.model_dump(mode="json"), pixels=pixels, files=files)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1))


def _write(folder: Path, job: DrawJob[DrawnT]) -> DrawnT:
    """Runs in a worker."""
    return job.write(folder)


def _write_scene(folder: Path, job: Job) -> DrawnScene:
    """Draws and writes one image."""
    scene = draw_scene(job.seed, job.index, size=job.size, difficulty=Difficulty.at(job.difficulty), level=job.level)
    data = encode(scene.pixels_HW3, Path(job.file).suffix)
    (folder / job.file).parent.mkdir(parents=True, exist_ok=True)
    (folder / job.file).write_bytes(data)
    things = syllable_annotations(scene.words) if job.annotate == "syllables" else map(thing_annotation, scene.things)
    return DrawnScene(
        file=job.file,
        index=job.index,
        sha256=bytes_digest(data),
        pixels=_pixels_digest(scene),
        things=tuple(things),
        words=scene.words,
        caption=write_caption(scene, job.seed, job.index, job.level),
    )


def encode(pixels_HW3: npt.NDArray[np.uint8], suffix: str) -> bytes:
    """An image file's bytes: .png, or else JPEG with a little loss."""
    buffer = BytesIO()
    image = Image.fromarray(pixels_HW3)
    if suffix == ".png":
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _pixels_digest(scene: Scene) -> str:
    digest = hashlib.sha256(scene.pixels_HW3.tobytes())
    for thing in scene.things:
        digest.update(bytes([thing.category]) + np.packbits(thing.mask_HW).tobytes())
    return digest.hexdigest()


def _put_in_place(drawn: Path, folder: Path, request: Frozen) -> None:
    """Rename; what was at `folder` is an older world of ours, or another process that drew the same was faster."""
    old = beside(folder)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    try:
        drawn.rename(folder)
    except OSError:
        if not _holds(folder, request):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
