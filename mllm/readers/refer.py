"""Layout `refer`: referring expressions as REFER publishes them, with COCO's train2014 pictures.

    FOLDER/refcoco/refs(unc).p, refcoco+/refs(unc).p, refcocog/refs(umd).p     each beside its instances.json
    FOLDER/jxu124/refcoco/data/*.parquet, refcocoplus, refcocog                or the hub's tables of the same
    FOLDER/images/mscoco/images/train2014/COCO_train2014_000000000009.jpg      or train2014, images/train2014, coco/train2014, images

Some of it is enough, and FOLDER may be one of the data sets itself. Splits are the files' own: val, testA, testB, test, train; of
several data sets refcoco_val, refcoco+_val ... Texts are as they stand: what lower-cases them is a model's prompt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mllm.readers.expressions import NoExpression, expressions_of
from mllm.readers.references import MIRRORED, Reference, read_reference_tables, read_references
from rice_core.datasets import Dataset, Expression, Judge
from rice_core.datasets.digests import fingerprint
from rice_core.datasets.layout import Sighting
from rice_core.datasets.splits import by_id
from rice_core.digest import file_digest
from rice_core.errors import UserError
from rice_core.record import Skipped
from rice_core.spec import DatasetSpec

PUBLISHED = {
    "refcoco": {"val": 10_834, "testA": 5_657, "testB": 5_095},
    "refcoco+": {"val": 10_758, "testA": 5_726, "testB": 4_889},
    "refcocog": {"val": 4_896, "test": 9_602},
}
"""Expressions of what Table 2 is over."""
_TABLES = {"refcoco": "refcoco", "refcocoplus": "refcoco+", "refcocog": "refcocog"}
"""jxu124's names -> REFER's."""
_NOT_TABLE_2 = ("refs(google).p", "refs(berkeley).p")
_MIRRORS = ("RefCOCO", "RefCOCOplus", "RefCOCOg")
_PICTURES = (
    *("", "train2014", "images", "images/train2014", "images/mscoco/images/train2014", "coco/train2014"),
    "images/saiapr_tc-12",  # of refclef
)
_LOOKED_FOR = 64
"""Pictures that are looked for when the folder is opened."""


@dataclass(frozen=True)
class ReferSource:
    """The files of one data set."""

    name: str
    files: tuple[Path, ...]
    """A pickle and its instances.json, or tables."""

    def references(self) -> Iterator[Reference]:
        if self.files[0].suffix == ".parquet":
            return read_reference_tables(self.files)
        return read_references(*self.files)


@dataclass(frozen=True)
class Referred:
    """Expressions of a folder."""

    sources: tuple[ReferSource, ...]
    splits: Mapping[str, tuple[Expression, ...]]
    """Their `image` is the name of a file, wherever that is."""
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


class ReferLayout:
    """Its reader."""

    layout = "refer"

    def recognises(self, folder: Path) -> Sighting | None:
        """By the names of its files."""
        found = [*_pickles(folder), *(files[0] for _, files in _tables(folder))]
        if found:
            return Sighting("sure", _relative(found[0], folder))
        mirror = next(_mirrors(folder), None)
        return Sighting("doubtful", f"has {_relative(mirror, folder)}, which {MIRRORED}") if mirror else None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        """Raises:
        UserError: as `read_refer`, or none of the pictures is there.
        """
        read = read_refer(folder)
        splits, lost, missing = _with_pictures(read, folder)
        files = [file for source in read.sources for file in source.files]
        digests = {_relative(file, folder): file_digest(file) for file in files}
        spec = DatasetSpec(name=name, layout=self.layout, fingerprint=fingerprint(self.layout, (), splits, digests))
        saw = " and ".join(_relative(source.files[0], folder) for source in read.sources)
        skipped = (*read.skipped, *lost)
        return Dataset(spec, (), splits, frozenset({"expressions"}), skipped, saw=saw, notes=(*read.notes, *missing))


def read_refer(folder: Path) -> Referred:
    """The expressions of a folder, for which no picture is needed.

    Raises:
        UserError: nothing can be used, what is there is no data set of Table 2, or a file cannot be read.
    """
    sources = _sources(folder)
    splits: dict[str, list[Expression]] = defaultdict(list)
    skipped: list[Skipped] = []
    notes: list[str] = []
    for source in sources:
        found, left_out, said = _read_source(source)
        for split, items in found.items():
            splits[f"{source.name}_{split}" if len(sources) > 1 else split] += items
        skipped += left_out
        notes += said
    if not splits:
        reason = f" ({skipped[0].item} {skipped[0].reason})" if skipped else ""
        raise UserError(f"{sources[0].files[0]} has no expression that can be used{reason}; unpack it again.")
    ordered = {split: by_id(splits[split]) for split in sorted(splits)}
    return Referred(tuple(sources), ordered, tuple(skipped), (*notes, *_shared(ordered)))


def _read_source(source: ReferSource) -> tuple[dict[str, list[Expression]], list[Skipped], list[str]]:
    """Expressions by split, what is left out, and what has to be known."""
    found: dict[str, list[Expression]] = defaultdict(list)
    skipped: list[Skipped] = []
    met: set[str] = set()
    empty = 0
    for place, reference in enumerate(source.references()):
        try:
            split, items, is_empty = expressions_of(source.name, reference)
        except NoExpression as error:
            skipped.append(Skipped(item=f"{source.name} reference {place}", reason=str(error)))
            continue
        again = [item.id for item in items if item.id in met]
        skipped += [Skipped(item=each, reason="stands there twice") for each in again]
        new = {item.id: item for item in items if item.id not in met}
        met |= new.keys()
        found[split] += new.values()
        empty += is_empty * len(new)
    notes = [f"{source.name}: {empty} expressions name an object without a mask, which is empty here"] if empty else []
    published = PUBLISHED.get(source.name, {})
    others = [
        f"{source.name} {split} has {len(found[split])} expressions, and Table 2 is over {n}"
        for split, n in published.items()
        if len(found[split]) not in (0, n)
    ]
    return {split: items for split, items in found.items() if items}, skipped, notes + others


def _shared(splits: Mapping[str, Iterable[Expression]]) -> list[str]:
    """That pictures of a train split are judged on elsewhere: refCOCO's train has some of refCOCOg's test."""
    pictures = {split: {item.image.name for item in items} for split, items in splits.items()}
    judged = set().union(*(names for split, names in pictures.items() if not _is_train(split)), set())
    return [
        f"{n} of the {len(names)} pictures of {split} are in a split that is judged on"
        for split, names in pictures.items()
        if _is_train(split) and (n := len(names & judged))
    ]


def _is_train(split: str) -> bool:
    return split.rpartition("_")[2] == "train"


def _sources(folder: Path) -> list[ReferSource]:
    """Raises UserError where there is none, one is there twice, or one is not what Table 2 is over."""
    found: dict[str, list[ReferSource]] = defaultdict(list)
    for refs in _pickles(folder):
        name = refs.absolute().parent.name
        found[name].append(ReferSource(name, (refs, refs.with_name("instances.json"))))
    for name, files in _tables(folder):
        found[name].append(ReferSource(name, files))
    for name, there in found.items():
        known = [source for source in there if source.files[0].name not in _NOT_TABLE_2]
        if not known:
            raise UserError(
                f"{there[0].files[0]} is not what Table 2 is over (the google split of refCOCOg has no test expressions); put refs(umd).p of "
                "refcocog, or refs(unc).p of the others, beside it."
            )
        if len(known) > 1:
            raise UserError(f"{known[0].files[0]} and {known[1].files[0]} would both be {name}; keep one of them.")
        if (instances := known[0].files[-1]).name == "instances.json" and not instances.is_file():
            raise UserError(
                f"{instances} is not there; unpack it from REFER's archive, beside {known[0].files[0].name}."
            )
        found[name] = known
    if not found:
        if mirror := next(_mirrors(folder), None):
            raise UserError(f"{mirror} {MIRRORED}.")
        raise UserError(
            f"{folder} has neither refcoco/refs(unc).p, refcoco+/refs(unc).p nor refcocog/refs(umd).p; unpack REFER's archives into it, or "
            "load jxu124/refcoco from the hub."
        )
    return [source for name in sorted(found) for source in found[name]]


def _pickles(folder: Path) -> list[Path]:
    return sorted([*folder.glob("refs(*).p"), *folder.glob("*/refs(*).p")])


def _tables(folder: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """REFER's name of a data set and its tables, a pair a place that has some."""
    for name, of_refer in _TABLES.items():
        places = [
            folder / "jxu124" / name,
            folder / name,
            *sorted(folder.glob(f"datasets--jxu124--{name}/snapshots/*")),
        ]
        if folder.absolute().name == name:
            places.append(folder)
        for place in places:
            if files := _parquet_in(place):
                yield of_refer, files


