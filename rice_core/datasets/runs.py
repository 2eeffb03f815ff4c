"""COCO's compressed run lengths, read for many masks at once.

A text holds the lengths of the runs of 0, 1, 0, ... down the columns: each a number in groups of five bits, low first, each
group + 48 as a character with 32 for "more follows"; from the fourth number on it is the difference to the number before
the last (pycocotools' rleFrString). pycocotools believes what it reads, and has no function that says whether the runs fill
the mask. Letters: N texts, R runs of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_ALPHABET = bytes(range(48, 112))
_GROUPS = 7
"""Of one number at most: 32 bits and a sign."""
_AT_ONCE = 200
"""Texts: what numpy makes of them stays in the processor's cache, which is five times as fast."""


def runs_of(text: str | bytes) -> list[int]:
    """The lengths of the runs of one text.

    Raises:
        ValueError: it holds no compressed run lengths.
    """
    data = _readable(text)
    runs: list[int] = _runs([data])[0].tolist() if data else [-1]
    if min(runs) < 0:
        raise ValueError("counts are no compressed run lengths")
    return runs


def fills_of(texts: Sequence[str | bytes]) -> tuple[Ints, Ints]:
    """Pixels of all runs, and those that are covered, by text [N]; -1 where it holds no compressed run lengths."""
    pixels_N, covered_N = np.full((2, len(texts)), -1, np.int64)
    for start in range(0, len(texts), _AT_ONCE):
        read = [_readable(text) for text in texts[start : start + _AT_ONCE]]
        there = np.flatnonzero([bool(data) for data in read])
        if len(there):
            runs_R, first_N, covered_R = _runs([read[place] for place in there])
            sound = np.minimum.reduceat(runs_R, first_N) >= 0
            places = start + there[sound]
            pixels_N[places] = np.add.reduceat(runs_R, first_N)[sound]
            covered_N[places] = np.add.reduceat(runs_R * covered_R, first_N)[sound]
    return pixels_N, covered_N


def _readable(text: str | bytes) -> bytes:
    """Empty where a character is not of the alphabet, or the last number does not end."""
    if isinstance(text, str):
        text = text.encode() if text.isascii() else b""
    return b"" if text.translate(None, _ALPHABET) or text[-1:] >= b"P" else text


def _runs(texts: Sequence[bytes]) -> tuple[Ints, Ints, Ints]:
    """All runs, the first of each text, and 1 for a run that is covered, else 0. Texts are readable and not empty."""
    group = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(48)
    end_R = np.flatnonzero(group < 32)
    groups_R = np.diff(end_R, prepend=-1)
    number_R = (group[end_R] & 15).astype(np.int64) - (group[end_R] & 16)  # the highest bit is the sign
    for back in range(1, _GROUPS):
        longer = np.flatnonzero(groups_R > back)
        number_R[longer] = number_R[longer] << 5 | (group[end_R[longer] - back] & 31)
    first_N = np.searchsorted(end_R, np.cumsum([0, *map(len, texts[:-1])]))
    # Differences add up over every other run: all texts' in one go, less what lay before.
    sum_R = number_R.copy()
    for parity in (0, 1):
        np.cumsum(sum_R[parity::2], out=sum_R[parity::2])
    count_N = np.diff(first_N, append=len(end_R))
    covered_R = (np.arange(len(end_R)) - np.repeat(first_N, count_N)) & 1
    before_N = np.where(first_N > 0, sum_R[first_N - 1], 0)
    runs_R = sum_R - np.where(covered_R, np.repeat(before_N, count_N), np.repeat(sum_R[first_N], count_N))
    runs_R[first_N] = number_R[first_N]
    runs_R[groups_R > _GROUPS] = -1
    return runs_R, first_N, covered_R
