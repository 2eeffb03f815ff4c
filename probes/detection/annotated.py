"""One entry of an annotation file -> what it says, and back to what evaluators read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probes.detection.truth import FREQUENCIES, Category, Style, Thing, TruthImage
from rice_core.datasets.coco_masks import rle_counts
from rice_core.datasets.entries import Key, size_of
from rice_core.datasets.nouns import Region, Sample
from rice_core.images import MAX_PIXELS


def style_of(images: list[Any], categories: tuple[Category, ...]) -> Style:
    lists = {"neg_category_ids", "not_exhaustive_category_ids"}
    told = any(isinstance(entry, dict) and lists <= entry.keys() for entry in images)
    return "lvis" if told and all(category.frequency for category in categories) else "coco"


def own_sample(key: Key, entry: dict[str, Any]) -> Sample:
    # LVIS v1 has an address in place of a file name.
    name = str(entry.get("file_name") or entry.get("coco_url") or key)
    return Sample(id=name, path=Path(name.replace("\0", "")), size_hw=size_of(entry), key=key)


def category_of(key: Key, entry: dict[str, Any]) -> Category:
    frequency, count = entry.get("frequency"), entry.get("image_count")
    return Category(
        id=key,
        name=entry["name"].strip(),
        frequency=frequency if frequency in FREQUENCIES else None,
        image_count=count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None,
    )


def thing_of(region: Region, crowd: bool) -> Thing:
    x, y, w, h = region.box_xywh
    return Thing((x, y, x + w, y + h), region.label, region.segmentation, crowd)


def area_of(area: Any, thing: Thing, bbox: Sequence[float], size_hw: tuple[int, int] | None) -> tuple[float, str]:
    """What evaluators sort an object into small, medium and large by, and why it is not the file's where that cannot be used.

    Then it is the mask's where there is one, else the box's.
    """
    usable = isinstance(area, (int, float)) and not isinstance(area, bool) and 0 <= area <= MAX_PIXELS
    if usable:
        return area, ""
    drawn = None if thing.segmentation is None else _mask_area(thing.segmentation, size_hw)
    why = "" if area is None else f"has no usable area ({area!r:.20})"
    return float(bbox[2] * bbox[3]) if drawn is None else drawn, why


def _mask_area(segmentation: Any, size_hw: tuple[int, int] | None) -> float | None:
    """Pixels, as pycocotools counts them; None for polygons in an image of unknown size."""
    from pycocotools import mask

    if isinstance(segmentation, dict):
        return float(sum(rle_counts(segmentation["counts"])[1::2]))
    if size_hw is None:
        return None
    return float(mask.area(mask.merge(mask.frPyObjects(segmentation, *size_hw))))


def raw_category(category: Category) -> dict[str, Any]:
    frequency = {"frequency": category.frequency} if category.frequency else {}
    return {"id": category.id, "name": category.name} | frequency


def raw_image(image: TruthImage, style: Style) -> dict[str, Any]:
    # Evaluators ask for the size only where they draw polygons.
    height, width = image.size_hw or (0, 0)
    raw: dict[str, Any] = {"id": image.key, "height": height, "width": width}
    if style == "lvis":
        raw |= {
            "neg_category_ids": list(image.negative),
            "not_exhaustive_category_ids": list(image.not_exhaustive),
        }
    return raw
