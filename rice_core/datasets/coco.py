"""COCO-format annotations -> samples. A bad entry is left out and listed with its reason; it never costs another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rice_core.datasets.coco_files import annotation_files, image_folder
from rice_core.datasets.entries import as_key, in_order, parse_coco, size_of
from rice_core.datasets.nouns import Region, Sample
from rice_core.datasets.places import Places
from rice_core.datasets.regions import BadEntry, is_crowd, read_region
from rice_core.datasets.splits import Judge, by_id, divide, judged, role
from rice_core.digest import bytes_digest
from rice_core.errors import UserError
from rice_core.record import Skipped


@dataclass(frozen=True)
class Coco:
    """What a COCO-format folder holds."""

    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    annotations: Mapping[str, str]
    """Relative name of every annotation file that was used -> sha256 of its bytes."""
    files: Mapping[str, Path]
    """Split -> the annotation file that it comes from."""
    skipped: tuple[Skipped, ...]
    n_regions: int


CROWDS = "are neither objects nor background"
"""How crowd regions are listed: one line a file, as COCO has thousands."""


def read_coco(folder: Path, *, files: Mapping[str, Path] | None = None, judge: Judge = "val") -> Coco:
    """Read all annotation files of a folder; classes are the categories by id, joined over the files by name.

    Args:
        files: split -> annotation file; those of `annotation_files` by default.
        judge: the split that becomes `val`; see `splits.judged`.

    Raises:
        UserError: a file is no JSON of the COCO form, two files claim one split, or no image is left.
    """
    skipped: list[Skipped] = []
    by_role = _by_role(annotation_files(folder) if files is None else files, folder, judge, skipped)
    classes: dict[str, int] = {}
    splits: dict[str, tuple[Sample, ...]] = {}
    digests: dict[str, str] = {}
    sources: dict[str, Path] = {}
    for part, (split, path) in by_role.items():
        relative = path.relative_to(folder).as_posix()
        data, sources[part] = path.read_bytes(), path
        digests[relative] = bytes_digest(data)
        reader = _File(parse_coco(data, relative), relative, classes, skipped)
        places = Places(folder, split, only=image_folder(path))
        splits[part] = by_id(reader.samples(places))
    if not any(splits.values()):
        first = f" The first reason: {skipped[0].item}: {skipped[0].reason}." if skipped else ""
        raise UserError(
            f"No image of {', '.join(digests)} can be used; put the images into <split>/ or images/ of the folder.{first}"
        )
    if "all" in splits:
        splits = divide(splits["all"])
        sources = dict.fromkeys(splits, sources["all"])
    n_regions = sum(len(sample.regions) for samples in splits.values() for sample in samples)
    return Coco(tuple(classes), splits, digests, sources, tuple(skipped), n_regions)


def _by_role(
    files: Mapping[str, Path], folder: Path, judge: Judge, skipped: list[Skipped]
) -> dict[str, tuple[str, Path]]:
    """ "train" and "val", or "all" for the one file that is to be divided -> the split as named, and its file."""
    if len(files) == 1 and judge == "val":
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
    if not found:
        raise UserError(
            f"{folder} has no train or val set among {', '.join(files)}; rename one to instances_train.json."
        )
    kept, beside = judged(found, judge, folder)
    if beside:
        skipped.append(Skipped(item=beside[0][1].relative_to(folder).as_posix(), reason=beside[1]))
    return kept if len(kept) == 2 else {"all": next(iter(kept.values()))}


class _File:
    """One annotation file while it is read. `classes` (name -> index) grows over the files of a folder."""

    def __init__(self, body: dict[str, Any], name: str, classes: dict[str, int], skipped: list[Skipped]) -> None:
        self.body, self.name, self.classes, self.skipped = body, name, classes, skipped

    def samples(self, places: Places) -> list[Sample]:
        categories = self._categories()
        images: dict[Any, Sample] = {}
        seen: set[str] = set()
        # Annotations of an image that was itself left out need no second mention.
        left_out: set[Any] = set()
        for item, entry in self._entries("images", "image"):
            key = as_key(entry.get("id"))
            try:
                if key is None:
                    raise BadEntry("has no usable id")
                if key in images:
                    raise BadEntry("has the id of an earlier image")
                sample = _image(entry, places)
                if sample.id in seen:
                    raise BadEntry(f"names {sample.id}, as an earlier image does")
                seen.add(sample.id)
                images[key] = sample
            except BadEntry as reason:
                left_out.add(key)
                self._skip(item, reason)
        regions = self._regions(categories, images, left_out)
        return [
            replace(
                s, regions=tuple(regions.get((key, False), ())), crowds=tuple(regions.get((key, True), ())), key=key
            )
            for key, s in images.items()
        ]

    def _categories(self) -> dict[Any, int]:
        labels: dict[Any, int] = {}
        entries = list(self._entries("categories", "category"))
        for item, entry in sorted(entries, key=lambda pair: in_order(pair[1].get("id"))):
            key, name = as_key(entry.get("id")), entry.get("name")
            if key is None or not isinstance(name, str) or not name.strip():
                self._skip(item, "has no usable id or name")
            elif key in labels:
                self._skip(item, "has the id of an earlier category")
            else:
                labels[key] = self.classes.setdefault(name.strip(), len(self.classes))
        return labels

    def _regions(
        self, categories: dict[Any, int], images: dict[Any, Sample], left_out: set[Any]
    ) -> dict[tuple[Any, bool], list[Region]]:
        """By image and whether they are crowds."""
        regions: dict[tuple[Any, bool], list[Region]] = {}
        crowds: list[str] = []
        seen: set[Any] = set()
        for item, entry in self._entries("annotations", "annotation"):
            key, image = as_key(entry.get("id")), as_key(entry.get("image_id"))
            try:
                if key is not None and key in seen:
                    raise BadEntry("has the id of an earlier annotation")
                seen.add(key)
                if image not in images:
                    if image is None or image not in left_out:
                        raise BadEntry(f"belongs to no image of the file (image_id {entry.get('image_id')!r:.40})")
                    continue
                if (category := as_key(entry.get("category_id"))) not in categories:
                    raise BadEntry(f"has an unknown category ({entry.get('category_id')!r:.40})")
                crowd = is_crowd(entry)
                region = read_region(entry, categories[category], images[image].size_hw)
                regions.setdefault((image, crowd), []).append(region)
                if crowd:
                    crowds.append(item)
            except BadEntry as reason:
                self._skip(item, reason)
        if crowds:
            noun = "crowd region" if len(crowds) == 1 else "crowd regions"
            self._skip(f"{len(crowds)} {noun} (iscrowd 1; {crowds[0]} the first)", CROWDS, len(crowds))
        return regions

    def _entries(self, key: str, noun: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(how to call it, entry); what is no object is listed."""
        for place, entry in enumerate(self.body[key]):
            if isinstance(entry, dict):
                yield f"{noun} {entry.get('id', f'at place {place}')!s:.60}", entry
            else:
                self._skip(f"{noun} at place {place}", "is no JSON object")

    def _skip(self, item: str, reason: object, times: int = 1) -> None:
        self.skipped.append(Skipped(item=f"{self.name}: {item}", reason=str(reason), times=times))


def _image(entry: dict[str, Any], places: Places) -> Sample:
    size = None if entry.get("height") is None and entry.get("width") is None else size_of(entry)
    path = places.find(entry)
    return Sample(id=path.relative_to(places.folder).as_posix(), path=path, size_hw=size)
