"""The images of a folder, and what lies beside them: COCO regions, annotated text, captions.

Images come in the order of their hashed names, so that every run of consecutive ones (a chunk, a shard, the first few of
a limit) is a random draw from the folder. A digest of what the listing depends on is found without reading it all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from rice_core.datasets.coco import read_coco
from rice_core.datasets.coco_files import annotation_files
from rice_core.datasets.nouns import Sample
from rice_core.datasets.regions import ANY
from rice_core.digest import file_digest, json_digest
from rice_core.errors import UserError
from rice_core.images import is_image_name
from rice_core.record import Skipped
from rice_core.rice.curate.nouns import SourceImage, TextLine
from rice_core.rice.curate.settings import CurateSettings

_TEXT_FILES = ("text_*.json", "TextOCR_*.json", "cocotext*.json")
_ILLEGIBLE = (".", "")
"""TextOCR writes a lone full stop for a word that cannot be read."""


def fingerprint(folder: Path, settings: CurateSettings) -> str:
    """Digest of all that `list_sources` reads: names and sizes of the images, bytes of the annotations.

    Raises:
        UserError: no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the folder that holds the images.")
    files = [*annotation_files(folder).values(), *_text_files(folder, settings), *_caption_files(folder, settings)]
    # Annotations of the miniature world fix its pixels; elsewhere a changed image nearly always has another size.
    beside = {".txt"} if settings.captions == "sidecar" else set()
    beside |= {".json"} if settings.proposals == "sa1b" else set()
    names = sorted(
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in _walk(folder)
        if is_image_name(path.name) or path.suffix in beside
    )
    return json_digest([names, {path.relative_to(folder).as_posix(): file_digest(path) for path in files}])


def list_sources(folder: Path, settings: CurateSettings) -> tuple[list[SourceImage], list[Skipped]]:
    """All images that the settings ask for, and what the annotations left out.

    Raises:
        UserError: no image, no such split, or annotations or captions that the settings ask for and are not there.
    """
    skipped: list[Skipped] = []
    if annotation_files(folder):
        coco = read_coco(folder)
        skipped += coco.skipped
        wanted = coco.splits if settings.split == "all" else {settings.split: coco.splits.get(settings.split, ())}
        sources = [_from_coco(sample) for samples in wanted.values() for sample in samples]
        where = f"split {settings.split!r} of {folder} (it has {', '.join(sorted(coco.splits))})"
    elif settings.proposals == "coco":
        raise UserError(
            f"{folder} has no annotations/instances_*.json for --proposals coco; choose --proposals classical, or another folder."
        )
    else:
        paths = [path for path in _walk(folder) if is_image_name(path.name)]
        sources = [SourceImage(id=path.relative_to(folder).as_posix(), path=path) for path in paths]
        where = str(folder)
    if not sources:
        raise UserError(f"{where} holds no image that can be listed; give the folder of the images.")
    sources.sort(key=lambda source: hashlib.sha256(source.id.encode()).digest())
    sources = sources[: settings.limit]
    return _with_captions(_with_text(sources, folder, settings), folder, settings), skipped


def category_names(folder: Path) -> tuple[str, ...]:
    """Of a COCO-format folder, in the order of their numbers; none of another folder."""
    return read_coco(folder).classes if annotation_files(folder) else ()


def _from_coco(sample: Sample) -> SourceImage:
    crowds = sum(crowd.label != ANY for crowd in sample.crowds)
    return SourceImage(id=sample.id, path=sample.path, size_hw=sample.size_hw, regions=sample.regions, crowds=crowds)


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder whose names are text, hidden ones left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file() and _is_text(path.as_posix()):
                yield path


