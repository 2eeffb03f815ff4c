"""The last stage: labelled samples -> WebDataset shards. The same samples give the same bytes."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from pydantic import ValidationError

from rice_core.digest import file_digest
from rice_core.disk.files import write_atomically
from rice_core.disk.temporaries import beside
from rice_core.errors import StoreError
from rice_core.images import load_image
from rice_core.rice.curate.nouns import SourceImage
from rice_core.rice.regions import RegionSample, Shard

_UPRIGHT = 1
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ShardSample:
    """One member pair of a shard before its image is read."""

    source: SourceImage
    regions: RegionSample

    @property
    def key(self) -> str:
        """The same for the same file name in every curation; a training's crops are drawn from it."""
        return hashlib.sha256(self.source.id.encode()).hexdigest()[:16]


def write_shards(out: Path, samples: Iterable[ShardSample], *, per_shard: int, notes: Path) -> Iterator[Shard]:
    """Write `shard-*.tar` into `out`, `per_shard` samples each, and yield each when it is there.

    Args:
        notes: folder with one note a finished shard; a shard that a note describes is not written again.
    """
    waiting: list[ShardSample] = []
    number = 0
    for sample in samples:
        waiting.append(sample)
        if len(waiting) == per_shard:
            yield _shard(out, number, waiting, notes)
            waiting, number = [], number + 1
    if waiting:
        yield _shard(out, number, waiting, notes)


def _shard(out: Path, number: int, samples: list[ShardSample], notes: Path) -> Shard:
    path, note = out / f"shard-{number:06d}.tar", notes / f"{number:06d}.json"
    if path.is_file() and note.is_file():
        try:
            return Shard.model_validate_json(note.read_bytes())
        except ValidationError:
            note.unlink()
    _write_tar(path, samples)
    shard = Shard(file=path.name, samples=len(samples), sha256=file_digest(path))
    write_atomically(note, shard.model_dump_json().encode())
    return shard


def _write_tar(path: Path, samples: list[ShardSample]) -> None:
    """Beside its place, flushed, renamed; a shard may be too large to be held in memory first."""
    temporary = beside(path)
    try:
        with temporary.open("wb") as file:
            # WebDataset's format is a plain tar; its own writer would import torch for it.
            with tarfile.open(fileobj=file, mode="w") as tar:
                for sample in samples:
                    suffix, image = stored_image(sample.source.path)
                    body = sample.regions.model_dump_json(exclude_defaults=True).encode()
                    for name, data in ((f"{sample.key}.{suffix}", image), (f"{sample.key}.json", body)):
                        member = tarfile.TarInfo(name)
                        member.size = len(data)
                        tar.addfile(member, BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(
            f"{path} cannot be written ({error.strerror}); what was finished is safe: make room, then run the same command again."
        ) from error


def stored_image(path: Path) -> tuple[str, bytes]:
    """("jpg" | "png", bytes): the file as it is, where every decoder sees the same upright RGB or gray in it.

    A turned, transparent, 16-bit or otherwise formatted image is stored as the PNG of what was looked at.
    """
    data = path.read_bytes()
    image = Image.open(BytesIO(data))
    suffix = {"JPEG": "jpg", "PNG": "png"}.get(image.format or "")
    plain = image.mode in ("RGB", "L") and "transparency" not in image.info
    if suffix is not None and plain and _orientation(image) == _UPRIGHT:
        return suffix, data
    buffer = BytesIO()
    load_image(path).save(buffer, "PNG", compress_level=6)
    return "png", buffer.getvalue()


def _orientation(image: Image.Image) -> int | None:
    """None for an EXIF block that cannot be read: decoders may differ there."""
    try:
        return int(image.getexif().get(_ORIENTATION, _UPRIGHT))
    except Exception:  # a decoder may raise anything on damaged bytes
        return None
