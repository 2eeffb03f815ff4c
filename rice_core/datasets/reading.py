"""`open_dataset`: look at a folder, find its layout, read it. Nothing is decoded here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from rice_core.datasets.coco import annotation_files, read_coco, roboflow_folders
from rice_core.datasets.digests import fingerprint
from rice_core.datasets.nouns import Dataset, Sample
from rice_core.datasets.splits import Judge, by_id, divide, judged, no_test, role
from rice_core.errors import UserError
from rice_core.images import is_image_name
from rice_core.record import Skipped
from rice_core.spec import DatasetSpec


def open_dataset(folder: Path, *, name: str = "", lvis: bool = False, judge: Judge = "val") -> Dataset:
    """Read a folder in one of the three layouts of this package's docstring.

    A set with one split is divided: every fifth image by the order of the hashed ids is `val`, class by class where whole
    images are labelled. COCO crowd regions are left out. A `test` split stands in for a missing `val`.

    Args:
        name: how the data set is called in records; the folder's name by default.
        lvis: read lvis_v1_*.json, also where instances_*.json are there.
        judge: the split that becomes `val`. "test" refuses a set without train and test split.

    Raises:
        UserError: no such folder, no layout recognised, no split to judge on, a folder of several data sets, or
            annotations that cannot be used at all.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the folder that holds the images, or annotations/ beside them.")
    name = name or folder.resolve().name or "data"
    if annotation_files(folder, lvis=lvis):
        coco = read_coco(folder, lvis=lvis, judge=judge)
        mark = fingerprint("coco", coco.classes, coco.splits, coco.annotations)
        spec = DatasetSpec(name=name, layout="coco", fingerprint=mark)
        provides = frozenset({"labels", "regions"}) if coco.n_regions else frozenset[str]()
        return Dataset(spec, coco.classes, coco.splits, provides, coco.skipped, coco.files)
    if lvis:
        raise UserError(f"{folder} holds no lvis_v1_*.json; put LVIS's files into it or into its annotations/.")
    # Each set of a suite would pass for a class.
    if len(several := roboflow_folders(folder)) > 1:
        raise UserError(f"{folder} holds {len(several)} data sets; give one of them, as {several[0]}.")
    skipped: list[Skipped] = []
    if roots := _class_roots(folder, judge, skipped):
        classes, splits = _read_classes(folder, roots, skipped)
        spec = DatasetSpec(
            name=name, layout="class-folders", fingerprint=fingerprint("class-folders", classes, splits, {})
        )
        return Dataset(spec, classes, splits, frozenset({"labels"}), tuple(skipped))
    samples = [Sample(id=_relative(path, folder), path=path) for path in _images_below(folder, folder, skipped)]
    if not samples:
        raise UserError(
            f"{folder} holds no images and no annotations/instances_*.json; give a folder of photos, a folder with one "
            "folder a class, or one in COCO format."
        )
    if judge == "test":
        raise no_test(folder)
    splits = divide(samples)
    spec = DatasetSpec(name=name, layout="photos", fingerprint=fingerprint("photos", (), splits, {}))
    return Dataset(spec, (), splits, frozenset(), tuple(skipped))


def _class_roots(folder: Path, judge: Judge, skipped: list[Skipped]) -> dict[str, Path]:
    """Split -> the folder of its class folders; one root named "all" is to be divided; {} is another layout."""
    named = {child: role(child.name) for child in _folders(folder)}
    roots: dict[str, Path] = {}
    for child, known in named.items():
        if known and _class_folders(child):
            if known in roots:
                raise UserError(f"{folder} has two {known} folders, {roots[known].name} and {child.name}; keep one.")
            roots[known] = child
    if roots:
        roots, beside = judged(roots, judge, folder)
        if beside:
            skipped.append(Skipped(item=beside[0].name, reason=beside[1]))
        skipped += [Skipped(item=c.name, reason="is neither train nor val") for c, known in named.items() if not known]
        return roots if len(roots) == 2 else {"all": next(iter(roots.values()))}
    # Images beside the folders, or folders called train and val, do not name classes; nor does one folder alone.
    loose = any(entry.is_file() and is_image_name(entry.name) for entry in os.scandir(folder))
    found = _class_folders(folder)
    if len(found) < 2 or loose or any(role(c.name) for c in found):
        return {}
    if judge == "test":
        raise no_test(folder)
    return {"all": folder}


def _read_classes(
    folder: Path, roots: Mapping[str, Path], skipped: list[Skipped]
) -> tuple[tuple[str, ...], dict[str, tuple[Sample, ...]]]:
    found = {split: _class_folders(root) for split, root in roots.items()}
    classes = tuple(sorted({child.name for children in found.values() for child in children}))
    label = {name: index for index, name in enumerate(classes)}
    read = {
        split: [
            Sample(id=_relative(path, folder), path=path, label=label[child.name])
            for child in children
            for path in _images_below(child, folder, skipped)
        ]
        for split, children in found.items()
    }
    return classes, divide(read["all"]) if "all" in read else {split: by_id(samples) for split, samples in read.items()}


def _class_folders(folder: Path) -> list[Path]:
    return [child for child in _folders(folder) if next(_images_below(child, folder, []), None)]


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _images_below(top: Path, folder: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Files that are called images, at any depth, hidden ones left out, in the order of their names."""
    for parent, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith(".") or not is_image_name(name):
                continue
            try:
                _relative(path, folder).encode()
            except UnicodeEncodeError:  # bytes that are no text can stand in no record
                skipped.append(Skipped(item=ascii(name), reason="has a name that is no valid Unicode"))
                continue
            if not path.is_file():
                skipped.append(Skipped(item=_relative(path, folder), reason="is no file that can be opened"))
                continue
            yield path


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
