"""A contact sheet of detections: best, median and worst images, the truth on the left and what was found on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from probes.detection.forgiven import near
from probes.detection.tiles import FONT, Box, Drawn, Look, outline, tile
from probes.detection.truth import Category, Thing, TruthImage
from rice_core.datasets.entries import Key
from rice_core.datasets.regions import ANY, ANYWHERE

SCORE = 0.3
"""Detections above it are drawn, and count for the order of images."""
EACH, ACROSS = 4, 2
"""Images of each kind, and side by side: more would be too small to read on a page."""
SIDE = 300
_MARGIN, _GAP, _LINE = 12, 6, 20
_INK = (34, 34, 34)


@dataclass(frozen=True)
class Seen:
    """One image: how good the detections in it are, and what is drawn of it."""

    f1: float
    """In [0, 1], at IoU .5."""
    image: TruthImage
    truth: list[Drawn]
    found: list[Drawn]


def contact_sheet(
    images: Sequence[TruthImage], results: Sequence[Mapping[str, Any]], categories: Sequence[Category]
) -> npt.NDArray[np.uint8]:
    """(H, W, 3). Images are ordered by F1 at IoU .5 of what scores above SCORE; those without objects are left out.

    Args:
        results: as COCO's tools read them; detections of unknown categories are left out.
    """
    rows_of: dict[Key, list[Mapping[str, Any]]] = {}
    labels = {category.id: label for label, category in enumerate(categories)}
    for row in results:
        if row["score"] > SCORE and row["category_id"] in labels:
            rows_of.setdefault(row["image_id"], []).append(row)
    with_objects = [image for image in images if any(not thing.crowd for thing in image.things)]
    seen = [_seen(image, rows_of.get(image.key, []), labels, categories) for image in with_objects]
    chosen = _chosen(sorted(seen, key=lambda each: -each.f1))
    strips = [
        _strip(kind, of_kind[start : start + ACROSS])
        for kind, of_kind in chosen.items()
        for start in range(0, len(of_kind), ACROSS)
    ]
    height = _LINE + _MARGIN + sum(strip.height + _MARGIN for strip in strips)
    sheet = Image.new("RGB", (ACROSS * (2 * SIDE + _GAP + _MARGIN) + _MARGIN, height), "white")
    _legend(ImageDraw.Draw(sheet))
    top = _LINE + _MARGIN
    for strip in strips:
        sheet.paste(strip, (_MARGIN, top))
        top += strip.height + _MARGIN
    return np.asarray(sheet)


def _strip(kind: str, seen: Sequence[Seen]) -> Image.Image:
    """Images of one kind side by side, what is true beside what was found."""
    pairs = [[tile(each.image, things, SIDE) for things in (each.truth, each.found)] for each in seen]
    height = max(half.height for pair in pairs for half in pair)
    strip = Image.new("RGB", (ACROSS * (2 * SIDE + _GAP + _MARGIN), _LINE + height), "white")
    pen = ImageDraw.Draw(strip)
    for column, (each, pair) in enumerate(zip(seen, pairs, strict=True)):
        left = column * (2 * SIDE + _GAP + _MARGIN)
        for half, words in zip(pair, (f"{kind}: F1 {each.f1:.2f}, truth", f"found above {SCORE}"), strict=True):
            pen.text((left, 2), words, fill=_INK, font=FONT)
            strip.paste(half, (left, _LINE))
            left += SIDE + _GAP
    return strip


def _chosen(ranked: list[Seen]) -> dict[str, list[Seen]]:
    """No image twice; what is left for a kind."""
    worst = ranked[EACH:][-EACH:][::-1]
    rest = ranked[EACH : len(ranked) - len(worst)]
    middle = max(0, (len(rest) - EACH + 1) // 2)
    chosen = {"best": ranked[:EACH], "median": rest[middle : middle + EACH], "worst": worst}
    return {kind: of_kind for kind, of_kind in chosen.items() if of_kind}


def _legend(pen: ImageDraw.ImageDraw) -> None:
    left = float(_MARGIN)
    said: dict[Look, str] = {
        "holds": "right; on the left: found",
        "fails": "wrong; on the left: not found",
        "crowd": "a crowd, or not judged",
    }
    for look, words in said.items():
        outline(pen, (left, 8, left + 26, 20), _INK, look)
        pen.text((left + 34, 7), words, fill=_INK, font=FONT)
        left += 34 + pen.textlength(words, FONT) + 30


def _seen(
    image: TruthImage, rows: Sequence[Mapping[str, Any]], labels: Mapping[Key, int], categories: Sequence[Category]
) -> Seen:
    """What was found against the truth: greedily by score, of the same category, IoU of at least .5; crowds forgive."""
    objects = [thing for thing in image.things if not thing.crowd]
    forgiving = [thing for thing in image.things if thing.crowd] + list(image.ignored)
    free = set(range(len(objects)))
    found, right, wrong = [], 0, 0
    for row in sorted(rows, key=lambda row: -row["score"]):
        x, y, w, h = row["bbox"]
        label, box = labels[row["category_id"]], (x, y, x + w, y + h)
        overlaps = {place: _iou(box, objects[place].box_xyxy) for place in free if objects[place].label == label}
        best = max(overlaps, key=lambda place: overlaps[place], default=None)
        hit = best is not None and overlaps[best] >= 0.5
        free -= {best} if hit else set()
        forgiven = not hit and any(thing.label in (label, ANY) and _forgives(thing, box) for thing in forgiving)
        right, wrong = right + hit, wrong + (not hit and not forgiven)
        words = f"{'' if hit or forgiven else 'x '}{categories[label].name[:18].strip()} {row['score']:.2f}"
        look: Look = "holds" if hit else "crowd" if forgiven else "fails"
        found.append(Drawn(box, label, words, look, row.get("segmentation")))
    truth = [_true(thing, categories, found=place not in free) for place, thing in enumerate(objects)]
    truth += [_true(thing, categories, found=False) for thing in image.things if thing.crowd]
    truth += [_unjudged(thing, categories) for thing in image.ignored if thing.box_xyxy != ANYWHERE]
    return Seen(2 * right / (len(objects) + right + wrong), image, truth, found)


def _forgives(thing: Thing, box: Box) -> bool:
    x0, y0, x1, y1 = thing.box_xyxy
    if x0 == x1 or y0 == y1:
        return near((box[0], box[1], box[2] - box[0], box[3] - box[1]), thing.box_xyxy)
    return _iou(box, thing.box_xyxy, crowd=True) >= 0.5


def _unjudged(thing: Thing, categories: Sequence[Category]) -> Drawn:
    name = "" if thing.label == ANY else f"{categories[thing.label].name[:18].strip()}, "
    return Drawn(thing.box_xyxy, thing.label, f"{name}not judged", "crowd", thing.segmentation)


def _true(thing: Thing, categories: Sequence[Category], *, found: bool) -> Drawn:
    name = categories[thing.label].name[:18].strip()
    look: Look = "crowd" if thing.crowd else "holds" if found else "fails"
    words = f"{name}, crowd" if thing.crowd else name if found else f"x {name}"
    return Drawn(thing.box_xyxy, thing.label, words, look, thing.segmentation)


def _iou(one: Box, other: Box, *, crowd: bool = False) -> float:
    boxes = [np.array([[x0, y0, x1 - x0, y1 - y0]]) for x0, y0, x1, y1 in (one, other)]
    return float(coco_mask.iou(boxes[0], boxes[1], [crowd])[0, 0])
