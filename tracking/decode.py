"""Frames of videos, decoded ahead of whoever asks for them, in the order in which they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from rice_core.datasets.in_bytes import still
from rice_core.images import ImageError, load_image

Pixels = npt.NDArray[np.uint8]
Picture = Pixels | Image.Image
"""H x W x 3, or Pillow's own: then `crops.cut` unpacks what it shows alone, and not the whole frame."""
_CHUNK = 8
"""Frames that a worker hands over at once, in one piece of shared memory: by themselves they would cost more to hand over than to cut."""
_PREFETCH = 2
_Packed = tuple[torch.Tensor, list[tuple[int, ...] | str]]


def decoded(paths: Iterable[Path], workers: int) -> Iterator[Picture | str]:
    """The frames in order; in place of one that cannot be read the reason.

    Args:
        workers: processes (one interpreter's lock stops at some hundred images a second, docs/benchmarks.md); 0: decoded here, when
            it is its turn, which is right where the tracker has all cores anyway.
    """
    if not workers:
        yield from map(_decoded, paths)
        return
    loader = DataLoader(
        _Files(),
        batch_sampler=_Chunks(paths),
        num_workers=workers,
        prefetch_factor=_PREFETCH,
        collate_fn=_packed,
        worker_init_fn=still,
        # Else it draws a seed from the global generator.
        generator=torch.Generator(),
    )
    for packed in loader:
        yield from _unpacked(packed)


@dataclass(frozen=True)
class _Chunks:
    paths: Iterable[Path]

    def __iter__(self) -> Iterator[list[Path]]:
        paths = iter(self.paths)
        while chunk := list(islice(paths, _CHUNK)):
            yield chunk


class _Files(Dataset[Any]):
    """Of all files: a path is what one is asked by."""

    def __getitem__(self, path: Path) -> Pixels | str:
        frame = _decoded(path)
        return frame if isinstance(frame, str) else np.asarray(frame)


def _decoded(path: Path) -> Image.Image | str:
    try:
        return load_image(path)
    except ImageError as error:
        return str(error)


def _packed(found: list[Pixels | str]) -> _Packed:
    """Frames of any sizes in one tensor, which goes to the other process without a copy."""
    pixels = [frame.reshape(-1) for frame in found if not isinstance(frame, str)]
    flat = torch.from_numpy(np.concatenate(pixels)) if pixels else torch.empty(0, dtype=torch.uint8)
    return flat, [frame if isinstance(frame, str) else frame.shape for frame in found]


def _unpacked(packed: _Packed) -> Iterator[Pixels | str]:
    flat, told = packed[0].numpy(), packed[1]
    start = 0
    for each in told:
        if isinstance(each, str):
            yield each
            continue
        end = start + int(np.prod(each))
        yield flat[start:end].reshape(each)
        start = end
