"""The nouns of curation: what a source image is, what is found in it, and the Protocols of the providers.

Boxes are (left, top, right, bottom) in pixels of the upright image. N crops, D width of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from rice_core.datasets.nouns import Region
from rice_core.spec import Frozen

Floats = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]


class Proposal(Frozen):
    """A region that may hold an object."""

    box: Box
    rle: dict[str, Any] | None = None
    """COCO's compressed RLE over the whole image; None: the box is the region."""
    score: float | None = None
    truth: int | None = None
    """Its category where the proposer knows it; for measuring purity, and never written to a shard."""


class TextLine(Frozen):
    """A line (or word) of text."""

    box: Box
    text: str
    score: float | None = None


@dataclass(frozen=True)
class SourceImage:
    """One image of the folder, and what lies beside it on disk."""

    id: str
    """File name relative to the folder."""
    path: Path
    size_hw: tuple[int, int] | None = None
    """As annotated."""
    regions: tuple[Region, ...] = ()
    crowds: int = 0
    """Regions of many objects, which are none of the above."""
    lines: tuple[TextLine, ...] = ()
    caption: str | None = None


@dataclass(frozen=True)
class DecodedImage:
    """A decoded source: what proposers and spotters see."""

    source: SourceImage
    image: Image.Image


class Provider(Protocol):
    """`name@version` goes into the manifest, and a new version redoes the stage."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def portable(self) -> bool:
        """Whether every worker process may hold one of its own; large models stay in one process."""


class RegionProposer(Provider, Protocol):
    def propose(self, picture: DecodedImage) -> Sequence[Proposal]:
        """Regions of one image, in an order that depends on the image alone.

        Raises:
            ImageError: this image cannot be used; it is counted and the others go on.
        """


class TextSpotter(Provider, Protocol):
    def spot(self, picture: DecodedImage) -> Sequence[TextLine]:
        """Lines of one image, of any confidence."""


class Tokenizer(Provider, Protocol):
    @property
    def classes(self) -> int:
        """Size of the vocabulary, the classes of the OCR bank."""

    def tokens(self, text: str) -> tuple[int, ...]:
        """Unique ids in order of appearance; empty where the text has none."""


class RegionFeaturizer(Provider, Protocol):
    @property
    def components(self) -> int | None:
        """Width after the PCA that is fitted over all regions; None: features are clustered as they are."""

    def crop(self, image: Image.Image, box: Box) -> Image.Image:
        """What `describe` wants to see of a region; small, so that many can wait for a batch."""

    def describe(self, crops: Sequence[Image.Image]) -> Floats:
        """(N, D)."""
