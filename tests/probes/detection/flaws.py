"""Annotation files with one flaw each, and what it may cost."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

Cost = Literal["nothing", "mask", "object", "point", "image"]
"""`object`: its place is ignored; `point`: a line or a point of it is known; `image`: its place is not known, and the category is not judged in the image."""
Entry = dict[str, Any]
H, W = 60, 90
BOX = [31, 20, 20, 24]
"""Of the object that has the flaw, `annotations[1]`."""


def corners(box: list[Any]) -> list[Any]:
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def runs(box: list[int]) -> list[int]:
    """Down the columns of an H x W mask that fills the box."""
    x, y, w, h = box
    return [x * H + y, *([h, H - h] * (w - 1)), h, (W - x - w) * H + H - y - h]


def sound() -> Entry:
    """Four objects of two categories in three images of W x H pixels; polygons and run lengths."""
    images = [{"id": k, "file_name": f"{k}.png", "width": W, "height": H} for k in (1, 2, 3)]
    things = [(1, 7, [2, 3, 20, 24]), (1, 7, BOX), (2, 7, [40, 8, 24, 36]), (3, 9, [5, 5, 30, 30])]
    annotations = [
        {
            "id": 10 + k,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "segmentation": [corners(box)] if k % 2 else {"size": [H, W], "counts": runs(box)},
            "iscrowd": 0,
        }
        for k, (image, category, box) in enumerate(things)
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "a"}, {"id": 9, "name": "b"}],
    }


def put(**fields: Any) -> Callable[[Entry], None]:
    return lambda entry: entry.update(copy.deepcopy(fields))


def without(*fields: str) -> Callable[[Entry], None]:
    def change(entry: Entry) -> None:
        for field in fields:
            del entry[field]

    return change


GOOD = corners(BOX)
POINTS = [[31, 20], [51, 20], [51, 44], [31, 44]]
NAN, INF = float("nan"), float("inf")
FLAWS: dict[str, tuple[Callable[[Entry], None], Cost]] = {
    # The mask is what it says, or covers what it covered.
    "a sliver beside a polygon": (put(segmentation=[[31, 20, 33, 22], GOOD]), "nothing"),
    "an empty polygon beside one": (put(segmentation=[GOOD, []]), "nothing"),
    "one point beside a polygon": (put(segmentation=[GOOD, [31, 20]]), "nothing"),
    "a flat list of numbers": (put(segmentation=GOOD), "nothing"),
    "points in pairs": (put(segmentation=POINTS), "nothing"),
    "points in pairs in a list": (put(segmentation=[POINTS]), "nothing"),
    "run lengths in a list": (put(segmentation=[{"size": [H, W], "counts": runs(BOX)}]), "nothing"),
    "run lengths as floats": (
        put(segmentation={"size": [float(H), float(W)], "counts": [float(n) for n in runs(BOX)]}),
        "nothing",
    ),
    # The mask alone is lost.
    "no segmentation": (without("segmentation"), "mask"),
    "a segmentation of null": (put(segmentation=None), "mask"),
    "an empty list": (put(segmentation=[]), "mask"),
    "an empty list in a list": (put(segmentation=[[]]), "mask"),
    "slivers alone": (put(segmentation=[[31, 20, 33, 22], [40, 30, 41, 31]]), "mask"),
    "polygons without area": (put(segmentation=[[31, 20, 41, 30, 51, 40]]), "mask"),
    "a polygon that is cut off": (put(segmentation=[GOOD[:7]]), "mask"),
    "a second polygon that is cut off": (put(segmentation=[GOOD, GOOD[:7]]), "mask"),
    "a polygon with text": (put(segmentation=[[*GOOD[:7], "44"]]), "mask"),
    "a polygon with null": (put(segmentation=[[*GOOD[:7], None]]), "mask"),
    "a polygon with NaN": (put(segmentation=[[*GOOD[:7], NAN]]), "mask"),
    "a polygon far away": (put(segmentation=[[*GOOD[:7], 1e9]]), "mask"),
    "a list too deep": (put(segmentation=[[[GOOD]]]), "mask"),
    "the name of a file": (put(segmentation="mask.png"), "mask"),
    "a number": (put(segmentation=5), "mask"),
    "an empty object": (put(segmentation={}), "mask"),
    "transposed run lengths": (put(segmentation={"size": [W, H], "counts": runs(BOX)}), "mask"),
    "run lengths without a size": (put(segmentation={"counts": runs(BOX)}), "mask"),
    "run lengths that do not fill": (put(segmentation={"size": [H, W], "counts": runs(BOX)[:-1]}), "mask"),
    "run lengths below 0": (put(segmentation={"size": [H, W], "counts": [-1, H * W + 1]}), "mask"),
    "run lengths of halves": (put(segmentation={"size": [H, W], "counts": [0.5, H * W - 0.5]}), "mask"),
    "run lengths of nothing": (put(segmentation={"size": [H, W], "counts": [H * W]}), "mask"),
    "run lengths that are no text": (put(segmentation={"size": [H, W], "counts": "~~~"}), "mask"),
    "run lengths of null": (put(segmentation={"size": [H, W], "counts": None}), "mask"),
    # The area is the mask's.
    "no area": (without("area"), "nothing"),
    "an area below 0": (put(area=-1600), "nothing"),
    "an area of text": (put(area="1600"), "nothing"),
    "an area of NaN": (put(area=NAN), "nothing"),
    "an area of null": (put(area=None), "nothing"),
    "an area without end": (put(area=INF), "nothing"),
    "an area that is true": (put(area=True), "nothing"),
    "an area in a list": (put(area=[480]), "nothing"),
    # What text says.
    "iscrowd 0 as text": (put(iscrowd="0"), "nothing"),
    "iscrowd false": (put(iscrowd=False), "nothing"),
    "iscrowd 0.0": (put(iscrowd=0.0), "nothing"),
    "no iscrowd": (without("iscrowd"), "nothing"),
    "an image as text": (put(image_id="1"), "nothing"),
    "an image as a float": (put(image_id=1.0), "nothing"),
    "a category as text": (put(category_id="7"), "nothing"),
    "a category as a float": (put(category_id=7.0), "nothing"),
    "the id of another object": (put(id=10), "nothing"),
    "no id": (without("id"), "nothing"),
    "an id of null": (put(id=None), "nothing"),
    # A box is drawn around the mask.
    "no box": (without("bbox"), "nothing"),
    "a box of null": (put(bbox=None), "nothing"),
    "a box of three": (put(bbox=BOX[:3]), "nothing"),
    "a box of text": (put(bbox=[str(v) for v in BOX]), "nothing"),
    "a box of NaN": (put(bbox=[31, NAN, 20, 24]), "nothing"),
    "a box without end": (put(bbox=[31, 20, INF, 24]), "nothing"),
    "a box without width": (put(bbox=[31, 20, 0, 24]), "nothing"),
    "a box below 0": (put(bbox=[51, 44, -20, -24]), "nothing"),
    "a box outside": (put(bbox=[131, 20, 20, 24]), "nothing"),
    "a box mostly outside": (put(bbox=[80, 20, 30, 24]), "nothing"),
    "nested numbers": (put(bbox=[[31, 20], [20, 24]]), "nothing"),
    # Without a mask there is a place at most, or the image.
    "no box and no mask": (without("bbox", "segmentation"), "image"),
    "a box of NaN and no mask": (put(bbox=[31, NAN, 20, 24], segmentation=[]), "image"),
    "a box without width and no mask": (put(bbox=[31, 20, 0, 24], segmentation=[]), "point"),
    "a point and no mask": (put(bbox=[40, 30, 0, 0], segmentation=[]), "point"),
    "a box below 0 and no mask": (put(bbox=[51, 44, -20, -24], segmentation=[]), "object"),
    "a box outside and no mask": (put(bbox=[131, 20, 20, 24], segmentation=[]), "image"),
    "a box of text and no mask": (put(bbox=["x", 20, 20, 24], segmentation=[]), "image"),
    # Whose object it is, is not known.
    "an unknown category": (put(category_id=99), "object"),
    "a category of null": (put(category_id=None), "object"),
    "a category in a list": (put(category_id=[7]), "object"),
    "an iscrowd of 2": (put(iscrowd=2), "object"),
    "an iscrowd of words": (put(iscrowd="no"), "object"),
    "an iscrowd of NaN": (put(iscrowd=NAN), "object"),
    "an iscrowd in a list": (put(iscrowd=[0]), "object"),
}


def flawed(name: str, body: Entry | None = None) -> Entry:
    """The sound file, or another with such an object, with one flaw."""
    body = copy.deepcopy(sound() if body is None else body)
    FLAWS[name][0](body["annotations"][1])
    return body
