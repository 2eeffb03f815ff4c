"""Images that are there twice, byte for byte: in train and in val, or in two classes."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping

from rice_core.datasets.digests import UNREADABLE
from rice_core.datasets.nouns import Dataset, Sample


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
            f"{n} of {of} images in val {'is' if n == 1 else 'are'} in train too, byte for byte, such as {val} and {train}"
        )
    if torn := [group for group in groups if len({sample.label for _, sample in group}) > 1]:
        one = torn[0][0][1]
        other = next(sample for _, sample in torn[0] if sample.label != one.label)
        n = sum(map(len, torn))
        notes.append(f"{n} images stand in two classes, byte for byte the same, such as {one.id} and {other.id}")
    return dataclasses.replace(dataset, notes=tuple(notes))
