"""A data set whose files have been read once for their digests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rice_core.datasets import Dataset, data_digest, file_digests
from rice_core.datasets.digests import UNREADABLE
from rice_core.datasets.division import ALL
from rice_core.datasets.known_files import KnownFiles
from rice_core.datasets.nouns import NOUNS
from rice_core.datasets.twins import with_twin_notes
from rice_core.digest import json_digest
from rice_core.record import TOO_HIGH
from rice_core.spec import DatasetSpec

_MANY = 20_000
"""Items whose reading takes so long that it is said."""


@dataclass(frozen=True)
class Hashed:
    """A data set and what its bytes come to."""

    dataset: Dataset
    """With notes of what only the bytes tell: that some images are there twice."""
    files: dict[str, str]
    """`file_digests`: by item id."""
    digest: str
    """Of the whole set, and of what is learnt from in place of its train split."""
    learnt_from: tuple[Hashed, ...] = ()

    @property
    def by_files(self) -> dict[tuple[Path, ...], str]:
        """`files` by their paths, with those of what is learnt from."""
        found = {item.files: self.files[item.id] for split in self.dataset.splits.values() for item in split}
        for other in self.learnt_from:
            found |= other.by_files
        return found


def all_hashed(
    datasets: Iterable[Dataset], known: Callable[[DatasetSpec], KnownFiles], say: Callable[[str], None]
) -> dict[DatasetSpec, Hashed]:
    """By what cells call them. A set that several probes learn from is read once for all of them.

    Args:
        known: what was read of a data set before. say: is told the notes that come of it.
    """
    read: dict[DatasetSpec, Hashed] = {}

    def once(dataset: Dataset) -> Hashed:
        if dataset.spec not in read:
            read[dataset.spec] = hashed(dataset, known(dataset.spec), say)
        return read[dataset.spec]

    return {each.spec: _taught(once(each.alone), each, tuple(map(once, each.learnt_from))) for each in datasets}


def hashed(dataset: Dataset, known: KnownFiles, say: Callable[[str], None]) -> Hashed:
    """Read every file that is not known; `say` is told the notes that come of it."""
    if (n := sum(map(len, dataset.splits.values()))) >= _MANY:
        noun = NOUNS[type(next(items[0] for items in dataset.splits.values() if items))]
        say(f"data set {dataset.spec.name}: reading what is new of {n:,} {noun} for its digest")
    files = file_digests(dataset, known=known)
    known.save()
    noted = with_twin_notes(dataset, files)
    for note in noted.notes[len(dataset.notes) :]:
        say(f"note: {note}")
    return Hashed(noted, files, data_digest(dataset, files))


def _shared(judged: Hashed, others: Sequence[Hashed]) -> Iterator[str]:
    """Notes on what is judged and learnt from too."""
    learnt = {
        each.files[item.id]: f"{item.id} of {each.dataset.spec.name}"
        for each in others
        for split in ("train", ALL)
        for item in each.dataset.splits.get(split, ())
        if each.files[item.id] != UNREADABLE
    }
    for split, items in judged.dataset.splits.items():
        same = [item for item in items if judged.files[item.id] in learnt] if split != "train" else []
        if same:
            noun, where = NOUNS[type(same[0])], learnt[judged.files[same[0].id]]
            yield (
                f"{len(same)} of {len(items)} {noun} in {split} are learnt from too, byte for byte, such as {same[0].id}, which is {where}: "
                f"{TOO_HIGH}"
            )


def _taught(judged: Hashed, dataset: Dataset, others: tuple[Hashed, ...]) -> Hashed:
    """The data set that is judged, with what is learnt from."""
    if not others:
        return judged
    known = {*judged.dataset.notes}
    notes = [f"{each.dataset.spec.name}: {note}" for each in others for note in each.dataset.notes if note not in known]
    told = replace(
        judged.dataset,
        spec=dataset.spec,
        learnt_from=tuple(each.dataset for each in others),
        notes=(*judged.dataset.notes, *notes, *_shared(judged, others)),
    )
    return Hashed(told, judged.files, json_digest([judged.digest, *(each.digest for each in others)]), others)
