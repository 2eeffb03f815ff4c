"""Which image is in which split, and which images stay when only a few may: by hashed ids, so no random state is needed."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from rice_core.datasets.nouns import Dataset, Item, Sample
from rice_core.errors import UserError

Judge = Literal["val", "test"]
"""Which of a data set's own splits becomes `val`, the one that probes are judged on."""
T = TypeVar("T")
AnyItem = TypeVar("AnyItem", bound=Item)

TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "dev", "eval", "evaluation")
TEST_NAMES = ("test", "testing")


def role(split: str) -> str | None:
    """The name of a split as a file or folder gives it -> "train", "val", "test" or None: `val2017` and `Validation set` are "val"."""
    plain = re.sub(r"[ _-]*(set|data)?$", "", split.lower().rstrip("0123456789_-"))
    for name, known in (("train", TRAIN_NAMES), ("val", VAL_NAMES), ("test", TEST_NAMES)):
        if plain in known:
            return name
    return None


def judged(found: Mapping[str, T], judge: Judge, folder: Path) -> tuple[dict[str, T], tuple[T, str] | None]:
    """Splits by role -> "train" and "val", as far as they are there, and what is left out, with the reason.

    `val` is the split to judge on: a test split stands in for a missing val split, and never the other way round.

    Raises:
        UserError: the test split is to judge, and there is no train or no test split.
    """
    train = {"train": found["train"]} if "train" in found else {}
    if judge == "test":
        if not train or "test" not in found:
            raise no_test(folder)
        beside = (found["val"], "is a val split, and the test split is judged on") if "val" in found else None
        return train | {"val": found["test"]}, beside
    beside = (found["test"], "is a test split beside a val split") if {"val", "test"} <= found.keys() else None
    val = found.get("val", found.get("test"))
    return train | ({} if val is None else {"val": val}), beside


def no_test(folder: Path) -> UserError:
    """What to say where the test split is to judge, and there is none."""
    return UserError(f"{folder} has no train and test split to judge on its test split; leave it to judge on val.")


def limit(dataset: Dataset, n: int) -> Dataset:
    """At most `n` items of each split, the first by hashed ids; classes of images take turns, so that few cover many.

    Of a suite it is each part that is limited, and what is learnt from is limited too. The spec is left as it is: a cell carries its
    limit itself.
    """
    if dataset.learnt_from:
        others = tuple(limit(each, n) for each in dataset.learnt_from)
        return dataclasses.replace(limit(dataclasses.replace(dataset, learnt_from=()), n), learnt_from=others)
    if dataset.parts:
        parts = {name: limit(part, n) for name, part in dataset.parts.items()}
        kept = {
            split: {f"{name}/{s.id}" for name, part in parts.items() for s in part.splits.get(split, ())}
            for split in dataset.splits
        }
        few = {split: tuple(s for s in items if s.id in kept[split]) for split, items in dataset.splits.items()}
        return dataclasses.replace(dataset, splits=few, parts=parts)
    splits = {name: by_id(items[k] for k in _in_turns(items)[:n]) for name, items in dataset.splits.items()}
    return dataclasses.replace(dataset, splits=splits)


def by_id(items: Iterable[AnyItem]) -> tuple[AnyItem, ...]:
    """The order of every split."""
    return tuple(sorted(items, key=lambda item: item.id))


def _in_turns(items: Sequence[Item]) -> list[int]:
    """Places of the items, so that a million of them need not be there at once."""
    hashes = [(_hashed(item), item.label if isinstance(item, Sample) else None) for item in items]
    of_class: defaultdict[int | None, int] = defaultdict(int)
    turns: list[tuple[int, str, int]] = []
    for place in sorted(range(len(items)), key=lambda place: hashes[place][0]):
        hashed, label = hashes[place]
        # Without image labels everything has turn 0 and the hash alone decides.
        turns.append((of_class[label] if label is not None else 0, hashed, place))
        of_class[label] += 1
    return [place for *_, place in sorted(turns, key=lambda turn: turn[:2])]


def _hashed(item: Item) -> str:
    return hashlib.sha256(item.id.encode()).hexdigest()


def class_notes(dataset: Dataset) -> tuple[str, ...]:
    """That there are classes in val of which train has nothing, and whether another spelling of them is there."""
    classes = dataset.classes
    met = {split: {k for sample in dataset.samples(split) for k in _labels(sample)} for split in ("train", "val")}
    if not met["train"]:
        return ()
    missing = [classes[label] for label in sorted(met["val"] - met["train"])]
    folded = {classes[label].casefold(): classes[label] for label in met["train"]}
    notes = [
        f"{name} in val is written {folded[name.casefold()]} in train" for name in missing if name.casefold() in folded
    ]
    if missing:
        names = ", ".join([*missing[:3], *(["..."] if len(missing) > 3 else [])])
        notes.insert(0, f"{len(missing)} of {len(met['val'])} classes in val have nothing in train: {names}")
    return tuple(notes)


def _labels(sample: Sample) -> list[int]:
    return [*([] if sample.label is None else [sample.label]), *(region.label for region in sample.regions)]
