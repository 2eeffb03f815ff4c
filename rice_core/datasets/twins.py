"""Images that are there twice, byte for byte: in train and in val, or in two classes."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

from rice_core.datasets.digests import UNREADABLE
from rice_core.datasets.nouns import Dataset, Sample
from rice_core.digest import file_digest
from rice_core.record import TOO_HIGH

_PROBE = 4096
"""Bytes from the middle of a file, by which most of one size are told apart before they are read in full."""


def copies(samples: Sequence[Sample]) -> list[list[str]]:
    """Ids of images whose files are the same byte for byte, two or more each. Only files of one size are looked at."""
    alike: dict[object, list[Sample]] = {None: [*samples]}
    for look in (_size, _middle, _whole):
        finer: defaultdict[object, list[Sample]] = defaultdict(list)
        for before, group in alike.items():
            for sample in group if len(group) > 1 else ():
                finer[before, look(sample)].append(sample)
        alike = dict(finer)
    return [[sample.id for sample in group] for group in alike.values() if len(group) > 1]


def _size(sample: Sample) -> object:
    try:
        return sample.path.stat().st_size
    except OSError:
        return sample.id


def _middle(sample: Sample) -> object:
    try:
        with sample.path.open("rb") as file:
            file.seek(max(0, sample.path.stat().st_size // 2 - _PROBE // 2))
            return file.read(_PROBE)
    except OSError:
        return sample.id


def _whole(sample: Sample) -> object:
    try:
        return file_digest(sample.path)
    except OSError:
        return sample.id


def with_twin_notes(dataset: Dataset, files: Mapping[str, str]) -> Dataset:
    """The data set with a note on the images of val that train has too, and one on those that stand in two classes.

    They are counted and said, and left in: what the data set's authors did is part of its numbers elsewhere.

    Args:
        files: `file_digests(dataset)`.
    """
    alike: defaultdict[tuple[str, str], list[tuple[str, Sample]]] = defaultdict(list)
    for split in dataset.splits:
        for sample in dataset.samples(split):
            if files[sample.id] != UNREADABLE:
                # The data sets of a suite are trained and judged apart.
                part = sample.id.split("/")[0] if dataset.parts else ""
                alike[part, files[sample.id]].append((split, sample))
    groups = [group for group in alike.values() if len(group) > 1]
    notes = [*dataset.notes]
    if leaks := [group for group in groups if {split for split, _ in group} == {"train", "val"}]:
        n = sum(split == "val" for group in leaks for split, _ in group)
        train, val = (next(s.id for split, s in leaks[0] if split == wanted) for wanted in ("train", "val"))
        of = len(dataset.splits["val"])
        notes.append(
            f"{n} of {of} images in val {'is' if n == 1 else 'are'} in train too, byte for byte, such as {val} and {train}: {TOO_HIGH}"
        )
    if torn := [group for group in groups if len({sample.label for _, sample in group}) > 1]:
        one = torn[0][0][1]
        other = next(sample for _, sample in torn[0] if sample.label != one.label)
        n = sum(map(len, torn))
        notes.append(f"{n} images stand in two classes, byte for byte the same, such as {one.id} and {other.id}")
    # What was found before (files of one size, when the set was opened) is found again.
    return dataclasses.replace(dataset, notes=tuple(dict.fromkeys(notes)))