def _is_text(name: str) -> bool:
    """Whether the file system's bytes were UTF-8, whatever they say: macOS writes a narrow no-break space into screenshots."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_text(sources: list[SourceImage], folder: Path, settings: CurateSettings) -> list[SourceImage]:
    """Add the annotated words, in TextOCR's or COCO-Text's form."""
    files = _text_files(folder, settings)
    if settings.text != "annotations":
        return sources
    if not files:
        raise UserError(
            f"{folder} has no annotations/text_*.json (TextOCR's or COCO-Text's form) for --text annotations; choose another --text."
        )
    found: dict[str, list[TextLine]] = {}
    for path in files:
        body = _read(path, folder)
        images, words = body.get("imgs"), body.get("anns")
        if not isinstance(images, dict) or not isinstance(words, dict):
            raise UserError(f"{path.relative_to(folder)} has no imgs and anns as TextOCR writes them; export it again.")
        names = {str(key): str(image.get("file_name", "")) for key, image in images.items() if isinstance(image, dict)}
        for word in words.values():
            line = _line(word) if isinstance(word, dict) else None
            if line is not None:
                found.setdefault(names.get(str(word.get("image_id")), ""), []).append(line)
    return _joined(sources, found, "lines", tuple)


def _line(word: Mapping[str, Any]) -> TextLine | None:
    """None for a word that cannot be read or has no box."""
    box, text = word.get("bbox"), word.get("utf8_string", "")
    if word.get("legibility", "legible") != "legible" or not isinstance(text, str) or text.strip() in _ILLEGIBLE:
        return None
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(edge, (int, float)) for edge in box):
        return None
    x, y, w, h = box
    return TextLine(box=(x, y, x + w, y + h), text=text, score=1.0)


def _with_captions(sources: list[SourceImage], folder: Path, settings: CurateSettings) -> list[SourceImage]:
    if settings.captions == "none":
        return sources
    if settings.captions == "coco":
        found: dict[str, str] = {}
        for path in _caption_files(folder, settings):
            body = _read(path, folder)
            names = {entry.get("id"): str(entry.get("file_name", "")) for entry in _entries(body, "images")}
            for entry in _entries(body, "annotations"):
                caption = str(entry.get("caption", "")).strip()
                if caption:
                    found.setdefault(names.get(entry.get("image_id"), ""), caption)
        sources = _joined(sources, found, "caption", str)
    else:
        sources = [dataclasses.replace(source, caption=_sidecar(source.path)) for source in sources]
    if not any(source.caption for source in sources):
        raise UserError(f"no image of {folder} has a caption for --captions {settings.captions}; leave the option out.")
    return sources


def _sidecar(path: Path) -> str | None:
    try:
        return path.with_suffix(".txt").read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _joined(sources: list[SourceImage], found: Mapping[str, Any], field: str, kind: Any) -> list[SourceImage]:
    """Give each source what its file name has: the whole relative name, else its last part."""
    by_name = {PurePosixPath(name).name: value for name, value in found.items()}
    joined = []
    for source in sources:
        value = found.get(source.id, by_name.get(source.path.name))
        joined.append(source if value is None else dataclasses.replace(source, **{field: kind(value)}))
    return joined


def _read(path: Path, folder: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.relative_to(folder)} is no JSON ({str(error)[:80]}); export it again.") from None
    if not isinstance(body, dict):
        raise UserError(f"{path.relative_to(folder)} holds no JSON object; export it again.")
    return body


def _entries(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of a list; what is no object in it, or has an id that cannot be one, belongs to no image."""
    listed = body.get(key)
    whole = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return [entry for entry in whole if not any(isinstance(entry.get(id_), (list, dict)) for id_ in ("id", "image_id"))]


def _text_files(folder: Path, settings: CurateSettings) -> list[Path]:
    if settings.text != "annotations":
        return []
    return sorted({path for top in (folder, folder / "annotations") for name in _TEXT_FILES for path in top.glob(name)})


def _caption_files(folder: Path, settings: CurateSettings) -> list[Path]:
    return sorted(folder.glob("annotations/captions_*.json")) if settings.captions == "coco" else []
