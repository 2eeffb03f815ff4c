"""A data set's own annotation file -> what is true of its images, checked, with its original ids.

Read are COCO's instances, LVIS v1, and Roboflow's `_annotations.coco.json`. A bad entry is left out and listed with its
reason; it never costs another one. Sound entries reach the evaluators as they stand in the file, so that the official
numbers come out on the official files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from probes.detection.annotated import annotated_size, area_of, category_of, own_sample, raw_image, style_of, thing_of
from probes.detection.truth import Category, GroundTruth, Style, Thing, TruthImage
from rice_core.datasets.entries import Key, as_key, in_order, parse_coco
from rice_core.datasets.nouns import Sample
from rice_core.datasets.regions import CROWDS_ALONE, BadEntry
from rice_core.digest import bytes_digest, json_digest
from rice_core.errors import UserError
from rice_core.record import Skipped


def read_ground_truth(path: Path, samples: Iterable[Sample] | None, *, name: str) -> GroundTruth:
    """Read one annotation file for some of its images.

    Args:
        samples: the images asked for, found by `Sample.key`; None is all images of the file, read or not.
        name: how the file is called in messages.

    Raises:
        UserError: the file cannot be read or is not in COCO format, or no image asked for has an object.
    """
    body, sha256 = _load(path, name)
    truth = _File(body, name).truth(None if samples is None else list(samples))
    return replace(truth, sha256=sha256)


def has_masks(path: Path, samples: Sequence[Sample]) -> bool:
    """`GroundTruth.has_masks`, read once a file and choice of images, however many cells ask."""
    found = path.stat()
    key = (path, found.st_size, found.st_mtime_ns, json_digest([sample.id for sample in samples]))
    if key not in _MASKS:
        _MASKS[key] = read_ground_truth(path, samples, name=path.name).has_masks
    return _MASKS[key]


_MASKS: dict[tuple[Path, int, int, str], bool] = {}


def _load(path: Path, name: str) -> tuple[dict[str, Any], str]:
    """The file's content and the sha256 of its bytes."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}); give the path of an annotation file.") from None
    return parse_coco(data, name), bytes_digest(data)


