"""Which frames of which videos are looked at together: many videos in lock step, the longest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SLOTS = {"cpu": 16, "cuda": 64}
"""Videos at a time: more give a CPU nothing (docs/benchmarks.md)."""


def slots_of(device: torch.device) -> int:
    """Videos that are followed at a time."""
    return SLOTS.get(device.type, SLOTS["cuda"])


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Places of what is not empty, the longest first, equal ones as they come: then no long one is alone at the end."""
    return sorted((place for place, length in enumerate(lengths) if length), key=lambda place: -lengths[place])


def lock_steps(lengths: Sequence[int], slots: int) -> Iterator[list[tuple[int, int]]]:
    """For each step the (place, how many of its frames were looked at before) of what is looked at together.

    A slot whose video has ended takes the next one. Nothing here depends on what is seen, so that frames can be decoded ahead.
    """
    waiting = iter(longest_first(lengths))
    busy: list[list[int]] = [[place, 0] for place in islice(waiting, slots)]
    while busy:
        yield [(place, done) for place, done in busy]
        for slot in busy:
            slot[1] += 1
        going = []
        for place, done in busy:
            if done < lengths[place]:
                going.append([place, done])
            elif (following := next(waiting, None)) is not None:
                going.append([following, 0])
        busy = going


def steps_of(lengths: Sequence[int], slots: int) -> int:
    """How many steps `lock_steps` takes, without going through them."""
    ends: list[int] = []
    for place in longest_first(lengths):
        free = 0 if len(ends) < slots else heapq.heappop(ends)
        heapq.heappush(ends, free + lengths[place])
    return max(ends, default=0)
