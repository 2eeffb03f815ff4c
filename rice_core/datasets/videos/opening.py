"""Videos by split become a data set: ids that differ, what cannot be used left out where that is cheap to see, a fingerprint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rice_core.datasets.digests import fingerprint
from rice_core.datasets.nouns import Dataset, Video
from rice_core.datasets.splits import Judge, by_id, no_test
from rice_core.datasets.videos.places import leave_out
from rice_core.datasets.videos.source import over
from rice_core.disk.paths import as_text
from rice_core.errors import UserError
from rice_core.record import Skipped
from rice_core.spec import DatasetSpec

LOOKED_THROUGH = 200
"""Videos of a data set whose frames are listed and whose annotations are read when it is opened."""


def dataset(
    layout: str,
    folder: Path,
    found: Mapping[str, Sequence[Video]],
    skipped: Sequence[Skipped],
    *,
    name: str,
    judge: Judge,
    saw: str,
    notes: Sequence[str] = (),
) -> Dataset:
    """The data set of one of the readers of videos. Splits keep the data set's own names.

    Raises:
        UserError: no video is left, or the test split is to judge and there is none.
    """
    left_out, said = [*skipped], [*notes]
    once = {split: of_split for split, videos in found.items() if (of_split := _once(videos, left_out))}
    splits = _apart(once, said)
    if sum(map(len, splits.values())) <= LOOKED_THROUGH:
        splits = {split: usable for split, videos in splits.items() if (usable := _usable(videos, left_out))}
    if not splits:
        first = f" The first reason: {left_out[0].item} {left_out[0].reason}." if left_out else ""
        raise UserError(f"{folder} holds no video that can be read as {layout}.{first}")
    if judge == "test" and "test" not in splits:
        raise no_test(folder)
    ordered = {split: by_id(splits[split]) for split in sorted(splits, key=_order)}
    spec = DatasetSpec(name=name, layout=layout, fingerprint=fingerprint(layout, (), ordered, {}))
    return Dataset(spec, (), ordered, frozenset({"videos"}), tuple(left_out), saw=saw, notes=tuple(said))


def _once(videos: Sequence[Video], left_out: list[Skipped]) -> list[Video]:
    """Those whose names a record can hold, the first of each name."""
    kept: dict[str, Video] = {}
    nameless, twice = [], []
    for video in videos:
        if as_text(video.id) != video.id:
            nameless.append(video.id)
        elif kept.setdefault(video.id, video) is not video:
            twice.append(video.id)
    left_out += leave_out(nameless, "has a name that is no valid Unicode")
    left_out += leave_out(twice, "is there twice in one split")
    return [*kept.values()]


def _usable(videos: Sequence[Video], left_out: list[Skipped]) -> list[Video]:
    usable = []
    for video in videos:
        try:
            left_out += over(video)
        except UserError as error:
            left_out.append(Skipped(item=video.id, reason=str(error).removeprefix(f"{video.id} ").rstrip(".")))
        else:
            usable.append(video)
    return usable


def _apart(splits: Mapping[str, Sequence[Video]], notes: list[str]) -> dict[str, Sequence[Video]]:
    """Videos that are called alike in two splits are told apart by the split; what is judged on keeps its name, which results go by."""
    seen: dict[str, str] = {}
    told: dict[str, Sequence[Video]] = {}
    for split in sorted(splits, key=_order, reverse=True):
        alike = [video.id for video in splits[split] if video.id in seen]
        if alike:
            notes.append(
                f"{len(alike)} videos are called alike in {split} and {seen[alike[0]]}, such as {alike[0]}; where they are one video, "
                "what is trained on shows what is judged on"
            )
        told[split] = [
            dataclasses.replace(video, id=f"{split}/{video.id}") if video.id in seen else video
            for video in splits[split]
        ]
        seen.update((video.id, split) for video in splits[split])
    return told


def _order(split: str) -> tuple[int, str]:
    known = ("train", "val", "test")
    return (known.index(split) if split in known else len(known), split)
