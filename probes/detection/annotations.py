"""A data set's own annotation file -> what is true of its images, checked, with its original ids.

Read are COCO's instances, LVIS v1, and Roboflow's `_annotations.coco.json`. A flaw costs the field that has it, and truth
that cannot be used makes its place ignored (`rice_core.datasets.regions`). Sound entries reach the evaluators as they stand
in the file, so that the official numbers come out on the official files.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from probes.detection.annotated import area_of, category_of, own_sample, raw_category, raw_image, style_of, thing_of
from probes.detection.truth import Category, GroundTruth, Style, Thing, TruthImage
from rice_core.datasets.entries import CocoFile, Key, as_key, in_order, parse_coco, size_of
from rice_core.datasets.nouns import Sample
from rice_core.datasets.regions import CROWDS_ALONE, Annotation
from rice_core.digest import bytes_digest, json_digest
from rice_core.errors import UserError
from rice_core.record import Skipped


def read_ground_truth(path: Path, samples: Iterable[Sample] | None, *, name: str) -> GroundTruth:
    """Read one annotation file for some of its images; what was read last is kept, and is not to be changed.

    Args:
        samples: the images asked for, found by `Sample.key`; None is all images of the file, read or not.
        name: how the file is called in messages.

    Raises:
        UserError: the file cannot be read or is not in COCO format, or no image asked for has an object.
    """
    chosen = None if samples is None else list(samples)
    key = () if chosen is None else _key(path, chosen, name)
    if key and key in _READ:
        return _READ[key]
    body, sha256 = _load(path, name)
    truth = replace(_Truth(body, name).truth(chosen), sha256=sha256)
    if key:
        _READ[key] = truth
        while len(_READ) > _KEPT:
            _READ.popitem(last=False)
    return truth


def has_masks(path: Path, samples: Sequence[Sample]) -> bool:
    """`GroundTruth.has_masks`, however many cells ask."""
    key = _key(path, samples, path.name)
    if key not in _MASKS:
        _MASKS[key] = read_ground_truth(path, samples, name=path.name).has_masks
    return _MASKS[key]


def _key(path: Path, samples: Sequence[Sample], name: str) -> tuple[object, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    listed = json_digest([[sample.id, str(sample.path), sample.key] for sample in samples])
    return path, found.st_size, found.st_mtime_ns, name, listed


_MASKS: dict[tuple[object, ...], bool] = {}
_READ: OrderedDict[tuple[object, ...], GroundTruth] = OrderedDict()
_KEPT = 2
"""Train and val of one data set: parsing COCO's takes half a minute, and every cell asks for both, as do their trainings."""


