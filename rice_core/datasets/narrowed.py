"""A part of a data set as a data set: what a training reads, so that nothing else makes it another training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from rice_core.datasets.digests import fingerprint
from rice_core.datasets.division import ALL
from rice_core.datasets.nouns import Dataset, Item
from rice_core.digest import file_digest


def training_sets(dataset: Dataset) -> tuple[Dataset, ...]:
    """What a probe that is judged on a data set is trained on: the train splits of those that it learns from, else its own."""
    return tuple(only(_with_train(each), "train") for each in dataset.learnt_from) or (only(dataset, "train"),)


def _with_train(dataset: Dataset) -> Dataset:
    """Of a data set that is given to be learnt from, a split that nobody has divided is `train` as a whole."""
    if "train" in dataset.splits or ALL not in dataset.splits:
        return dataset
    files = {"train": dataset.annotations[ALL]} if ALL in dataset.annotations else {}
    return replace(dataset, splits={"train": dataset.splits[ALL]}, annotations=files)


def only(dataset: Dataset, *splits: str, labelled: bool = True) -> Dataset:
    """The data set with these splits alone, under a fingerprint of them alone; what else is learnt from is no part of it.

    Args:
        labelled: False leaves out classes and regions as our readers have them, for a training that reads the annotation file
            itself: the file counts by its bytes, and a class that only another split has makes no difference.
    """
    kept: dict[str, Sequence[Item]] = {split: dataset.splits[split] for split in splits if split in dataset.splits}
    if not labelled:
        unlabelled: dict[str, Sequence[Item]] = {
            split: tuple(replace(s, label=None, regions=(), crowds=()) for s in dataset.samples(split))
            for split in kept
        }
        dataset, kept = replace(dataset, classes=(), provides=frozenset()), unlabelled
    files = {split: path for split, path in dataset.annotations.items() if split in kept}
    mark = fingerprint(dataset.spec.layout, dataset.classes, kept, {s: _digest(path) for s, path in files.items()})
    spec = dataset.spec.model_copy(update={"fingerprint": mark, "learnt_from": ()})
    bare = replace(dataset, skipped=(), parts={}, domain={}, notes=(), learnt_from=())
    return replace(bare, spec=spec, splits=kept, annotations=files)


def _digest(path: Path) -> str:
    found = path.stat()
    return _digest_at(path, found.st_size, found.st_mtime_ns)


@lru_cache
def _digest_at(path: Path, _size: int, _changed: int) -> str:
    """Once for every seed and head that is planned."""
    return file_digest(path)
