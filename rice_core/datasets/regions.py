"""One annotation of a COCO-format file -> a `Region`, or the reason why not.

Everything is checked before pycocotools sees it: it reads uninitialised memory for run lengths that do not fill the
mask, and allocates by the perimeter of a polygon, however far that leaves the image.
"""

from __future__ import annotations

import math
from typing import Any

from rice_core.datasets.nouns import Region
from rice_core.datasets.runs import runs_of
from rice_core.images import MAX_PIXELS

_FAR = 100_000.0
"""Pixels that a polygon may reach where the image's size is not annotated."""

_CROWD: dict[Any, bool] = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}

CROWDS_ALONE = "where these are single objects, as in CVAT's export of brush masks, set iscrowd to 0 or export polygons"
"""What to do about a file that has no object but crowds."""


class BadEntry(Exception):
    """Why an entry of an annotation file is left out."""


def read_region(entry: dict[str, Any], label: int, size_hw: tuple[int, int] | None) -> Region:
    """A box that reaches over the border is cut there; one that lies outside for more than half of its area is refused.

    Args:
        size_hw: the image's height and width as annotated; None leaves borders unchecked.

    Raises:
        BadEntry: no area, not finite, outside the image, or a segmentation that is no polygon and no run lengths.
    """
    box = _cut(_box(entry.get("bbox")), size_hw)
    segmentation = entry.get("segmentation")
    if segmentation is None or segmentation == []:
        return Region(box, label)
    if isinstance(segmentation, dict):
        return Region(box, label, _run_lengths(segmentation, size_hw))
    return Region(box, label, read_polygons(segmentation, size_hw))


def is_crowd(entry: dict[str, Any]) -> bool:
    """What `iscrowd` says: 0 or 1, as a number, a truth value, or either as text ("0" is no crowd); none given is none.

    Raises:
        BadEntry: anything else.
    """
    value = entry.get("iscrowd")
    if value is None:
        return False
    plain = value.strip().lower() if isinstance(value, str) else value
    if isinstance(plain, (str, int, float)) and plain in _CROWD:
        return _CROWD[plain]
    raise BadEntry(f"has an iscrowd that is neither 0 nor 1 ({value!r:.20})")


def rle_counts(counts: Any) -> list[int]:
    """Lengths of the runs of 0, 1, 0, ... down the columns, from a list or from COCO's compressed text.

    Raises:
        ValueError: neither of the two forms.
    """
    if isinstance(counts, list):
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts):
            raise ValueError("counts are not whole numbers")
        return counts
    if not isinstance(counts, (str, bytes)):
        raise ValueError("counts are neither a list nor a plain text")
    return runs_of(counts)


def _box(value: Any) -> tuple[float, float, float, float]:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_number, value)):
        raise BadEntry("has no box of four numbers")
    x, y, w, h = map(float, value)
    if not all(map(math.isfinite, (x, y, w, h))):
        raise BadEntry("has a box that is not finite")
    if w <= 0 or h <= 0:
        raise BadEntry("has a box without area")
    return x, y, w, h


def _cut(box: tuple[float, float, float, float], size_hw: tuple[int, int] | None) -> tuple[float, float, float, float]:
    if size_hw is None:
        return box
    x, y, w, h = box
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, float(size_hw[1])), min(y + h, float(size_hw[0]))
    if right <= left or bottom <= top:
        raise BadEntry("has a box outside the image")
    if (right - left) * (bottom - top) < 0.5 * w * h:
        raise BadEntry("has a box that lies mostly outside the image")
    # The same numbers where nothing is cut: x + w - x is not always w.
    return box if (left, top, right, bottom) == (x, y, x + w, y + h) else (left, top, right - left, bottom - top)


def read_polygons(value: Any, size_hw: tuple[int, int] | None) -> list[list[float]]:
    """COCO's polygons, checked.

    Raises:
        BadEntry: no lists of x, y pairs, not finite, far outside the image, or without area.
    """
    if not isinstance(value, list):
        raise BadEntry("has a segmentation that is neither polygons nor run lengths")
    height, width = size_hw or (_FAR, _FAR)
    for polygon in value:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(map(_number, polygon)):
            raise BadEntry("has a polygon that is no list of three or more x, y pairs")
        xs, ys = polygon[::2], polygon[1::2]
        if not all(map(math.isfinite, polygon)):
            raise BadEntry("has a polygon that is not finite")
        if min(xs) < -width or max(xs) > 2 * width or min(ys) < -height or max(ys) > 2 * height:
            raise BadEntry("has a polygon that lies far outside the image")
    if all(_flat(polygon) for polygon in value):
        raise BadEntry("has polygons without area")
    return value


def _flat(polygon: list[float]) -> bool:
    xs, ys = polygon[::2], polygon[1::2]
    pairs = zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    return sum(x * v - u * y for x, y, u, v in pairs) == 0


def _run_lengths(value: dict[str, Any], size_hw: tuple[int, int] | None) -> dict[str, Any]:
    size = value.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise BadEntry("has run lengths without a size")
    if size_hw is not None and tuple(size) != size_hw:
        raise BadEntry(
            f"has run lengths for {size[1]} x {size[0]} pixels, and the image has {size_hw[1]} x {size_hw[0]}"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise BadEntry("has run lengths for more pixels than are read")
    try:
        counts = rle_counts(value.get("counts"))
    except ValueError as error:
        raise BadEntry(f"has run lengths that cannot be read: {error}") from None
    if sum(counts) != size[0] * size[1]:
        raise BadEntry("has run lengths that do not fill the mask")
    if not any(counts[1::2]):
        raise BadEntry("has run lengths that cover no pixel")
    return {"size": size, "counts": value["counts"]}


def _number(value: Any) -> bool:
    # A whole number too long for a float would overflow later on.
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15)
