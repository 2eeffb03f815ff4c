"""Masks as pycocotools holds them, checked: it believes what it reads. Pixels are counted without drawing them."""

from __future__ import annotations

from typing import Any

from rice_core.datasets.coco_masks import rle_counts
from rice_core.datasets.nouns import Region


class BadMask(Exception):
    """Why a mask cannot be judged."""


def given_mask(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    """COCO's run lengths as somebody's model gave them; those that cover nothing are a mask like any other.

    Raises:
        BadMask: anything else, another size than the picture's, or runs that do not fill it.
    """
    from pycocotools import mask

    if not isinstance(segmentation, dict):
        raise BadMask("has no run lengths; write COCO's size and counts, also of an empty mask")
    size = segmentation.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int for n in size):
        raise BadMask("has run lengths without a size")
    if tuple(size) != size_hw:
        height, width = size_hw
        raise BadMask(f"is of {size[1]} x {size[0]} pixels, and the picture has {width} x {height}")
    try:
        counts = rle_counts(segmentation.get("counts"))
    except ValueError as error:
        raise BadMask(f"has run lengths that cannot be read: {error}") from None
    if sum(counts) != size_hw[0] * size_hw[1]:
        raise BadMask("has run lengths that do not fill the picture")
    packed: dict[str, Any] = mask.frPyObjects({"size": size, "counts": counts}, *size_hw)
    return packed


def true_mask(region: Region, size_hw: tuple[int, int]) -> dict[str, Any]:
    """A checked region's mask; where polygons overlap, their pixels count once."""
    from pycocotools import mask

    segmentation = region.segmentation
    drawn = mask.frPyObjects(segmentation, *size_hw) if _is_plain(segmentation) else segmentation
    packed: dict[str, Any] = mask.merge(drawn) if isinstance(drawn, list) else drawn
    return packed


def overlap_of(predicted: dict[str, Any], truth: dict[str, Any]) -> tuple[int, int]:
    """Pixels of the intersection and of the union."""
    from pycocotools import mask

    intersection = int(mask.area(mask.merge([predicted, truth], intersect=True)))
    return intersection, int(mask.area(predicted)) + int(mask.area(truth)) - intersection


def _is_plain(segmentation: Any) -> bool:
    """Polygons, or run lengths as a list."""
    return isinstance(segmentation, list) or isinstance(segmentation["counts"], list)
