"""What a data set was read as, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from rice_core.datasets.nouns import NOUNS, Conversation, Dataset, Expression, Video
from rice_core.left_out import left_out

_NAMES = 5
_COUNTED = 200
"""Videos whose frames are counted."""


def describe(dataset: Dataset) -> Iterator[str]:
    """Layout, images a split, the number and the first names of the classes, what is to be known, and what was left out."""
    spec = dataset.spec
    sizes = ", ".join(f"{len(items)} {split}" for split, items in dataset.splits.items())
    noun = next((NOUNS[type(items[0])] for items in dataset.splits.values() if items), "images")
    yield ", ".join(filter(None, [f"data set {spec.name} ({spec.layout}): {sizes} {noun}", _made_of(dataset)]))
    if dataset.saw:
        yield f"  read as {spec.layout}: {dataset.saw}"
    if dataset.classes:
        more = [f"and {len(dataset.classes) - _NAMES} more"] if len(dataset.classes) > _NAMES else []
        yield f"  classes: {', '.join([*dataset.classes[:_NAMES], *more])}"
    if dataset.parts:
        yield f"  data sets: {', '.join(dataset.parts)}"
    for note in dataset.notes:
        yield f"  note: {note}"
    for line in left_out(dataset.skipped):
        yield f"  {line}"


def _made_of(dataset: Dataset) -> str:
    """How many classes it has; of videos how many frames, where they are few enough to be listed; of words about images nothing."""
    # The first tells what a split's items are: to look at each of a million conversations takes a minute.
    split = (items for items in dataset.splits.values() if items and isinstance(items[0], Video))
    videos = [cast(Video, item) for items in split for item in items]
    if not videos:
        words = any(isinstance(items[0], Conversation | Expression) for items in dataset.splits.values() if items)
        return "" if words else f"{len(dataset.classes)} classes"
    if len(videos) > _COUNTED:
        return "their frames not counted"
    try:
        return f"{sum(len(video.frames) for video in videos):,} frames"
    except OSError:
        return "whose frames cannot be listed"
