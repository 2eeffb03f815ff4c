"""The truth of a split as bytes that a process and those who decode for it share."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import overload

import torch

from probes.detection.truth import GroundTruth, TruthImage


class SharedImages(Sequence[TruthImage]):
    """Images, unpacked one by one when they are asked for.

    Objects would be copied into each worker: a count of references lies in each, and is written whenever it is looked at, so
    that not a page of them stays shared with the process that was forked. A tensor is one object, and goes into shared memory
    where a worker is started anew. detectron2 does the same (`_TorchSerializedList`).
    """

    def __init__(self, images: Iterable[TruthImage]) -> None:
        parts = [pickle.dumps(image, pickle.HIGHEST_PROTOCOL) for image in images]
        self._ends = torch.tensor(list(accumulate(map(len, parts), initial=0)))
        self._bytes = torch.frombuffer(bytearray(b"".join(parts)) or bytearray(1), dtype=torch.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes, of all processes together."""
        return self._bytes.nbytes + self._ends.nbytes

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> TruthImage: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[TruthImage, ...]: ...

    def __getitem__(self, index: int | slice) -> TruthImage | tuple[TruthImage, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(len(self))[index])
        place = range(len(self))[index]
        start, end = self._ends[place : place + 2].tolist()
        image: TruthImage = pickle.loads(self._bytes[start:end].numpy())
        return image

    def __iter__(self) -> Iterator[TruthImage]:
        return (self[place] for place in range(len(self)))


def still(_: int) -> None:
    """Of a worker, when it begins: collecting garbage would write into all objects that it was forked with."""
    gc.freeze()


def shared(truth: GroundTruth) -> GroundTruth:
    """What a training needs of its truth: no body for evaluators, and images that can be shared."""
    return replace(truth, images=SharedImages(truth.images), body={})
