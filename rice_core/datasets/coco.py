"""COCO-format annotations -> samples. What cannot be used is listed with its reason, and costs nothing else (entries)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rice_core.datasets.coco_files import annotation_files, image_folder
from rice_core.datasets.coco_masks import BadEntry
from rice_core.datasets.entries import CocoFile, Key, parse_coco, size_of
from rice_core.datasets.nouns import Region, Sample
from rice_core.datasets.places import Places
from rice_core.datasets.regions import ANY, Annotation
from rice_core.datasets.scenes import scene_field, scene_in
from rice_core.datasets.splits import Judge, by_id, judged, role
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
    notes: tuple[str, ...]
    """What was mended."""


_INTO = "put the images into <split>/ or images/ of the folder"
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
    return read_splits(folder, by_role, skipped)


def read_splits(
    folder: Path, by_role: Mapping[str, tuple[str, Path]], skipped: list[Skipped], *, told: bool = False
) -> Coco:
    """Read annotation files for the images of a folder, wherever the files lie.

    Args:
        by_role: "train" and "val", or "all" for one file that is to be divided -> how its split is called, and its path.
        skipped: what was left out before.
        told: whether the user named the files, and the folder that the names in them start from.

    Raises:
        UserError: a file is no JSON of the COCO form, or no image is left.
    """
    classes: dict[str, int] = {}
    splits: dict[str, tuple[Sample, ...]] = {}
    digests: dict[str, str] = {}
    sources: dict[str, Path] = {}
    notes: list[str] = []
    for part, (split, path) in by_role.items():
        # A file that lies elsewhere is called without its folder, which is the machine's own.
        inside = path.is_relative_to(folder)
        relative = path.relative_to(folder).as_posix() if inside else f"{part}/{path.name}".removeprefix("all/")
        data, sources[part] = path.read_bytes(), path
        digests[relative] = bytes_digest(data)
        file = CocoFile(parse_coco(data, relative), relative, skipped)
        places = Places(folder, split, only=None if told else image_folder(path), told=told)
        splits[part] = by_id(_Images(file, places, classes).samples())
        notes += file.notes()
    if not any(splits.values()):
        first = f" The first reason: {skipped[0].item}: {skipped[0].reason}." if skipped else ""
        step = f"give --images the folder that the names start from, {folder} is none" if told else _INTO
        raise UserError(f"No image of {', '.join(digests)} can be used; {step}.{first}")
    n_regions = sum(len(sample.regions) for samples in splits.values() for sample in samples)
    return Coco(tuple(classes), splits, digests, sources, tuple(skipped), n_regions, tuple(notes))


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


class _Images:
    """The images of one file, with their regions. `classes` (name -> index) grows over the files of a folder."""

    def __init__(self, file: CocoFile, places: Places, classes: dict[str, int]) -> None:
        self.file, self.places, self.classes = file, places, classes
        self._ids: set[str] = set()
        self._field = scene_field(file.body["images"])
        self._regions: dict[tuple[Key, bool], list[Region]] = {}
        """By image and whether they are crowds, or ignored."""
        self._crowds: list[str] = []

    def samples(self) -> list[Sample]:
        names = {key: entry["name"].strip() for key, entry in self.file.categories().items()}
        labels = {key: self.classes.setdefault(name, len(self.classes)) for key, name in names.items()}
        images = self.file.images(self._sample)
        self.file.regions(images, labels, lambda sample: sample.size_hw, self._add)
        if self._crowds:
            n = len(self._crowds)
            noun = "crowd region" if n == 1 else "crowd regions"
            self.file.skip(f"{n} {noun} (iscrowd 1; {self._crowds[0]} the first)", CROWDS, n)
        return [
            replace(sample, regions=self._of(key, False), crowds=self._of(key, True)) for key, sample in images.items()
        ]

    def _of(self, key: Key, crowd: bool) -> tuple[Region, ...]:
        return tuple(self._regions.get((key, crowd), ()))

    def _sample(self, key: Key, entry: dict[str, Any]) -> Sample:
        size = size_of(entry)
        path = self.places.find(entry)
        name, scene = path.relative_to(self.places.folder).as_posix(), scene_in(entry, self._field)
        sample = Sample(id=name, path=path, size_hw=size, key=key, scene=scene)
        if sample.id in self._ids:
            raise BadEntry(f"names {sample.id}, as an earlier image does")
        self._ids.add(sample.id)
        return sample

    def _add(self, item: str, _: dict[str, Any], image: Key, found: Annotation) -> None:
        region = replace(found.region, label=ANY) if found.kind == "ignored" else found.region
        self._regions.setdefault((image, found.kind != "object"), []).append(region)
        if found.kind == "crowd":
            self._crowds.append(item)
