"""COCO-format annotations -> samples. A bad entry is left out and listed with its reason; it never costs another one."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rice_core.datasets.nouns import Region, Sample
from rice_core.datasets.regions import BadEntry, read_region
from rice_core.datasets.splits import by_id, divide, role
from rice_core.digest import bytes_digest
from rice_core.errors import UserError
from rice_core.images import MAX_PIXELS
from rice_core.record import Skipped


@dataclass(frozen=True)
class Coco:
    """What a COCO-format folder holds."""

    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    annotations: Mapping[str, str]
    """Relative name of every annotation file that was used -> sha256 of its bytes."""
    skipped: tuple[Skipped, ...]
    n_regions: int


def annotation_files(folder: Path) -> dict[str, Path]:
    """Split, as the files call it (`train2017`) -> its annotation file; empty where this is no COCO-format folder."""
    named = {path.stem.removeprefix("instances_"): path for path in sorted(folder.glob("annotations/instances_*.json"))}
    return named or {path.parent.name: path for path in sorted(folder.glob("*/_annotations.coco.json"))}


def read_coco(folder: Path) -> Coco:
    """Read all annotation files of a folder; classes are the categories by id, joined over the files by name.

    Raises:
        UserError: a file is no JSON of the COCO form, two files claim one split, or no image is left.
    """
    skipped: list[Skipped] = []
    files = _by_role(annotation_files(folder), folder, skipped)
    classes: dict[str, int] = {}
    splits: dict[str, tuple[Sample, ...]] = {}
    digests: dict[str, str] = {}
    for part, (split, path) in files.items():
        relative = path.relative_to(folder).as_posix()
        data = path.read_bytes()
        digests[relative] = bytes_digest(data)
        reader = _File(_parse(data, relative), relative, classes, skipped)
        splits[part] = by_id(reader.samples(folder, _image_folders(folder, split, path)))
    if not any(splits.values()):
        first = f" The first reason: {skipped[0].item}: {skipped[0].reason}." if skipped else ""
        raise UserError(
            f"No image of {', '.join(digests)} can be used; put the images into <split>/ or images/ of the folder.{first}"
        )
    if "all" in splits:
        splits = divide(splits["all"])
    n_regions = sum(len(sample.regions) for samples in splits.values() for sample in samples)
    return Coco(tuple(classes), splits, digests, tuple(skipped), n_regions)


def _by_role(files: Mapping[str, Path], folder: Path, skipped: list[Skipped]) -> dict[str, tuple[str, Path]]:
    """ "train" and "val", or "all" for the one file that is to be divided -> the split as named, and its file."""
    if len(files) == 1:
        return {"all": next(iter(files.items()))}
    found: dict[str, tuple[str, Path]] = {}
    for split, path in files.items():
        part = role(split)
        if part is None:
            skipped.append(Skipped(item=path.relative_to(folder).as_posix(), reason="is neither train nor val"))
        elif part in found:
            raise UserError(
                f"{folder} has two {part} sets, {found[part][0]} and {split}; keep one annotation file a split."
            )
        else:
            found[part] = (split, path)
    if "val" in found and "test" in found:
        path = found.pop("test")[1]
        skipped.append(Skipped(item=path.relative_to(folder).as_posix(), reason="is a test split beside a val split"))
    if "test" in found:
        found["val"] = found.pop("test")
    if not found:
        raise UserError(
            f"{folder} has no train or val set among {', '.join(files)}; rename one to instances_train.json."
        )
    return found if len(found) == 2 else {"all": next(iter(found.values()))}


def _image_folders(folder: Path, split: str, annotation: Path) -> list[Path]:
    """Where the images of a split may be, the likeliest first."""
    if annotation.name == "_annotations.coco.json":
        return [annotation.parent]
    plain = split.rstrip("0123456789_-")
    alike = sorted(path for path in folder.glob("*") if path.name.startswith(plain))
    inside = sorted(path for path in folder.glob("images/*") if path.name.startswith(plain))
    likely = [folder / split, folder / plain, folder / "images" / split, folder / "images" / plain, *alike, *inside]
    return [path for path in dict.fromkeys([*likely, folder / "images", folder]) if path.is_dir()]


def _parse(data: bytes, relative: str) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{relative} is no JSON ({' '.join(str(error).split())[:80]}); export it again.") from None
    lists = ("images", "annotations", "categories")
    if not isinstance(body, dict) or not all(isinstance(body.get(key), list) for key in lists):
        raise UserError(f"{relative} has no lists {', '.join(lists)}; it is not in COCO format, export it again.")
    return body


class _File:
    """One annotation file while it is read. `classes` (name -> index) grows over the files of a folder."""

    def __init__(self, body: dict[str, Any], name: str, classes: dict[str, int], skipped: list[Skipped]) -> None:
        self.body, self.name, self.classes, self.skipped = body, name, classes, skipped

    def samples(self, folder: Path, places: list[Path]) -> list[Sample]:
        categories = self._categories()
        images: dict[Any, Sample] = {}
        seen: set[str] = set()
        # Annotations of an image that was itself left out need no second mention.
        left_out: set[Any] = set()
        for item, entry in self._entries("images", "image"):
            key = _key(entry.get("id"))
            try:
                if key is None:
                    raise BadEntry("has no usable id")
                if key in images:
                    raise BadEntry("has the id of an earlier image")
                sample = _image(entry, folder, places)
                if sample.id in seen:
                    raise BadEntry(f"names {sample.id}, as an earlier image does")
                seen.add(sample.id)
                images[key] = sample
            except BadEntry as reason:
                left_out.add(key)
                self._skip(item, reason)
        regions = self._regions(categories, images, left_out)
        return [
            Sample(id=s.id, path=s.path, size_hw=s.size_hw, regions=tuple(regions.get(key, ())))
            for key, s in images.items()
        ]

    def _categories(self) -> dict[Any, int]:
        labels: dict[Any, int] = {}
        entries = list(self._entries("categories", "category"))
        for item, entry in sorted(entries, key=lambda pair: _order(pair[1].get("id"))):
            key, name = _key(entry.get("id")), entry.get("name")
            if key is None or not isinstance(name, str) or not name.strip():
                self._skip(item, "has no usable id or name")
            elif key in labels:
                self._skip(item, "has the id of an earlier category")
            else:
                labels[key] = self.classes.setdefault(name.strip(), len(self.classes))
        return labels

    def _regions(
        self, categories: dict[Any, int], images: dict[Any, Sample], left_out: set[Any]
    ) -> dict[Any, list[Region]]:
        regions: dict[Any, list[Region]] = {}
        seen: set[Any] = set()
        for item, entry in self._entries("annotations", "annotation"):
            key, image = _key(entry.get("id")), _key(entry.get("image_id"))
            try:
                if key is not None and key in seen:
                    raise BadEntry("has the id of an earlier annotation")
                seen.add(key)
                if image not in images:
                    if image is None or image not in left_out:
                        raise BadEntry(f"belongs to no image of the file (image_id {entry.get('image_id')!r:.40})")
                    continue
                if (category := _key(entry.get("category_id"))) not in categories:
                    raise BadEntry(f"has an unknown category ({entry.get('category_id')!r:.40})")
                if entry.get("iscrowd"):
                    continue
                region = read_region(entry, categories[category], images[image].size_hw)
                regions.setdefault(image, []).append(region)
            except BadEntry as reason:
                self._skip(item, reason)
        return regions

    def _entries(self, key: str, noun: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(how to call it, entry); what is no object is listed."""
        for place, entry in enumerate(self.body[key]):
            if isinstance(entry, dict):
                yield f"{noun} {entry.get('id', f'at place {place}')!s:.60}", entry
            else:
                self._skip(f"{noun} at place {place}", "is no JSON object")

    def _skip(self, item: str, reason: object) -> None:
        self.skipped.append(Skipped(item=f"{self.name}: {item}", reason=str(reason)))


