"""A recipe with `views`: so many views of each image, the same for every seed and head, and their features kept.

V views an image, S x S pixels; C x T x U the patch tokens of a view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open

from probes.detection.annotations import GroundTruth
from probes.detection.images import Placing, jittered
from probes.detection.recipe import TrainingConfig

SEED = 0
"""Of the views and of their order, whatever the cell's seed is."""
_POOL = 3
"""Keeps this use of the seed apart from the loader's."""
SHARD = 32
"""Views of a file, at least one image's."""


@dataclass(frozen=True)
class Packed:
    """Tokens in half precision with an exponent of their own: 11 bits of each, whatever the encoder's scale."""

    half_CTU: npt.NDArray[np.float16]
    exponent: int

    def tokens(self) -> torch.Tensor:
        """(C, T, U), float32."""
        return torch.from_numpy(self.half_CTU.astype(np.float32)) * 2.0**self.exponent


def packed(tokens_CTU: torch.Tensor) -> Packed:
    """The largest magnitude becomes 2^14 to 2^15, so that nothing overflows and little is lost below."""
    tokens_CTU = tokens_CTU.detach().float().cpu()
    largest = float(tokens_CTU.abs().max())
    exponent = int(np.frexp(largest)[1]) - 15 if largest > 0 else 0
    return Packed((tokens_CTU * 2.0**-exponent).half().numpy(), exponent)


def rounded(tokens_BCTU: torch.Tensor) -> torch.Tensor:
    """As if they had been kept: so keeping changes cost and no number."""
    return torch.stack([packed(tokens_CTU).tokens() for tokens_CTU in tokens_BCTU]).to(tokens_BCTU.device)


def view_of(image: int, view: int, image_hw: tuple[int, int], side: int, config: TrainingConfig) -> Placing:
    """The `view`-th view of the `image`-th image of the split."""
    rng = np.random.default_rng([SEED, _POOL, image, view])
    return jittered(image_hw, side, config.jitter, config.flip, rng)


@dataclass(frozen=True)
class Kept:
    """The features of all views of a split, in files."""

    paths: tuple[Path, ...]
    images: int
    """Of each file but the last."""
    views: int
    rows: dict[tuple[int, int], int]
    """(image, view) -> row of its file; an image that could not be read has none."""
    sizes: dict[int, tuple[int, int]]
    """Image -> height and width."""
    reasons: dict[int, str]
    """Image -> why it could not be read."""
    _open: dict[int, Any] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # A worker opens the files itself.
        return self.__dict__ | {"_open": {}}

    def read(self, image: int, view: int) -> Packed:
        """The tokens of a view.

        Raises:
            KeyError: the image could not be read.
        """
        row, number = self.rows[image, view], image // self.images
        if number not in self._open:
            # Held open: a file that leaves the cache meanwhile stays readable.
            self._open[number] = safe_open(self.paths[number], "np").__enter__()
        file = self._open[number]
        return Packed(file.get_slice("half_NCTU")[row], int(file.get_slice("exponent_N")[row : row + 1][0]))


def shards(images: int, views: int) -> list[range]:
    """The images of each file."""
    step = max(1, SHARD // views)
    return [range(start, min(start + step, images)) for start in range(0, images, step)]


def about(truth: GroundTruth, images: range, side: int, config: TrainingConfig) -> dict[str, Any]:
    """What the features of a file depend on beside encoder, data and code."""
    return {
        "what": "detection views",
        "annotations": [truth.name, truth.sha256],
        "images": [images.start, images.stop],
        "side": side,
        "views": config.views,
        "jitter": config.jitter,
        "flip": config.flip,
        "precision": config.precision,
    }
