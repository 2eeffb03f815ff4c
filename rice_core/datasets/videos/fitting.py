"""Which frames and which rows of an annotation belong together, by how many there are and by the frames' numbers.

The annotation sets a video's length. What is over on either side is named; a frame that is missing between others makes the video
unusable, since all rows behind it would stand beside the wrong picture, and a tracker that leaves one out does another task.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from math import gcd
from pathlib import Path

from rice_core.disk.paths import as_text
from rice_core.errors import UserError

_PART = re.compile(r"(\D*)(\d+)(\D*)", re.ASCII)


@dataclass(frozen=True)
class Fit:
    """The first `rows` rows are those of frames `start` to `start + frames`; of hidden truth there are fewer rows than frames."""

    start: int
    frames: int
    rows: int
    over: tuple[str, ...] = ()
    """What is left over."""


def fit(video: str, names: Sequence[str], rows: int, *, first: int | None, hidden: bool) -> Fit:
    """Match frames with rows.

    Args:
        names: of the frames, in the order of their numbers.
        first: the number of the first frame where the layout fixes it; a step of 1 is then fixed too. None: names are free.
        hidden: whether one row alone may be the first box of a video whose truth nobody has.

    Raises:
        UserError: no frames, no rows, or it cannot be known which row is which frame's.
    """
    if not names:
        raise UserError(f"{video} has no frames; copy or extract them, or leave the video out.")
    if not rows:
        raise UserError(f"{video} has no row in its annotation; write x,y,w,h a line.")
    numbers = _numbers(names)
    if (start := _LATE.get((Path(video).name.lower(), len(names), rows), 0)) and numbers:
        before = f"the {start} frames before frame {start + 1}, where OTB's annotation begins"
        return Fit(start, rows, rows, (before,))
    told = hidden and rows == 1
    if len(names) == rows and (first is None or _even(numbers)):
        return Fit(0, rows, rows)
    if told and (first is None or not numbers):
        return Fit(0, len(names), 1)
    if not numbers:
        raise UserError(
            f"{video} has {len(names)} frames for {rows} rows, and their names ({as_text(names[0])[:40]}) do not say which is whose; number the frames."
        )
    _check_gaps(video, numbers, numbers[-1] + 1 if told else rows, first)
    if told:
        return Fit(0, len(names), 1)
    kept = min(len(names), rows)
    over: tuple[str, ...] = ()
    if len(names) > rows:
        over = (_many(len(names) - rows, "frame", "past the annotation"),)
    if rows > len(names):
        over = (_many(rows - len(names), "row", "past the last frame"),)
    return Fit(0, kept, kept, over)


_LATE = {("david", 770, 471): 299}
"""Frames before the first row. Of OTB's videos with fewer rows than images this one's rows do not begin with its first image."""


def _numbers(names: Sequence[str]) -> list[int]:
    """The numbers of names that are alike but for one; none where they are not."""
    stems = [name.rpartition(".")[0] or name for name in names]
    if all(stems) and (every := "".join(stems)).isascii() and every.isdigit():
        found = [int(stem) for stem in stems]
    else:
        # The last number counts (`clip3_0001`), where all before and behind it is the same.
        parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", stem, re.ASCII | re.DOTALL) for stem in stems]
        if not all(parts) or len({(part[1], part[3]) for part in parts if part}) > 1:
            return []
        found = [int(part[2]) for part in parts if part]
    # 1.jpg beside 01.jpg, or beside 1.png, are two frames of one number.
    return found if len({*found}) == len(found) else []


def _even(numbers: Sequence[int]) -> bool:
    return bool(numbers) and len({b - a for a, b in pairwise(numbers)}) <= 1


def _check_gaps(video: str, numbers: Sequence[int], length: int, first: int | None) -> None:
    """Raises UserError where a frame is missing before the last of the first `length` numbers."""
    steps = [b - a for a, b in pairwise(numbers)]
    step = 1 if first is not None or not steps else reduce(gcd, steps)
    # Numbers may count from 0 where the layout's own count from 1.
    start = numbers[0] if first is None or numbers[0] <= first else first
    reached = [n for n in numbers if (n - start) // step < length]
    there = set(reached)
    last = reached[-1] if reached else numbers[0]
    missing = [n for n in range(start, last, step) if n not in there]
    if missing:
        what = (
            f"frame {missing[0]} is missing"
            if len(missing) == 1
            else f"{len(missing)} frames are missing, first {missing[0]}"
        )
        raise UserError(f"{video} has a gap: {what} of {start} to {last}; copy or extract its frames again.")


def _many(n: int, what: str, where: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'} {where}"
