"""A part of a data set as a data set: what a training reads, so that nothing else makes it another training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from rice_core.datasets.digests import fingerprint
from rice_core.datasets.nouns import Dataset, Item
from rice_core.digest import file_digest


def only(dataset: Dataset, *splits: str, labelled: bool = True) -> Dataset:
    """The data set with these splits alone, under a fingerprint of them alone.

    Args:
        labelled: False leaves out classes and regions as our readers have them, for a training that reads the annotation file
            itself: the file counts by its bytes, and a class that only another split has makes no difference.
    """
    kept: dict[str, Sequence[Item]] = {split: dataset.splits[split] for split in splits if split in dataset.splits}
    if not labelled:
        bare: dict[str, Sequence[Item]] = {
            split: tuple(replace(s, label=None, regions=(), crowds=()) for s in dataset.samples(split))
            for split in kept
        }
        dataset, kept = replace(dataset, classes=(), provides=frozenset()), bare
    files = {split: path for split, path in dataset.annotations.items() if split in kept}
    mark = fingerprint(dataset.spec.layout, dataset.classes, kept, {s: _digest(path) for s, path in files.items()})
    spec = dataset.spec.model_copy(update={"fingerprint": mark})
    return replace(dataset, spec=spec, splits=kept, annotations=files, skipped=(), parts={}, domain={}, notes=())


def _digest(path: Path) -> str:
    found = path.stat()
    return _digest_at(path, found.st_size, found.st_mtime_ns)


@lru_cache
def _digest_at(path: Path, _size: int, _changed: int) -> str:
    """Once for every seed and head that is planned."""
    return file_digest(path)
