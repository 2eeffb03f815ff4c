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

from probes.detection.images import Placing, jittered
from probes.detection.recipe import TrainingConfig
from probes.detection.truth import GroundTruth

SEED = 0
"""Of the views and of their order, whatever the cell's seed is."""
ORDER, VIEW, REPEAT, POOL = range(4)
"""Keep the uses of a seed apart."""
SHARD = 32
"""Views of a file, at least one image's."""


@dataclass(frozen=True)
class Packed:
    """Tokens in half precision with an exponent for each view: 11 bits of each, whatever the encoder's scale."""

    half_BCTU: torch.Tensor
    exponent_B: torch.Tensor
    """int32, on the CPU."""

    def tokens(self, device: torch.device) -> torch.Tensor:
        """(B, C, T, U), float32, scaled there."""
        # Powers of two by the CPU: a GPU's may be off by a bit.
        scale_B = torch.tensor([2.0**exponent for exponent in self.exponent_B.tolist()], device=device)
        return self.half_BCTU.to(device, non_blocking=True).float() * scale_B[:, None, None, None]


def packed(tokens_BCTU: torch.Tensor) -> Packed:
    """The largest magnitude of a view becomes 2^14 to 2^15, so that nothing overflows and little is lost below."""
    largest_B = tokens_BCTU.detach().abs().amax((1, 2, 3)).double().cpu()
    # 2^126 is the largest power whose inverse float32 has too.
    exponent_B = (torch.frexp(largest_B).exponent - 15).clamp(-126, 126)
    scale_B = torch.tensor([2.0**-exponent for exponent in exponent_B.tolist()], device=tokens_BCTU.device)
    return Packed((tokens_BCTU * scale_B[:, None, None, None]).half(), exponent_B)


def rounded(tokens_BCTU: torch.Tensor) -> torch.Tensor:
    """As if they had been kept: so keeping changes cost and no number."""
    return packed(tokens_BCTU).tokens(tokens_BCTU.device)


def view_of(image: int, view: int, image_hw: tuple[int, int], side: int, config: TrainingConfig) -> Placing:
    """The `view`-th view of the `image`-th image of the split."""
    rng = np.random.default_rng([SEED, POOL, image, view])
    return jittered(image_hw, side, config.jitter, config.flip, rng)


@dataclass(frozen=True)
class KeptViews:
    """The features of all views of a split, in files."""

    paths: tuple[Path, ...]
    images: int
    """Of each file but the last."""
    rows: dict[tuple[int, int], int]
    """(image, view) -> row of its file; an image that could not be read has none."""
    sizes: dict[int, tuple[int, int]]
    """Image -> height and width."""
    reasons: dict[int, str]
    """Image -> why it could not be read."""
    files: dict[int, Any] = field(default_factory=dict, compare=False, repr=False)
    """Open ones by number: a file that leaves the cache meanwhile stays readable."""

    def __getstate__(self) -> dict[str, Any]:
        # What cannot be sent to another process is opened there.
        return self.__dict__ | {"files": {}}

    def read(self, image: int, view: int) -> tuple[npt.NDArray[np.float16], int]:
        """The tokens of a view, (C, T, U), and their exponent.

        Raises:
            KeyError: the image could not be read.
        """
        row, number = self.rows[image, view], image // self.images
        if number not in self.files:
            self.files[number] = opened(self.paths[number])
        file = self.files[number]
        return file.get_slice("half_NCTU")[row], int(file.get_slice("exponent_N")[row : row + 1][0])


def opened(path: Path) -> Any:
    """A safetensors file, mapped into memory.

    Raises:
        FileNotFoundError: it is gone.
    """
    return safe_open(path, "np").__enter__()


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
        "norm": config.norm,
    }
