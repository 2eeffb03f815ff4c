"""What was left out, in a few lines: reasons that differ in names and numbers alone are counted as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rice_core.record import Skipped

_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d+(?:\.\d+)?")


def left_out(skipped: Iterable[Skipped], *, most: int = 8) -> Iterator[str]:
    """One line a kind of reason, that of the most lines first: how often, and the first item with its reason in full."""
    ordered = _kinds(skipped)
    for alike in ordered[:most]:
        # Of several lines that count (the crowd regions of each file) what matters is the sum.
        word = "times" if _times(alike) == len(alike) else "in all"
        times = f"{_times(alike)} {word}, first " if len(alike) > 1 else ""
        yield f"left out: {times}{alike[0].item}: {alike[0].reason}"
    if rest := ordered[most:]:
        more = sum(map(_times, rest))
        yield f"left out: {more} more for {len(rest)} other reasons; the records list them all"


def because(skipped: Iterable[Skipped]) -> str:
    """The end of a sentence that says that there was nothing to measure: what had been left out; empty where nothing was."""
    kinds = _kinds(skipped)
    if not kinds:
        return ""
    n, often = sum(map(_times, kinds)), kinds[0]
    things = "1 thing was left out" if n == 1 else f"{n} things were left out"
    share = "as" if len(kinds) == 1 else f"{_times(often)} of them as"
    return f"; {things}, {share} {often[0].item}: {often[0].reason}"


def _kinds(skipped: Iterable[Skipped]) -> list[list[Skipped]]:
    """Those with one kind of reason together, that of the most lines first: COCO's 10,000 crowds hide no missing file."""
    kinds: dict[str, list[Skipped]] = {}
    for skip in dict.fromkeys(skipped):
        kinds.setdefault(_PARTICULAR.sub("*", skip.reason), []).append(skip)
    return sorted(kinds.values(), key=len, reverse=True)


def _times(skipped: Iterable[Skipped]) -> int:
    return sum(skip.times for skip in skipped)
