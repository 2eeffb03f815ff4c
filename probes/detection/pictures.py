"""A contact sheet of detections: best, median and worst images, the truth on the left and what was found on the right."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from probes.detection.truth import Category, TruthImage
from rice_core.datasets.entries import Key
from rice_core.images import ImageError, load_image

SCORE = 0.3
"""Detections above it are drawn, and count for the order of images."""
EACH = 4
"""Images of each kind."""
SIDE = 224
_MARGIN, _HEADING = 6, 18
_KINDS = ("best", "median", "worst")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class DrawnBox:
    """One box: left, top, right, bottom in pixels of the image."""

    box: Box
    label: int
    score: float | None = None


def contact_sheet(
    images: Sequence[TruthImage], results: Sequence[Mapping[str, Any]], categories: Sequence[Category]
) -> npt.NDArray[np.uint8]:
    """(H, W, 3). Images are ordered by F1 at IoU .5 of what scores above SCORE; those without objects are left out.

    Args:
        results: as COCO's tools read them; detections of unknown categories are left out.
    """
    found = _by_image(results, categories)
    ranked = sorted(
        ((f1(_truth(image), found.get(image.key, [])), place) for place, image in enumerate(images) if _truth(image)),
        reverse=True,
    )
    middle = max(0, len(ranked) // 2 - EACH // 2)
    chosen = {"best": ranked[:EACH], "median": ranked[middle : middle + EACH], "worst": ranked[-EACH:][::-1]}
    width = EACH * (2 * SIDE + 2 * _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (width, len(_KINDS) * (SIDE + _HEADING + _MARGIN) + _MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for row, kind in enumerate(_KINDS):
        top = _MARGIN + row * (SIDE + _HEADING + _MARGIN)
        for column, (quality, place) in enumerate(chosen[kind]):
            left, image = _MARGIN + column * (2 * SIDE + 2 * _MARGIN), images[place]
            pen.text((left, top + 2), f"{kind}: F1 {quality:.2f}   truth | found above {SCORE}", fill="black")
            for half, things in enumerate((_truth(image), found.get(image.key, []))):
                tile = _tile(image, things, categories)
                sheet.paste(tile, (left + half * SIDE, top + _HEADING))
    return np.asarray(sheet)


def f1(truth: Sequence[DrawnBox], found: Sequence[DrawnBox]) -> float:
    """Of the boxes of one image, in [0, 1]: matched greedily by score, the same category, IoU of at least .5."""
    free = list(truth)
    right = 0
    for each in sorted(found, key=lambda drawn: -(drawn.score or 0.0)):
        rivals = [other for other in free if other.label == each.label]
        overlaps = [_iou(each.box, other.box) for other in rivals]
        if overlaps and max(overlaps) >= 0.5:
            free.remove(rivals[int(np.argmax(overlaps))])
            right += 1
    return 2 * right / (len(truth) + len(found)) if truth or found else 1.0


def _iou(one: Box, other: Box) -> float:
    boxes = [np.array([[x0, y0, x1 - x0, y1 - y0]]) for x0, y0, x1, y1 in (one, other)]
    return float(coco_mask.iou(boxes[0], boxes[1], [0])[0, 0])


def _by_image(results: Sequence[Mapping[str, Any]], categories: Sequence[Category]) -> dict[Key, list[DrawnBox]]:
    labels = {category.id: label for label, category in enumerate(categories)}
    found: dict[Key, list[DrawnBox]] = {}
    for row in results:
        if row["score"] > SCORE and row["category_id"] in labels:
            x, y, w, h = row["bbox"]
            drawn = DrawnBox((x, y, x + w, y + h), labels[row["category_id"]], row["score"])
            found.setdefault(row["image_id"], []).append(drawn)
    return found


def _truth(image: TruthImage) -> list[DrawnBox]:
    return [DrawnBox(thing.box_xyxy, thing.label) for thing in image.things if not thing.crowd]


def _tile(image: TruthImage, things: Sequence[DrawnBox], categories: Sequence[Category]) -> Image.Image:
    tile = Image.new("RGB", (SIDE, SIDE), (235, 235, 235))
    try:
        picture = load_image(image.sample.path)
    except ImageError:
        return tile
    scale = SIDE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    tile.paste(picture.resize(size, Image.Resampling.BICUBIC))
    pen = ImageDraw.Draw(tile)
    for each in things:
        hue = each.label * 0.618034 % 1.0
        color = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.9, 0.75))
        x0, y0, x1, y1 = (value * scale for value in each.box)
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=color, width=2)
        words = categories[each.label].name[:18] + ("" if each.score is None else f" {each.score:.2f}")
        at = (max(0.0, min(x0, SIDE - pen.textlength(words))), max(0.0, y0 - 11))
        pen.rectangle(pen.textbbox(at, words), fill="white")
        pen.text(at, words, fill=color)
    return tile