def _image(entry: dict[str, Any], folder: Path, places: list[Path]) -> Sample:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name.strip():
        raise BadEntry("has no file_name")
    size = _size(entry)
    path = _find(name, places)
    return Sample(id=path.relative_to(folder).as_posix(), path=path, size_hw=size)


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    if height is None and width is None:
        return None
    whole = [int(v) for v in (height, width) if isinstance(v, (int, float)) and not isinstance(v, bool) and v == v // 1]
    if len(whole) != 2 or min(whole) < 1:
        raise BadEntry(f"has no usable size ({width!r:.20} x {height!r:.20})")
    if whole[0] * whole[1] > MAX_PIXELS:
        raise BadEntry(f"has {whole[1]} x {whole[0]} pixels, more than the limit of {MAX_PIXELS}")
    return whole[0], whole[1]


def _find(name: str, places: list[Path]) -> Path:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    # A file made on Windows may hide `..\\x` from a POSIX reader, and the other way round.
    if posix.is_absolute() or windows.anchor or ".." in (*posix.parts, *windows.parts) or "\0" in name:
        raise BadEntry(f"has a file_name that leaves the folder ({name!r:.80})")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadEntry("has a file_name that is no valid Unicode") from None
    for place in places:
        path = place / posix
        try:
            if stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - once an image of a large set, so it has to be cheap
                return path
        except (OSError, ValueError):
            continue
    raise BadEntry(f"has no file {name!r:.80}")


def _key(value: Any) -> int | str | None:
    """An id as COCO tools write it: a whole number or a string; else None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _order(value: Any) -> tuple[int, int, str]:
    """Numbers by value, then strings."""
    return (0, value, "") if isinstance(value, int) else (1, 0, str(value))
