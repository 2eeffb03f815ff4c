"""Region, Sample, Dataset: what a data set on disk is read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    crowds: tuple[Region, ...] = ()
    """Groups of objects that nobody told apart (COCO's iscrowd 1): neither objects nor background."""
    size_hw: tuple[int, int] | None = None
    """As annotated; checked when the image is decoded."""
    target: Path | None = None
    """A .npy file of H x W numbers, one a pixel of the image (depth, say); not finite where nothing is known."""
    key: int | str | None = None
    """The image's id in its annotation file; None where there is none."""


@dataclass(frozen=True)
class Dataset:
    """Samples by split ("train", "val"), in a fixed order that depends on the ids alone."""

    spec: DatasetSpec
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    provides: frozenset[str]
    """Of "labels" (items with a class), "regions" (boxes or masks) "suite" (several data sets) and "targets" (a number for each pixel)."""
    skipped: tuple[Skipped, ...] = ()
    """What the reader left out, with reasons."""
    annotations: Mapping[str, Path] = field(default_factory=dict)
    """Split -> the annotation file that it was read from; both name the same one where one file was divided."""
    parts: Mapping[str, Dataset] = field(default_factory=dict)
    """Of a suite: its data sets by name; the ids of `splits` then begin with the part's name."""
    domain: Mapping[str, str] = field(default_factory=dict)
    """Of a suite: what each data set is grouped under; one that could not be read is here and not in `parts`."""
    saw: str = ""
    """What of the folder says that this is its layout, and where `val` comes from: for people."""
    notes: tuple[str, ...] = ()
    """What has to be known to read a number over it: sentences that go into its records."""
