"""Regions and text that annotations give: COCO's instances, SA-1B's masks, TextOCR's and COCO-Text's words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from rice_core.datasets.geometry import region_mask
from rice_core.datasets.nouns import Region
from rice_core.datasets.regions import read_annotation
from rice_core.images import ImageError
from rice_core.rice.curate.nouns import DecodedImage, Proposal, TextLine


class CocoRegions:
    """The instances of a COCO-format folder, with their categories as the truth that purity is measured against."""

    name, version, portable = "coco", "1", True

    def propose(self, picture: DecodedImage) -> Sequence[Proposal]:
        return [_proposal(region, picture, truth=region.label) for region in picture.source.regions]


class Sa1bMasks:
    """sa_N.json beside sa_N.jpg: {"image": {...}, "annotations": [{"segmentation", "bbox", "predicted_iou", ...}]}."""

    name, version, portable = "sa1b", "1", True

    def propose(self, picture: DecodedImage) -> Sequence[Proposal]:
        """Largest first; an annotation that cannot be used is left out.

        Raises:
            ImageError: no JSON beside the image, or one of another form.
        """
        path = picture.source.path.with_suffix(".json")
        try:
            entries = json.loads(path.read_bytes())["annotations"]
        except OSError as error:
            raise ImageError(f"has no {path.name} beside it ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ImageError(f"has a {path.name} that is not in SA-1B's form") from error
        size_hw = (picture.image.height, picture.image.width)
        proposals = []
        for entry in entries if isinstance(entries, list) else []:
            flaws: list[object] = []
            if isinstance(entry, dict):
                found = read_annotation(entry, 0, size_hw, lambda *flaw: flaws.append(flaw))  # noqa: B023 - called at once
                if found.kind != "ignored" and not flaws:
                    proposals.append(_proposal(found.region, picture, score=_score(entry)))
        return sorted(proposals, key=lambda p: ((p.box[0] - p.box[2]) * (p.box[3] - p.box[1]), p.box))


class AnnotatedText:
    """The words that the folder's annotations hold."""

    name, version, portable = "annotations", "1", True

    def spot(self, picture: DecodedImage) -> Sequence[TextLine]:
        return picture.source.lines


def _proposal(
    region: Region, picture: DecodedImage, *, score: float | None = None, truth: int | None = None
) -> Proposal:
    x, y, w, h = region.box_xywh
    return Proposal(box=(x, y, x + w, y + h), rle=_compressed(region, picture), score=score, truth=truth)


def _compressed(region: Region, picture: DecodedImage) -> dict[str, Any] | None:
    """The region's mask as compressed RLE; what is compressed already is passed on."""
    given = region.segmentation
    if isinstance(given, dict) and isinstance(given["counts"], (str, bytes)):
        counts = given["counts"]
        return {"size": list(given["size"]), "counts": counts.decode() if isinstance(counts, bytes) else counts}
    mask_HW = region_mask(region, (picture.image.height, picture.image.width))
    if mask_HW is None:
        return None
    run_lengths = coco_mask.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
    return {"size": list(mask_HW.shape), "counts": run_lengths["counts"].decode()}


def _score(entry: dict[str, Any]) -> float | None:
    score = entry.get("predicted_iou")
    return float(score) if isinstance(score, (int, float)) else None
