"""One annotation of a COCO-format file -> what is true there, and what had to be mended for it.

A flaw in one field costs that field alone. Truth that cannot be used makes its place "ignored": what is found there is
neither right nor wrong, and what is learnt there is neither object nor background. Left out, it would turn right
detections into false ones, and objects into background.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rice_core.datasets.coco_masks import BadEntry, box_around, is_number, read_segmentation
from rice_core.datasets.nouns import Region

_CROWD: dict[Any, bool] = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}

CROWDS_ALONE = "where these are single objects, as in CVAT's export of brush masks, set iscrowd to 0 or export polygons"
"""What to do about a file that has no object but crowds."""

ANY = -1
"""The label of an ignored region that may be of any category."""
ANYWHERE = (0.0, 0.0, 1e5, 1e5)
"""The box of an ignored region that may be anywhere in its image: more than any image."""

Box = tuple[float, float, float, float]
Kind = Literal["object", "crowd", "ignored"]
Mend = Callable[[str, object], None]
"""Told the field that was mended, and why."""


@dataclass(frozen=True)
class Annotation:
    """One entry, read."""

    kind: Kind
    region: Region
    """Its box is cut at the image's border. Of what is ignored it may be a point, a line or ANYWHERE; its label may be ANY."""
    bbox: list[float]
    """As evaluators read it: the file's own numbers where they can be used, not cut."""
    why: str = ""
    """Of what is ignored."""


def read_annotation(
    entry: dict[str, Any], label: int | None, size_hw: tuple[int, int] | None, mend: Mend
) -> Annotation:
    """What an entry says. A box that cannot be used is drawn around the mask, where there is one.

    Args:
        label: None where its category is not known.
        size_hw: the image's height and width as annotated; None leaves borders unchecked.
    """
    why = [] if label is not None else [f"has an unknown category ({entry.get('category_id')!r:.40})"]
    crowd, segmentation = False, None
    try:
        segmentation, mended = read_segmentation(entry.get("segmentation"), size_hw)
        if mended:
            mend("polygons", mended)
    except BadEntry as reason:
        mend("mask", reason)
    try:
        crowd = is_crowd(entry)
    except BadEntry as reason:
        why.append(str(reason))
    bbox, box, flaw = _placed(entry.get("bbox"), segmentation, size_hw, mend)
    if flaw:
        why.append(flaw)
    region = Region(box, ANY if label is None else label, None if flaw else segmentation)
    if why:
        return Annotation("ignored", region, bbox, why[0])
    return Annotation("crowd" if crowd else "object", region, bbox)


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


def _placed(value: Any, segmentation: Any, size_hw: tuple[int, int] | None, mend: Mend) -> tuple[list[float], Box, str]:
    """The box for evaluators, the box cut at the border, and why the two are of no use but as a place; "" where they are."""
    try:
        numbers = _numbers(value, mend)
        return numbers, _cut(_box(numbers), size_hw), ""
    except BadEntry as reason:
        if segmentation is not None:
            around = box_around(segmentation)
            try:
                drawn = _cut(_box(around), size_hw)
            except BadEntry:
                pass
            else:
                mend("box", reason)
                return [*around], drawn, ""
        box = _place(value, size_hw)
        return [*box], box, str(reason)


def _numbers(value: Any, mend: Mend) -> list[float]:
    if isinstance(value, list) and len(value) == 4:
        if all(map(is_number, value)):
            return value
        try:
            # Text that is a number says what it is; a truth value does not.
            numbers = [float(v) if isinstance(v, str) else v for v in value]
        except ValueError:
            numbers = []
        if numbers and all(map(is_number, numbers)):
            mend("numbers", "has a box of text")
            return numbers
    raise BadEntry("has no box of four numbers")


def _box(value: Any) -> Box:
    x, y, w, h = map(float, value)
    if not all(map(math.isfinite, (x, y, w, h))):
        raise BadEntry("has a box that is not finite")
    if w <= 0 or h <= 0:
        raise BadEntry("has a box without area")
    return x, y, w, h


def _cut(box: Box, size_hw: tuple[int, int] | None) -> Box:
    """A box that reaches over the border is cut there.

    Raises:
        BadEntry: more than half of its area lies outside.
    """
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


def _place(value: Any, size_hw: tuple[int, int] | None) -> Box:
    """Where a box that cannot be used is all the same: as much of it as lies in the image, at least a point; else ANYWHERE."""
    if not isinstance(value, list) or len(value) != 4 or not all(is_number(v) and math.isfinite(v) for v in value):
        return ANYWHERE
    height, width = size_hw or (math.inf, math.inf)
    x, y, w, h = map(float, value)
    # A negative side may be one that was measured from the other corner.
    (left, right), (top, bottom) = sorted((x, x + w)), sorted((y, y + h))
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)
    return (left, top, right - left, bottom - top) if left <= right and top <= bottom else ANYWHERE
