"""Which conversations share a step: those of like length, so that little of a batch is padding, and with or without pictures.

Every one is there once an epoch, whatever the batch: LLaVA's own sampler either fails where all have pictures, or drops the last batch of
each kind (of 1000 and 130 by 128, 106). The order is a function of seed and epoch alone, and the same for any number of ranks.

Shapes: N conversations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Lengths = npt.NDArray[np.int32]
"""[N]: tokens of each conversation, those of its pictures among them; negative where it has no picture (as LLaVA's sampler has it)."""

POOL = 16
"""Steps whose conversations are sorted together. With all of them each step would be the same ones in every epoch."""
_ORDER = 0x0D


def epoch_steps(lengths_N: Lengths, *, batch: int, seed: int, epoch: int, grouped: bool = True) -> list[Ints]:
    """Conversations of each step of an epoch: `batch` of them, and in one step what is left.

    Args:
        grouped: False: any may share a step, and of the lengths their number counts alone.
    """
    rng = np.random.default_rng([seed, epoch, _ORDER])
    if not grouped:
        return _cut(rng.permutation(len(lengths_N)), batch)
    steps, left = list[Ints](), list[Ints]()
    for kind in (True, False):
        places = rng.permutation(np.flatnonzero((lengths_N > 0) == kind))
        whole = len(places) // batch * batch
        left.append(places[whole:])
        for pool in _cut(places[:whole], POOL * batch):
            steps += _cut(_longest_first(pool, lengths_N), batch)
    # What fills no step of one kind shares one with the other: a step of both costs less than none at all.
    steps += _cut(np.concatenate(left), batch)
    return [_longest_first(steps[k], lengths_N) for k in rng.permutation(len(steps))]


def parts_of_step(step: Ints, *, part: int, rank: int, ranks: int, parts: int) -> list[Ints]:
    """What of a step goes through the network at once on this rank, one after the other.

    Ranks take turns, so that those who wait for each other have conversations of like length.

    Args:
        parts: of each rank; the last ones may be empty.
    """
    return [step[(k * ranks + rank) * part :][:part] for k in range(parts)]


def padding_share(parts: Sequence[Ints], lengths_N: Lengths) -> float:
    """How much of these batches is padding, 0 to 1: 1 - tokens / (conversations x the longest)."""
    held = sum(int(np.abs(lengths_N[part]).sum()) for part in parts)
    room = sum(len(part) * int(np.abs(lengths_N[part]).max()) for part in parts if len(part))
    return 1 - held / max(1, room)


def _cut(places: Ints, most: int) -> list[Ints]:
    return [places[start : start + most] for start in range(0, len(places), most)]


def _longest_first(places: Ints, lengths_N: Lengths) -> Ints:
    """If memory is short it shows at once."""
    return places[np.argsort(-np.abs(lengths_N[places]), kind="stable")]