def _mirrors(folder: Path) -> Iterator[Path]:
    """lmms-lab's, by the names of their folders."""
    for name in _MIRRORS:
        cached = sorted(folder.glob(f"datasets--lmms-lab--{name}/snapshots/*"))
        itself = [folder] if folder.absolute().name == name else []
        yield from (each for each in (folder / "lmms-lab" / name, folder / name, *cached, *itself) if _parquet_in(each))


def _parquet_in(place: Path) -> tuple[Path, ...]:
    return tuple(sorted([*place.glob("*.parquet"), *place.glob("data/*.parquet")]))


def _with_pictures(read: Referred, folder: Path) -> tuple[dict[str, tuple[Expression, ...]], list[Skipped], list[str]]:
    """With the folder that each data set's pictures are in, the data sets without any, and what is to be known of the others.

    Raises:
        UserError: none of those that are looked for is anywhere.
    """
    # One of the data sets itself has its pictures beside it.
    bases = [folder, folder.parent] if any(path.parent == folder for path in _pickles(folder)) else [folder]
    roots = [base / place for base in bases for place in _PICTURES]
    found: dict[str, Path] = {}
    skipped, notes = [], []
    for source in read.sources:
        items = [item for each in read.splits.values() for item in each if _source(item) == source.name]
        names = sorted({item.image for item in items})
        tried = [names[k] for k in sorted({*np.linspace(0, len(names) - 1, _LOOKED_FOR).astype(int).tolist()}) if names]
        there = {root: sum((root / name).is_file() for name in tried) for root in roots}
        root = max(roots, key=there.__getitem__)
        if there[root]:
            found[source.name] = root
            if lost := len(tried) - there[root]:
                notes.append(f"{source.name}: {lost} of {len(tried)} pictures that were looked for are not there")
        elif names:
            reason = f"has expressions about pictures such as {names[0]}, and of {len(tried)} that were looked for none is there"
            skipped.append(Skipped(item=source.name, reason=reason, times=len(items)))
    if not found:
        raise UserError(f"{folder}: {skipped[0].item} {skipped[0].reason}; unpack COCO's train2014.zip into it.")
    placed = {
        split: tuple(replace(item, image=found[_source(item)] / item.image) for item in items if _source(item) in found)
        for split, items in read.splits.items()
    }
    return {split: items for split, items in placed.items() if items}, skipped, notes


def _source(item: Expression) -> str:
    return item.id.partition("/")[0]


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
