"""Described: the features of one piece's regions, made batch by batch, without the images that the featurizer fails on.

Shapes: N regions that were described, L that were not, D width of a feature.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from PIL import Image

from rice_core.images import ImageError
from rice_core.rice.curate.faults import FaultRow, asked
from rice_core.rice.curate.nouns import Box, Floats, RegionFeaturizer
from rice_core.rice.curate.pieces import Arrays

BATCH = 256
"""Crops described at once."""


@dataclass(frozen=True)
class RegionCrop:
    row: int
    """Its number among all regions of the piece."""
    source: str
    """Id of its image."""
    image: Image.Image


class Described:
    """Add images with their boxes, then take the arrays.

    A batch that fails does not say which of its crops is the reason, so each of its images is then described alone, and one
    that fails alone is left out with all its regions.
    """

    def __init__(self, featurizer: RegionFeaturizer) -> None:
        self._featurizer = featurizer
        self._sources: list[str] = []
        self._waiting: list[RegionCrop] = []
        self._rows: list[int] = []
        self._parts: list[Floats] = []
        self._problems: dict[str, str] = {}
        # Counted apart: the crops of many images are cut before the first of them is described.
        self._cut, self._made = FaultRow(), FaultRow()

    def add(self, source: str, image: Image.Image, boxes: Sequence[Box]) -> None:
        """The regions of one more image.

        Raises:
            UserError: the featurizer fails on image after image.
        """
        first = len(self._sources)
        self._sources += [source] * len(boxes)
        try:
            with asked(self._featurizer):
                crops = [self._featurizer.crop(image, box) for box in boxes]
        except ImageError as fault:
            self._problems[source] = str(fault)
            self._cut.add(source, fault)
            return
        self._cut.ends()
        self._waiting += [RegionCrop(row, source, crop) for row, crop in enumerate(crops, first)]
        while len(self._waiting) >= BATCH:
            self._describe(BATCH)

    def arrays(self) -> Arrays:
        """x_ND (float16, unit length or zero), and where images failed lost_L, the numbers of their regions among all, and
        problems (`problems`). Raises as `add` does.
        """
        self._describe(len(self._waiting))
        lost = np.array([source in self._problems for source in self._sources], bool)
        # An image may fail in its second batch: what its first one gave goes too.
        x_ND = np.concatenate(self._parts)[~lost[self._rows]] if self._parts else np.zeros((0, 0), np.float32)
        if len(x_ND):
            # Unit length: float16 then holds every number, and k-means is spherical anyway.
            x_ND = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True).clip(1e-9)
        arrays: Arrays = {"x_ND": x_ND.astype(np.float16)}
        if self._problems:
            arrays["lost_L"] = np.flatnonzero(lost)
            arrays["problems"] = np.frombuffer(json.dumps(self._problems).encode(), np.uint8)
        return arrays

    def _describe(self, n: int) -> None:
        """The first n that wait."""
        crops = [crop for crop in self._waiting[:n] if crop.source not in self._problems]
        self._waiting = self._waiting[n:]
        if not crops:
            return
        try:
            self._make(crops)
        except ImageError:
            for source, own in groupby(crops, key=lambda crop: crop.source):
                try:
                    self._make(list(own))
                except ImageError as fault:
                    self._problems[source] = str(fault)
                    self._made.add(source, fault)

    def _make(self, crops: Sequence[RegionCrop]) -> None:
        with asked(self._featurizer):
            x_ND = self._featurizer.describe([crop.image for crop in crops])
        self._rows += [crop.row for crop in crops]
        self._parts.append(x_ND)
        self._made.ends()


def problems(arrays: Arrays) -> dict[str, str]:
    """Image -> why it could not be described, of what `Described` gave."""
    found: dict[str, str] = json.loads(arrays["problems"].tobytes()) if "problems" in arrays else {}
    return found
