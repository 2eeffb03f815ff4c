"""The readers of COCO-format folders: COCO's own files or an export's, and LVIS's where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rice_core.datasets.coco import Coco, read_coco
from rice_core.datasets.coco_files import annotation_files, beside, other_coco_files
from rice_core.datasets.digests import fingerprint
from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Dataset
from rice_core.datasets.splits import Judge
from rice_core.datasets.walk import relative
from rice_core.errors import UserError
from rice_core.spec import DatasetSpec


@dataclass(frozen=True)
class CocoFormat:
    """Annotation files of COCO format; LVIS's where there are none of COCO's."""

    layout: str = "coco"

    def recognises(self, folder: Path) -> Sighting | None:
        files = annotation_files(folder)
        return Sighting("sure", ", ".join(_names(folder, files))) if files else None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        # Asked for by name, a file counts whatever it is called.
        files = annotation_files(folder) or other_coco_files(folder)
        if not files:
            raise UserError(f"{folder} holds no annotations/instances_*.json; put the annotation files there.")
        return _read(folder, files, name, judge)


@dataclass(frozen=True)
class LvisFormat:
    """LVIS's files, also where COCO's are there. They annotate COCO's images: this is read where it is asked for, FOLDER@lvis."""

    layout: str = "lvis"

    def recognises(self, folder: Path) -> Sighting | None:
        return None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        files = annotation_files(folder, lvis=True)
        if not files:
            raise UserError(f"{folder} holds no lvis_v1_*.json; put LVIS's files into it or into its annotations/.")
        return _read(folder, files, name, judge)


def _read(folder: Path, files: dict[str, Path], name: str, judge: Judge) -> Dataset:
    coco = read_coco(folder, files=files, judge=judge)
    spec = DatasetSpec(
        name=name, layout="coco", fingerprint=fingerprint("coco", coco.classes, coco.splits, coco.annotations)
    )
    provides = frozenset({"labels", "regions"}) if coco.n_regions else frozenset[str]()
    skipped = (*coco.skipped, *beside(folder, files))
    return Dataset(
        spec, coco.classes, coco.splits, provides, skipped, coco.files, saw=_saw(folder, coco), notes=coco.notes
    )


def _saw(folder: Path, coco: Coco) -> str:
    names = _names(folder, coco.files)
    return " and ".join(names)


def _names(folder: Path, files: Mapping[str, Path]) -> list[str]:
    return list(dict.fromkeys(relative(path, folder) for path in files.values()))
