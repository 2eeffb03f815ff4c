"""The reader of a folder a class: `CLASS/*.jpg`, or `train/CLASS/*.jpg` and `val/CLASS/*.jpg`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rice_core.datasets.coco_files import annotation_files
from rice_core.datasets.digests import fingerprint
from rice_core.datasets.doubts import doubt_about_classes, doubt_about_splits
from rice_core.datasets.foreign import tracking_truth
from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Dataset, Sample
from rice_core.datasets.splits import Judge, by_id, judged, no_test, role
from rice_core.datasets.walk import folders, holds_images, image_names, images_below, relative
from rice_core.disk.paths import as_text
from rice_core.errors import UserError
from rice_core.record import Skipped
from rice_core.spec import DatasetSpec


@dataclass(frozen=True)
class Roots:
    """The folders that hold the class folders."""

    of: Mapping[str, Path]
    """Split -> its folder; the one folder "all" is to be divided."""
    unusable: tuple[Path, ...] = ()
    """Folders that are called like a split and hold no class folders."""
    beside: tuple[Skipped, ...] = field(default=())
    """What else lies there, with the reason why it is left out."""


@dataclass(frozen=True)
class ClassFolders:
    """A folder a class."""

    layout: str = "class-folders"

    def recognises(self, folder: Path) -> Sighting | None:
        if annotation_files(folder):  # they say what the images are, wherever these lie
            return None
        if tracking_truth(folder):  # folders of videos, by the thousand, are not looked through for classes
            return None
        try:
            roots = find_roots(folder)
        except UserError as error:  # two folders claim one split: another reader may know them
            return Sighting("doubtful", str(error).removeprefix(f"{folder} ").rstrip("."))
        if roots is None:
            return None
        found = {split: class_folders(root) for split, root in roots.of.items()}
        if words := doubt_about_classes(folder, found) or doubt_about_splits(folder, found, roots.unusable):
            return Sighting("doubtful", words)
        return Sighting("sure", _saw(roots))

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        # Asked for by name, a folder called `train` that holds images alone is a class, as CIFAR-100 has one.
        roots = find_roots(folder, judge) or Roots({"all": folder})
        if judge == "test" and "all" in roots.of:
            raise no_test(folder)
        skipped = [
            *roots.beside,
            *(
                Skipped(item=child.name, reason="holds no folder a class")
                for child in roots.unusable
                if roots.of.get("all") != folder
            ),
        ]
        classes, splits = _read(folder, roots.of, skipped)
        if not any(splits.values()):
            raise UserError(f"{folder} holds no folder with images; give the folder that holds a folder a class.")
        mark = fingerprint(self.layout, classes, splits, {})
        spec = DatasetSpec(name=name, layout="class-folders", fingerprint=mark)
        return Dataset(spec, classes, splits, frozenset({"labels"}), tuple(skipped), saw=_saw(roots))


def find_roots(folder: Path, judge: Judge = "val") -> Roots | None:
    """Where the class folders are; None where nothing looks like some.

    Raises:
        UserError: two folders claim one split, or there is no test split to judge on.
    """
    named = {child: role(child.name) for child in folders(folder)}
    roots: dict[str, Path] = {}
    for child, known in named.items():
        if known and class_folders(child):
            if known in roots:
                raise UserError(f"{folder} has two {known} folders, {roots[known].name} and {child.name}; keep one.")
            roots[known] = child
    unusable = [child for child, known in named.items() if known and child not in roots.values()]
    loose = image_names(folder)
    if not roots:
        found = [child for child in class_folders(folder) if not named[child]]
        # Images beside the folders do not name classes; nor does one folder alone.
        if len(found) < 2 or loose:
            return None
        return Roots({"all": folder}, tuple(child for child in unusable if holds_images(child)))
    kept, left = judged(roots, judge, folder)
    beside = [Skipped(item=left[0].name, reason=left[1])] if left else []
    beside += [Skipped(item=c.name, reason="is neither train nor val") for c, known in named.items() if not known]
    beside += [Skipped(item=name, reason="lies beside the splits") for name in loose]
    return Roots(kept if len(kept) == 2 else {"all": next(iter(kept.values()))}, tuple(unusable), tuple(beside))


def class_folders(folder: Path) -> list[Path]:
    """The folders of a folder that have images, at any depth."""
    return [child for child in folders(folder) if holds_images(child)]


def _read(
    folder: Path, roots: Mapping[str, Path], skipped: list[Skipped]
) -> tuple[tuple[str, ...], dict[str, tuple[Sample, ...]]]:
    found = {split: class_folders(root) for split, root in roots.items()}
    for child in (child for children in found.values() for child in children):
        if (
            as_text(child.name) != child.name
        ):  # images of no class would be lost, and the others told apart as if all were there
            raise UserError(
                f"{folder} has a class {as_text(child.name)}, whose name is no valid Unicode; rename that folder."
            )
    classes = tuple(sorted({child.name for children in found.values() for child in children}))
    label = {name: index for index, name in enumerate(classes)}
    read = {
        split: [
            Sample(id=relative(path, folder), path=path, label=label[child.name])
            for child in children
            for path in images_below(child, folder, skipped)
        ]
        for split, children in found.items()
    }
    for root in roots.values():
        loose = [relative(root / name, folder) for name in image_names(root)]
        skipped += [Skipped(item=name, reason="lies in no class folder") for name in loose]
    return classes, {split: by_id(samples) for split, samples in read.items()}


def _saw(roots: Roots) -> str:
    if "all" in roots.of:
        return "a folder a class"
    return f"a folder a class in {roots.of['train'].name}/, judged on {roots.of['val'].name}/"