class _File:
    """One annotation file while it is read."""

    def __init__(self, body: dict[str, Any], name: str) -> None:
        self.body, self.name = body, name
        self.skipped: list[Skipped] = []
        self.notes: list[str] = []
        # Images that cannot be used: their annotations need no second mention.
        self.left_out: set[Key] = set()

    def truth(self, samples: list[Sample] | None) -> GroundTruth:
        entries = self._images()
        asked = self._asked(entries, samples)
        categories, raw_categories = self._categories()
        labels = {category.id: label for label, category in enumerate(categories)}
        things, raw_things = self._things(labels, entries, asked)
        if not any(not thing.crowd for of_image in things.values() for thing in of_image):
            raise UserError(self._no_object(len(asked), len(raw_things)))
        style = style_of(self.body["images"], categories)
        self._note_crowds(raw_things, style)
        images = tuple(
            TruthImage(
                key=key,
                sample=sample,
                size_hw=annotated_size(entries[key]),
                things=tuple(things.get(key, ())),
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
                "annotations": raw_things,
                "categories": raw_categories,
            },
            has_masks=self._has_masks(raw_things, images),
            skipped=tuple(self.skipped),
            notes=tuple(self.notes),
        )

    def _no_object(self, images: int, crowds: int) -> str:
        none = f"{self.name} has no usable object in the {images} images asked for"
        if crowds:
            return f"{none}, only {crowds} {'crowd' if crowds == 1 else 'crowds'} (iscrowd 1); {CROWDS_ALONE}."
        first = f" The first reason: {self.skipped[0].item} {self.skipped[0].reason}." if self.skipped else ""
        return f"{none}; give a split with annotations, or raise the limit.{first}"

    def _images(self) -> dict[Key, dict[str, Any]]:
        """Sound entries by key."""
        images: dict[Key, dict[str, Any]] = {}
        for item, entry in self._entries("images", "image"):
            key = as_key(entry.get("id"))
            try:
                if key is None:
                    raise BadEntry("has no usable id")
                if key in images:
                    raise BadEntry("has the id of an earlier image")
                annotated_size(entry)
                images[key] = entry
            except BadEntry as reason:
                if key is not None:
                    self.left_out.add(key)
                self._skip(item, reason)
        return images

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

    def _categories(self) -> tuple[tuple[Category, ...], list[dict[str, Any]]]:
        found: dict[Key, dict[str, Any]] = {}
        for item, entry in self._entries("categories", "category"):
            key, name = as_key(entry.get("id")), entry.get("name")
            if key is None or not isinstance(name, str) or not name.strip():
                self._skip(item, "has no usable id or name")
            elif key in found:
                self._skip(item, "has the id of an earlier category")
            else:
                found[key] = entry
        if self._placeholder(found):
            placeholder = found.pop(0)
            self.notes.append(
                f"Category 0 of {self.name}, {placeholder['name']!r:.60}, is Roboflow's placeholder above the others; no "
                "annotation uses it, and it is left out."
            )
        categories = tuple(category_of(key, found[key]) for key in sorted(found, key=in_order))
        raw = [{"id": c.id, "name": c.name} | ({"frequency": c.frequency} if c.frequency else {}) for c in categories]
        return categories, raw

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

    def _things(
        self, labels: dict[Key, int], entries: dict[Key, dict[str, Any]], asked: dict[Key, Sample]
    ) -> tuple[dict[Key, list[Thing]], list[dict[str, Any]]]:
        """Objects of the images asked for, and the same as evaluators read them; annotations of other images are passed over."""
        things: dict[Key, list[Thing]] = {}
        raw: list[dict[str, Any]] = []
        seen: set[Key] = set()
        for item, entry in self._entries("annotations", "annotation"):
            key, image, category = (as_key(entry.get(field)) for field in ("id", "image_id", "category_id"))
            try:
                if key is not None and key in seen:
                    raise BadEntry("has the id of an earlier annotation")
                if key is not None:
                    seen.add(key)
                if image is None or image not in entries:
                    if image is None or image not in self.left_out:
                        raise BadEntry(f"belongs to no image of the file (image_id {entry.get('image_id')!r:.40})")
                    continue
                if image not in asked:
                    continue
                if category is None or category not in labels:
                    raise BadEntry(f"has an unknown category ({entry.get('category_id')!r:.40})")
                size_hw = annotated_size(entries[image])
                thing = thing_of(entry, labels[category], size_hw)
                kept = {
                    "id": len(raw) + 1,  # 0 means "unmatched" to evaluators, and some files start there
                    "image_id": image,
                    "category_id": category,
                    "bbox": entry["bbox"],
                    "area": area_of(entry, thing, size_hw),
                    "iscrowd": int(thing.crowd),
                }
                raw.append(kept if thing.segmentation is None else kept | {"segmentation": thing.segmentation})
                things.setdefault(image, []).append(thing)
            except BadEntry as reason:
                self._skip(item, reason)
        return things, raw

    def _note_crowds(self, raw: Sequence[Mapping[str, Any]], style: Style) -> None:
        crowds = sum(entry["iscrowd"] for entry in raw)
        if crowds and style == "coco":  # the lvis package knows no crowds, and judges them as objects
            self.notes.append(
                f"{crowds} of {len(raw)} regions of {self.name} are crowds (iscrowd 1), no objects: detections that lie in one are "
                "neither right nor wrong."
            )

    def _has_masks(self, raw: Sequence[Mapping[str, Any]], images: Sequence[TruthImage]) -> bool:
        without = sum("segmentation" not in entry for entry in raw)
        if 0 < without < len(raw):
            self.notes.append(f"{without} of {len(raw)} objects of {self.name} have no mask, so masks are not judged.")
        unsized = sum(image.size_hw is None for image in images)
        if unsized and without == 0:
            self.notes.append(
                f"{unsized} of {len(images)} images of {self.name} have no size, so masks are not judged."
            )
        return without == 0 and not unsized

    def _known(self, entry: dict[str, Any], field: str, labels: dict[Key, int], style: Style) -> tuple[Key, ...]:
        if style == "coco":
            return ()
        value = entry.get(field, [])
        keys = [as_key(key) for key in value] if isinstance(value, list) else [None]
        known = tuple(key for key in keys if key is not None and key in labels)
        if len(known) < len(keys):
            self._skip(f"image {entry.get('id')!s:.60}", f"has {field} that are no categories of the file")
        return known

    def _entries(self, key: str, noun: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(how to call it, entry); what is no object is listed."""
        for place, entry in enumerate(self.body[key]):
            if isinstance(entry, dict):
                yield f"{noun} {entry.get('id', f'at place {place}')!s:.60}", entry
            else:
                self._skip(f"{noun} at place {place}", "is no JSON object")

    def _skip(self, item: str, reason: object) -> None:
        self.skipped.append(Skipped(item=f"{self.name}: {item}", reason=str(reason)))
