"""Several data sets that are measured together: a folder of Roboflow exports, such as Roboflow 100 (arXiv 2211.13523)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

from rice_core.datasets.coco_files import ROBOFLOW, roboflow_folders
from rice_core.datasets.nouns import Dataset, Sample
from rice_core.datasets.reading import open_dataset
from rice_core.datasets.splits import Judge, by_id
from rice_core.digest import json_digest
from rice_core.disk.paths import as_text
from rice_core.errors import UserError
from rice_core.record import TOO_HIGH, Skipped
from rice_core.spec import DatasetSpec

OTHER = "other"
"""The domain of a data set that is none of RF100's."""


@dataclass(frozen=True)
class Suite:
    """Data sets by name, those of RF100 by the names of `rf100_domains`, others by their folders'."""

    name: str
    parts: Mapping[str, Dataset]
    domain: Mapping[str, str]
    """Of each data set of the folder, those that could not be read included: one of RF100's seven, or OTHER."""
    missing: tuple[str, ...]
    """The data sets of RF100 that `parts` lacks, those that could not be read included."""
    skipped: tuple[Skipped, ...]
    """Folders that are no part, with reasons. What a part itself leaves out stands in the part."""


def open_suite(folder: Path, *, name: str = "", judge: Judge = "test") -> Suite:
    """Read every Roboflow export in a folder. One that cannot be read is listed and costs no other.

    A folder's name may end in its version, as downloads have it: `aquarium-qlnqy`, `aquarium-qlnqy-2` and
    `aquarium-qlnqy.v2i.coco` are one data set.

    Args:
        name: how the suite is called; the folder's name by default.
        judge: the split that becomes `val`. RF100 trains on train, chooses on valid and judges on test.

    Raises:
        UserError: no such folder, two versions of one data set, or fewer than two that can be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the one that holds a folder a data set.")
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    exports = _by_name(roboflow_folders(folder))
    reason = f"has no train/{ROBOFLOW}; export it in Roboflow's COCO format"
    skipped = [Skipped(item=child.name, reason=reason) for child in children if child not in exports.values()]
    parts: dict[str, Dataset] = {}
    for part, child in exports.items():
        try:
            parts[part] = open_dataset(child, name=part, judge=judge)
        except (UserError, OSError) as error:
            skipped.append(Skipped(item=child.name, reason=str(error)))
    if len(parts) < 2:
        first = f" The first reason: {skipped[0].item}: {skipped[0].reason}" if skipped else ""
        raise UserError(
            f"{folder} holds {len(parts)} data sets that can be read, and a suite has two or more; "
            f"give the folder above the data sets.{first}"
        )
    listed = rf100_domains()
    # A download of one of RF100's that broke off is still one of the suite's: means without it are not the suite's.
    broken = {_name(child.name) for child in children if child not in exports.values()} & listed.keys()
    return Suite(
        name=as_text(name or folder.resolve().name or "suite"),
        parts=parts,
        domain={part: listed.get(part, OTHER) for part in sorted({*exports, *broken})},
        missing=tuple(part for part in listed if part not in parts),
        skipped=tuple(sorted(skipped, key=lambda skip: skip.item)),
    )


def joined(suite: Suite) -> Dataset:
    """The suite as one data set, so that a cell can ask for it; a probe that needs no suite finds nothing to measure in it."""
    marks = {part: dataset.spec.fingerprint for part, dataset in suite.parts.items()}
    spec = DatasetSpec(name=suite.name, layout="coco", fingerprint=json_digest([marks, dict(suite.domain)])[:20])
    splits: dict[str, list[Sample]] = {}
    skipped = list(suite.skipped)
    for part, dataset in suite.parts.items():
        skipped += [skip.model_copy(update={"item": f"{part}/{skip.item}"}) for skip in dataset.skipped]
        for split in dataset.splits:
            images = (_inside(part, sample) for sample in dataset.samples(split))
            splits.setdefault(split, []).extend(images)
    return Dataset(
        spec=spec,
        classes=(),
        splits={split: by_id(samples) for split, samples in splits.items()},
        provides=frozenset({"suite"}),
        skipped=tuple(skipped),
        notes=(*_absent(suite), *_sharing(suite)),
        parts=suite.parts,
        domain=suite.domain,
    )


def _absent(suite: Suite) -> tuple[str, ...]:
    """What a mean over a part of RF100 has to say, for the paper's is over a hundred."""
    of_all = len(rf100_domains())
    there = of_all - len(suite.missing)
    if not suite.missing or not there:
        return ()
    return (f"{there} of RF100's {of_all} data sets are there: means are over those of this folder, not over RF100.",)


def _sharing(suite: Suite) -> tuple[str, ...]:
    """The data sets whose val shows what their train shows."""
    found = {part: note for part, data in suite.parts.items() for note in data.notes if note.endswith(TOO_HIGH)}
    if not found:
        return ()
    part, note = next(iter(found.items()))
    return (
        f"Of {len(found)} of {len(suite.parts)} data sets val shows what train shows: {_some(list(found))}. Of {part}: {note}",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _inside(part: str, sample: Sample) -> Sample:
    return replace(sample, id=f"{part}/{sample.id}", scene=sample.scene and f"{part}/{sample.scene}")


def is_suite(folder: Path) -> bool:
    """Whether the folder holds two or more Roboflow exports, readable or not."""
    return folder.is_dir() and len(roboflow_folders(folder)) > 1


@cache
def rf100_domains() -> Mapping[str, str]:
    """The hundred data sets of RF100 -> their domains, in the order of the paper's columns."""
    text = (files("rice_core") / "data" / "rf100.yaml").read_text(encoding="utf-8")
    return {name: domain for domain, names in yaml.safe_load(text).items() for name in names}


def _by_name(folders: list[Path]) -> dict[str, Path]:
    exports: dict[str, Path] = {}
    for child in folders:
        part = _name(child.name)
        if part in exports:
            raise UserError(
                f"{child.parent} holds {part} twice, as {exports[part].name} and {child.name}; keep one version."
            )
        exports[part] = child
    return dict(sorted(exports.items()))


def _name(folder: str) -> str:
    """RF100's name for a folder, its version left off; what is none of RF100's keeps the folder's name."""
    given = folder.lower().replace(" ", "-")
    for version in (r"$", r"-\d+$", r"\.v\d+.*$"):
        if (plain := re.sub(version, "", given)) in rf100_domains():
            return plain
    return folder
