"""One reference of REFER as expressions, or the reason why it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mllm.readers.references import Reference
from rice_core.datasets.coco_masks import BadEntry, box_around, is_number, read_segmentation, rle_counts
from rice_core.datasets.nouns import Expression, Region, Xywh
from rice_core.images import MAX_PIXELS

_POINTS = 6
"""Numbers of the smallest polygon."""


class NoExpression(Exception):
    """Why a reference cannot be used."""


def expressions_of(name: str, reference: Reference) -> tuple[str, list[Expression], bool]:
    """Its split, its expressions, and whether their mask is empty.

    An id is `refcoco/REF_ID/SENT_ID`. No segmentation, or none of three points, is an empty mask: run lengths that cover nothing.

    Raises:
        NoExpression: it says no picture with a size, no sentences, or has a segmentation that is none.
    """
    told, image, annotation = reference.told, reference.image, reference.annotation
    ref, split = told.get("ref_id"), told.get("split")
    if not _is_id(ref) or not isinstance(split, str) or not split:
        raise NoExpression("has no number or no split")
    if image is None or not isinstance(image.get("file_name"), str):
        raise NoExpression("is of a picture that instances.json has not")
    if annotation is None:
        raise NoExpression("is of an annotation that instances.json has not")
    if annotation.get("image_id", told.get("image_id")) != told.get("image_id"):
        raise NoExpression("is of an annotation of another picture")
    size_hw = _size(image)
    region, empty = _region(annotation, size_hw)
    sentences = told.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        raise NoExpression("has no sentences")
    items = []
    for sentence in sentences:
        text, sent = (sentence.get("sent"), sentence.get("sent_id")) if isinstance(sentence, dict) else (None, None)
        if not isinstance(text, str) or not text.strip() or not _is_id(sent):
            raise NoExpression("has a sentence without words or without a number")
        picture = Path(image["file_name"]).name
        items.append(Expression(f"{name}/{ref}/{sent}", Path(picture), text, region, picture, size_hw))
    return split, items, empty


def _region(annotation: Any, size_hw: tuple[int, int]) -> tuple[Region, bool]:
    segmentation, empty = _drawn(annotation.get("segmentation")), False
    try:
        found, _ = read_segmentation(segmentation, size_hw)
    except BadEntry as error:
        raise NoExpression(str(error)) from None
    if found is None:
        # A region without a segmentation is a box alone, and that is another mask.
        found, empty = {"size": list(size_hw), "counts": [size_hw[0] * size_hw[1]]}, True
    box = annotation.get("bbox")
    if isinstance(box, list) and len(box) == 4 and all(map(is_number, box)):
        x, y, w, h = map(float, box)
        return Region((x, y, w, h), 0, found), empty
    nothing: Xywh = (0.0, 0.0, 0.0, 0.0)
    return Region(nothing if empty else box_around(found), 0, found), empty


def _drawn(segmentation: Any) -> Any:
    """Without what covers nothing."""
    if isinstance(segmentation, list):
        if len(segmentation) == 1 and isinstance(segmentation[0], dict):
            return _drawn(segmentation[0])
        if all(map(is_number, segmentation)):
            segmentation = [segmentation]  # one polygon alone
        return [each for each in segmentation if not (isinstance(each, list) and len(each) < _POINTS)]
    if isinstance(segmentation, dict):
        try:
            return segmentation if any(rle_counts(segmentation.get("counts"))[1::2]) else None
        except ValueError:
            return segmentation  # what is wrong with it is said by who reads it
    return segmentation


def _size(image: Any) -> tuple[int, int]:
    height, width = image.get("height"), image.get("width")
    sides = isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0
    if not sides or height * width > MAX_PIXELS:
        raise NoExpression("is of a picture without a size")
    return height, width


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
