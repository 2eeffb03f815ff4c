"""Data sets on disk, in three layouts, found by looking at the folder:

coco           annotations/instances_<split>*.json with images in <split>*/ or images/<split>*/ or images/; also
               <split>/_annotations.coco.json (Roboflow)
class-folders  <class>/*.jpg, or train/<class>/*.jpg and val/<class>/*.jpg
photos         images in the folder or below it, without labels
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rice_core.record import Skipped
from rice_core.spec import DatasetSpec


@dataclass(frozen=True)
class Region:
    """One annotated object. Coordinates are pixels of the upright image (after EXIF rotation)."""

    box_xywh: tuple[float, float, float, float]
    label: int
    """Index into the data set's classes."""
    segmentation: Any = None
    """COCO polygons (list of lists), a COCO RLE dict, or None for a box alone."""


@dataclass(frozen=True)
class Sample:
    """One image and what is known about it. `id` is the relative path without any machine's prefix."""

    id: str
    path: Path
    label: int | None = None
    regions: tuple[Region, ...] = ()
    size_hw: tuple[int, int] | None = None
    """As annotated; checked when the image is decoded."""


@dataclass(frozen=True)
class Dataset:
    """Samples by split ("train", "val"), in a fixed order that depends on the ids alone."""

    spec: DatasetSpec
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    provides: frozenset[str]
    """Of "labels" (items with a class) and "regions" (boxes or masks)."""
    skipped: tuple[Skipped, ...] = ()
    """What the reader left out, with reasons."""


def open_dataset(folder: Path, *, name: str = "") -> Dataset:
    """Read a folder in one of the layouts above.

    A set with one split is divided: every fifth image by the order of the hashed ids is `val`. COCO crowd regions are left
    out. Nothing is decoded here.

    Raises:
        UserError: no such folder, no layout recognised, or annotations that cannot be used at all.
    """
    raise NotImplementedError


def label_map(sample: Sample, size_hw: tuple[int, int], image_hw: tuple[int, int]) -> npt.NDArray[np.int64]:
    """The category of each pixel, -1 background, after squashing the image to `size_hw`; smaller objects lie on top.

    Args:
        image_hw: the decoded image's height and width, which the regions' coordinates belong to.
    """
    raise NotImplementedError


def coverage(region: Region, grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The share of each patch cell that the region's mask (else box) covers, H x W in [0, 1]; all zero if degenerate."""
    raise NotImplementedError