def _load(path: Path, name: str) -> tuple[dict[str, Any], str]:
    """The file's content and the sha256 of its bytes."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}); give the path of an annotation file.") from None
    return parse_coco(data, name), bytes_digest(data)


class _Truth:
    """What is true, while a file is read."""

    def __init__(self, body: dict[str, Any], name: str) -> None:
        self.body, self.name = body, name
        self.skipped: list[Skipped] = []
        self.file = CocoFile(body, name, self.skipped)
        self.notes: list[str] = []
        self.entries: dict[Key, dict[str, Any]] = {}
        """Of the images that can be used."""
        self.things: dict[Key, list[Thing]] = {}
        self.ignored: dict[Key, list[Thing]] = {}
        self.categories: tuple[Category, ...] = ()
        self.raw: list[dict[str, Any]] = []
        """The same as evaluators read them."""

    def truth(self, samples: list[Sample] | None) -> GroundTruth:
        entries = self.entries = self.file.images(lambda _, entry: entry)
        asked = self._asked(entries, samples)
        categories = self.categories = self._categories()
        labels = {category.id: label for label, category in enumerate(categories)}
        self.file.regions(entries, labels, size_of, self._add, asked=asked.__contains__)
        if not any(not thing.crowd for of_image in self.things.values() for thing in of_image):
            raise UserError(self._no_object(len(asked), len(self.raw)))
        style = style_of(self.body["images"], categories)
        self._note_crowds(style)
        images = tuple(
            TruthImage(
                key=key,
                sample=sample,
                size_hw=size_of(entries[key]),
                things=tuple(self.things.get(key, ())),
                ignored=tuple(self.ignored.get(key, ())),
                negative=self._known(entries[key], "neg_category_ids", labels, style),
                not_exhaustive=self._known(entries[key], "not_exhaustive_category_ids", labels, style),
            )
            for key, sample in sorted(asked.items(), key=lambda pair: in_order(pair[0]))
        )
        return GroundTruth(
            name=self.name,
            style=style,
            categories=categories,
            images=images,
            body={
                "images": [raw_image(image, style) for image in images],
                "annotations": self.raw,
                "categories": [raw_category(category) for category in categories],
            },
            has_masks=self._has_masks(images),
            skipped=tuple(self.skipped),
            notes=(*self.notes, *self.file.notes()),
        )

    def _no_object(self, images: int, crowds: int) -> str:
        none = f"{self.name} has no usable object in the {images} images asked for"
        if crowds:
            return f"{none}, only {crowds} {'crowd' if crowds == 1 else 'crowds'} (iscrowd 1); {CROWDS_ALONE}."
        first = f" The first reason: {self.skipped[0].item} {self.skipped[0].reason}." if self.skipped else ""
        return f"{none}; give a split with annotations, or raise the limit.{first}"

    def _asked(self, entries: dict[Key, dict[str, Any]], samples: list[Sample] | None) -> dict[Key, Sample]:
        if samples is None:
            return {key: own_sample(key, entry) for key, entry in entries.items()}
        asked: dict[Key, Sample] = {}
        for sample in samples:
            if sample.key is not None and sample.key in entries:
                asked[sample.key] = sample
            else:
                self.skipped.append(Skipped(item=sample.id, reason=f"has no usable entry in {self.name}"))
        return asked

    def _categories(self) -> tuple[Category, ...]:
        found = self.file.categories()
        if self._placeholder(found):
            placeholder = found.pop(0)
            self.notes.append(
                f"Category 0 of {self.name}, {placeholder['name']!r:.60}, is Roboflow's placeholder above the others; no "
                "annotation uses it, and it is left out."
            )
        return tuple(category_of(key, entry) for key, entry in found.items())

    def _placeholder(self, found: dict[Key, dict[str, Any]]) -> bool:
        """Roboflow exports begin with the project's name as category 0, under "none" and above the real ones."""
        root = found.get(0, {})
        others = [entry for key, entry in found.items() if key != 0]
        return (
            root.get("supercategory") == "none"
            and bool(others)
            and all(entry.get("supercategory") == root["name"] for entry in others)
            and not any(isinstance(a, dict) and as_key(a.get("category_id")) == 0 for a in self.body["annotations"])
        )

    def _add(self, item: str, entry: dict[str, Any], image: Key, found: Annotation) -> None:
        thing = thing_of(found.region, found.kind == "crowd")
        if found.kind == "ignored":
            self.ignored.setdefault(image, []).append(thing)
            return
        area, why = area_of(entry.get("area"), thing, found.bbox, size_of(self.entries[image]))
        if why:
            self.file.mend(item, "area", why)
        kept = {
            "id": len(self.raw) + 1,  # 0 means "unmatched" to evaluators, and some files start there
            "image_id": image,
            "category_id": self.categories[thing.label].id,
            "bbox": found.bbox,
            "area": area,
            "iscrowd": int(thing.crowd),
        }
        self.raw.append(kept if thing.segmentation is None else kept | {"segmentation": thing.segmentation})
        self.things.setdefault(image, []).append(thing)

    def _note_crowds(self, style: Style) -> None:
        crowds = sum(entry["iscrowd"] for entry in self.raw)
        if crowds and style == "coco":  # the lvis package knows no crowds, and judges them as objects
            self.notes.append(
                f"{crowds} of {len(self.raw)} regions of {self.name} are crowds (iscrowd 1), no objects: detections that lie in one are "
                "neither right nor wrong."
            )

    def _has_masks(self, images: Sequence[TruthImage]) -> bool:
        unsized = {image.key for image in images if image.size_hw is None}
        objects = [entry for entry in self.raw if not entry["iscrowd"]]
        without = sum("segmentation" not in entry for entry in objects)
        judged = any("segmentation" in entry and entry["image_id"] not in unsized for entry in objects)
        if without and judged:
            self.notes.append(
                f"{without} of {len(objects)} objects of {self.name} have no mask: where masks are judged or learnt they count "
                "neither way."
            )
        if unsized and without < len(objects):
            self.notes.append(
                f"{len(unsized)} of {len(images)} images of {self.name} have no size, so masks are not judged in them."
            )
        return judged

    def _known(self, entry: dict[str, Any], field: str, labels: dict[Key, int], style: Style) -> tuple[Key, ...]:
        if style == "coco":
            return ()
        value = entry.get(field, [])
        keys = [as_key(key) for key in value] if isinstance(value, list) else [None]
        known = tuple(key for key in keys if key is not None and key in labels)
        if len(known) < len(keys):
            self.file.skip(f"image {entry.get('id')!s:.60}", f"has {field} that are no categories of the file")
        return known
