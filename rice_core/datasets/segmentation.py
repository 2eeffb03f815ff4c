"""The readers of semantic segmentation: a label map beside each picture, as ADE20K, PASCAL VOC and Cityscapes have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

from rice_core.datasets.digests import fingerprint
from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Dataset, LabelMap, Sample
from rice_core.datasets.splits import Judge, by_id, no_test
from rice_core.datasets.walk import image_names, images_below, relative
from rice_core.errors import UserError
from rice_core.features import BACKGROUND, IGNORE
from rice_core.record import Skipped
from rice_core.spec import DatasetSpec

Pairs = Mapping[str, Iterable[tuple[Path, Path]]]
"""Split -> pictures and where their label maps should be."""


@dataclass(frozen=True)
class Ade20k:
    """ADEChallengeData2016: images/training/NAME.jpg and annotations/training/NAME.png, likewise validation/.

    0 stands for all other things there and is ignored; 1 to 150 are the classes of objectInfo150.txt.
    """

    layout: str = "ade20k"

    def recognises(self, folder: Path) -> Sighting | None:
        pictures, maps = folder / "images" / "training", folder / "annotations" / "training"
        if not (pictures.is_dir() and maps.is_dir() and (names := image_names(pictures)) and image_names(maps)):
            return None
        if (folder / _OBJECTS).is_file() or names[0].startswith("ADE_"):
            return Sighting("sure", "images/training/ and annotations/training/")
        return Sighting(
            "doubtful",
            f"holds label masks beside pictures in the folders of ADE20K, and nothing says that the classes are ADE20K's; put its {_OBJECTS} "
            f"there or write {folder}@ade20k if they are, else export it in COCO format",
        )

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        skipped: list[Skipped] = []
        parts = {"train": "training", "val": "validation"}
        pairs = {
            split: [
                (path, (folder / "annotations" / path.relative_to(folder / "images")).with_suffix(".png"))
                for path in images_below(folder / "images" / part, folder, skipped)
            ]
            for split, part in parts.items()
        }
        classes = _objects(folder / _OBJECTS) or _classes("ade20k")
        meaning = {0: IGNORE} | {k + 1: k for k in range(len(classes))}
        return _read(self.layout, folder, name, judge, classes, meaning, pairs, skipped)


@dataclass(frozen=True)
class Voc:
    """PASCAL VOC: JPEGImages/NAME.jpg and SegmentationClass/NAME.png, the names in ImageSets/Segmentation/SPLIT.txt.

    0 is background, 1 to 20 are the classes, 255 (the rim of an object, and what is hard to tell) is ignored.
    """

    layout: str = "voc"

    def recognises(self, folder: Path) -> Sighting | None:
        if not (folder / "SegmentationClass").is_dir() or not (folder / _LISTS).is_dir():
            return None
        for table in ("labelmap.txt", "class_names.txt"):
            if (folder / table).is_file():
                return Sighting(
                    "doubtful",
                    f"is laid out as PASCAL VOC, and {table} gives classes of its own, which are not read; export it in COCO format, or "
                    f"write {folder}@voc if they are PASCAL VOC's",
                )
        return Sighting("sure", f"SegmentationClass/ and {_LISTS}/")

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        pairs = {
            split: [
                (folder / "JPEGImages" / f"{image}.jpg", folder / "SegmentationClass" / f"{image}.png")
                for image in (folder / _LISTS / f"{split}.txt").read_text(encoding="utf-8").split()
            ]
            for split in ("train", "val")
            if (folder / _LISTS / f"{split}.txt").is_file()
        }
        classes = _classes("voc")
        meaning = {0: BACKGROUND, 255: IGNORE} | {k + 1: k for k in range(len(classes))}
        return _read(self.layout, folder, name, judge, classes, meaning, pairs, [])


@dataclass(frozen=True)
class Cityscapes:
    """leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png.

    Of its 35 ids the 19 that are evaluated are classes; the others are ignored. The maps of its test split are dummies.
    """

    layout: str = "cityscapes"

    def recognises(self, folder: Path) -> Sighting | None:
        there = next((folder / "gtFine").glob(f"*/*/*{_LABELS}"), None) if (folder / "leftImg8bit").is_dir() else None
        return Sighting("sure", f"leftImg8bit/ and {relative(there, folder)}") if there else None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        skipped: list[Skipped] = []
        pictures = folder / "leftImg8bit"
        pairs = {
            split: [
                (
                    path,
                    folder / "gtFine" / relative(path.parent, pictures) / f"{path.name[: -len(_PICTURE)]}{_LABELS}",
                )
                for path in images_below(pictures / split, folder, skipped)
                if path.name.endswith(_PICTURE)
            ]
            for split in ("train", "val")
        }
        if (pictures / "test").is_dir():
            skipped.append(Skipped(item="leftImg8bit/test", reason="has no public label maps"))
        meaning = dict.fromkeys((*range(34), 255), IGNORE) | {value: k for k, value in enumerate(_EVALUATED)}
        return _read(self.layout, folder, name, judge, _classes("cityscapes"), meaning, pairs, skipped)


_OBJECTS = "objectInfo150.txt"
_LISTS = "ImageSets/Segmentation"
_PICTURE, _LABELS = "_leftImg8bit.png", "_gtFine_labelIds.png"
_EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Of Cityscapes' label ids, in the order of its train ids; an id of -1 lies in the files as 255."""


def _read(
    layout: str,
    folder: Path,
    name: str,
    judge: Judge,
    classes: tuple[str, ...],
    meaning: Mapping[int, int],
    pairs: Pairs,
    skipped: list[Skipped],
) -> Dataset:
    if judge == "test":
        raise no_test(folder)
    found: dict[str, list[Sample]] = {}
    for split, of_split in pairs.items():
        for picture, label_map in of_split:
            item = relative(picture, folder)
            if not picture.is_file():
                skipped.append(Skipped(item=item, reason="is not there"))
            elif not label_map.is_file():
                skipped.append(Skipped(item=item, reason=f"has no label map {relative(label_map, folder)}"))
            else:
                sample = Sample(id=item, path=picture, label_map=LabelMap(label_map, meaning))
                found.setdefault(split, []).append(sample)
    if not found:
        first = f" The first reason: {skipped[0].item} {skipped[0].reason}." if skipped else ""
        raise UserError(f"{folder} holds no picture with a label map, as the layout {layout} has them.{first}")
    splits = {split if len(found) > 1 else "all": by_id(samples) for split, samples in found.items()}
    spec = DatasetSpec(name=name, layout=layout, fingerprint=fingerprint(layout, classes, splits, {}))
    saw = "a label map beside each picture"
    return Dataset(spec, classes, splits, frozenset({"dense-labels"}), tuple(skipped), saw=saw)


def _objects(path: Path) -> tuple[str, ...]:
    """The first name of each class of ADE20K's table: Idx, Ratio, Train, Val, Name, parted by tabs; none where it is not there.

    Raises:
        UserError: it is no such table.
    """
    if not path.is_file():
        return ()
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    if not rows or [row[0].strip() for row in rows] != [str(k + 1) for k in range(len(rows))]:
        raise UserError(f"{path} does not number its classes from 1 on; put ADE20K's own file there, or leave it out.")
    return tuple(row[-1].split(",")[0].strip() for row in rows)


@cache
def _classes(layout: str) -> tuple[str, ...]:
    text = (files("rice_core") / "data" / "segmentation.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text)[layout])
