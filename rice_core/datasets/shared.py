"""Whether train and val, as a data set has them, show the same scenes: then a number over val is too high, and it is said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rice_core.datasets.nouns import Sample
from rice_core.datasets.scenes import FileName, copied, told_by
from rice_core.record import TOO_HIGH


def shared_note(train: Sequence[Sample], val: Sequence[Sample], named: Mapping[str, str] | None = None) -> str:
    """How many images of val show a scene that train shows, with an example; empty where none does.

    Scenes are told by Roboflow's names, by fields, and by the names of videos where train and val have other frames of them.

    Args:
        named: scenes by id as the user names them, which are then all that counts.
    """
    if named is not None:
        of_train, of_val = ({s.id: [named[s.id]] for s in split} for split in (train, val))
    else:
        told = told_by(train), told_by(val)
        frames = _frames_of_both(*told)
        of_train, of_val = (_marks(split, names, frames) for split, names in zip((train, val), told, strict=True))
    first = {mark: item for item, marks in reversed(of_train.items()) for mark in marks}
    found = [(item, first[mark]) for item, marks in of_val.items() for mark in marks if mark in first]
    n = len({item for item, _ in found})
    if not n:
        return ""
    item, other = found[0]
    return f"{n} of {len(val)} images in val show {'a scene' if n == 1 else 'scenes'} that train shows too, such as {item} and {other}: {TOO_HIGH}"


def _marks(split: Sequence[Sample], told: Mapping[str, FileName], frames: set[str]) -> dict[str, list[str]]:
    """What tells the scenes of those images of which something does."""
    marks: defaultdict[str, list[str]] = defaultdict(list)
    for sample in split:
        name = told[sample.id]
        if sample.scene:
            marks[sample.id].append(f"field {sample.scene}")
        if copied(sample.id):
            marks[sample.id].append(f"copy {name.source}")
        if name.sure and name.series in frames:
            marks[sample.id].append(f"video {name.series}")
    return marks


def _frames_of_both(train: Mapping[str, FileName], val: Mapping[str, FileName]) -> set[str]:
    """Names of videos of which train and val have frames of other numbers: the same ones would be of two videos of one name.

    Of frames that name no video, those of val have to lie between those of train.
    """
    nameless = {name.series for told in (train, val) for name in told.values() if name.nameless}
    numbers: tuple[defaultdict[str, set[int]], ...] = (defaultdict(set), defaultdict(set))
    for found, told in zip(numbers, (train, val), strict=True):
        for name in told.values():
            if name.sure:
                found[name.series].add(name.number)
    both = {
        series for series in numbers[0].keys() & numbers[1].keys() if numbers[0][series].isdisjoint(numbers[1][series])
    }
    return {series for series in both if series not in nameless or _between(numbers[0][series], numbers[1][series])}


def _between(train: set[int], val: set[int]) -> bool:
    return 2 * sum(min(train) < number < max(train) for number in val) > len(val)
