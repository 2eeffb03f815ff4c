"""Which leg of a training a step belongs to, and learning rates: functions of the step alone, so resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Leg:
    """A part of a training between whose ends nothing changes but the rate; steps count from 0."""

    index: int
    name: str
    """As sentences call it."""
    first: int
    """Its first step."""
    end: int
    """The step after its last one."""


def legs(steps: Sequence[int], names: Sequence[str]) -> tuple[Leg, ...]:
    """Legs of so many steps, one after the other."""
    ends = list(accumulate(steps, initial=0))
    return tuple(Leg(k, name, *ends[k : k + 2]) for k, name in enumerate(names))


def cosine(i: int, n: int, *, peak: float, warm_up: int) -> float:
    """Linear warm-up, then a half cosine to zero: the rate at step i of n, of which w warm up.

    peak * (i + 1) / w for i < w, else peak * (1 + cos(pi * (i - w) / (n - w))) / 2.
    """
    if i < warm_up:
        return peak * (i + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (i - warm_up) / (n - warm_up)))


def dropping(i: int, n: int, *, peak: float, warm_up: int, drops: Sequence[float]) -> float:
    """Linear warm-up that reaches the peak after w steps, then a tenth at each drop: the rate at step i of n.

    Args:
        drops: shares of n.
    """
    warm = min(1.0, (i + 1) / (warm_up + 1))
    return peak * warm * math.pow(0.1, sum(i >= share * n for share in drops))
