"""What is true of the images of one split: categories, objects, and the annotation file as evaluators read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rice_core.datasets.entries import Key
from rice_core.datasets.nouns import Sample
from rice_core.record import Skipped

Style = Literal["coco", "lvis"]
FREQUENCIES = ("r", "c", "f")
"""LVIS: rare, common and frequent, by the number of training images."""


@dataclass(frozen=True)
class Category:
    id: Key
    name: str
    frequency: str | None = None
    """Of FREQUENCIES; None outside LVIS."""
    image_count: int | None = None
    """Training images that show it, as LVIS counts them."""


@dataclass(frozen=True)
class Thing:
    """One true object, or with `crowd` a region of many in which COCO forgives detections."""

    box_xyxy: tuple[float, float, float, float]
    """Pixels, cut at the image's border."""
    label: int
    """Index into the categories."""
    segmentation: Any = None
    """COCO polygons (list of lists), a COCO RLE dict, or None for a box alone: then nothing is known of its mask."""
    crowd: bool = False


@dataclass(frozen=True)
class TruthImage:
    key: Key
    sample: Sample
    size_hw: tuple[int, int] | None
    """As annotated; the loader compares it with the file. None where the file does not say: boxes need none."""
    things: tuple[Thing, ...]
    """Objects and crowds."""
    ignored: tuple[Thing, ...] = ()
    """Truth that cannot be used: where it is (perhaps a point, a line or `regions.ANYWHERE`), and its label, or `regions.ANY`."""
    negative: tuple[Key, ...] = ()
    """LVIS: categories that were looked for and are not there."""
    not_exhaustive: tuple[Key, ...] = ()
    """LVIS: categories of which some objects are not annotated."""


@dataclass(frozen=True)
class GroundTruth:
    """What is true of the images of one split."""

    name: str
    style: Style
    """Whose rules judge results; lvis where the file says which categories were looked for in an image."""
    categories: tuple[Category, ...]
    """By id, as evaluators sort them; the place is the label."""
    images: Sequence[TruthImage]
    """By key."""
    body: Mapping[str, list[dict[str, Any]]]
    """`images`, `annotations` and `categories` for evaluators: original image and category ids, annotations from 1."""
    skipped: tuple[Skipped, ...]
    has_masks: bool
    """Whether any object has a mask that can be judged: those without one then count neither way."""
    notes: tuple[str, ...] = ()
    """What was decided about the file as a whole, though nothing was lost: one sentence each."""
    sha256: str = ""
    """Of the annotation file's bytes."""

    def beyond_detectron2(self, *, masks: bool) -> str:
        """What detectron2's own modules cannot learn from, in words; "" where there is nothing.

        Args:
            masks: whether masks are learnt.
        """
        if ignored := sum(len(image.ignored) for image in self.images):
            return f"{ignored} ignored places"
        things = [thing for image in self.images for thing in image.things if not thing.crowd] if masks else []
        without = sum(thing.segmentation is None for thing in things)
        return f"{without} objects without a mask" if without else ""

    @property
    def objects(self) -> Counter[Key]:
        """Category -> its objects, crowds left out."""
        return Counter(entry["category_id"] for entry in self.body["annotations"] if not entry["iscrowd"])
