"""InBytes: what a process and those who decode for it know of many items, as bytes that they share."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar, overload

import torch

T = TypeVar("T")


class InBytes(Sequence[T], Generic[T]):
    """Plain values, unpacked one by one when they are asked for.

    Objects would be copied into each worker: a count of references lies in each, and is written whenever it is looked at, so
    that not a page of them stays shared with the process that was forked. A tensor is one object, and goes into shared memory
    where a worker is started anew. detectron2 does the same (`_TorchSerializedList`).
    """

    def __init__(self, values: Iterable[T]) -> None:
        parts = [pickle.dumps(value, pickle.HIGHEST_PROTOCOL) for value in values]
        self._ends = torch.tensor(list(accumulate(map(len, parts), initial=0)))
        self._bytes = torch.frombuffer(bytearray(b"".join(parts)) or bytearray(1), dtype=torch.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes, of all processes together."""
        return self._bytes.nbytes + self._ends.nbytes

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...

    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(len(self))[index])
        place = range(len(self))[index]
        start, end = self._ends[place : place + 2].tolist()
        value: T = pickle.loads(self._bytes[start:end].numpy().data)
        return value

    def __iter__(self) -> Iterator[T]:
        return (self[place] for place in range(len(self)))


def still(_: int) -> None:
    """Of a worker, when it begins: collecting garbage would write into all objects that it was forked with."""
    gc.freeze()
