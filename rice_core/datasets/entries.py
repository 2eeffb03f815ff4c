"""One COCO-format file while it is read: what its entries say, what was mended for it, and why others are left out.

Data sets and the truth that detections are judged by are read from it; each takes of an entry what it needs. A flaw costs
the field that has it (regions); what cannot be used is listed with its reason, and never costs another entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from rice_core.datasets.coco_masks import BadEntry
from rice_core.datasets.regions import Annotation, read_annotation
from rice_core.errors import UserError
from rice_core.images import MAX_PIXELS
from rice_core.record import Skipped

Key = int | str
"""An id as the file has it: a whole number or a string."""
T = TypeVar("T")
_DIGITS = re.compile(r"-?[0-9]{1,18}")

IGNORED = "is ignored: neither object nor background"
"""How truth that cannot be used is listed, behind the reason."""
_MENDED = {
    "mask": ("segmentations that cannot be used", "the objects keep their boxes, and have no mask"),
    "polygons": ("segmentations in another form", "what they say is read, and what covers nothing is left out"),
    "box": ("boxes that cannot be used", "each is drawn around its mask"),
    "numbers": ("boxes written as text", "the numbers are read"),
    "area": ("areas that cannot be used", "each is that of its mask, else of its box"),
    "key": ("ids written otherwise than where they are defined", "each is read as the id that it can only be"),
    "id": ("annotations with the id of another one", "ids of annotations count for nothing, and all are read"),
    "name": ("categories without a name", "each is called by its id"),
    "size": ("images without a usable size", "they are read without"),
}
"""What was mended -> its plural, and what became of it."""


def parse_coco(data: bytes, name: str) -> dict[str, Any]:
    """The content of an annotation file, with its three lists.

    Raises:
        UserError: it is no JSON, or not in COCO format.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise no_json(name, data, error, "export it again") from None
    lists = ("images", "annotations", "categories")
    if not isinstance(body, dict) or not all(isinstance(body.get(key), list) for key in lists):
        raise UserError(f"{name} has no lists {', '.join(lists)}; it is not in COCO format, export it again.")
    return body


def no_json(name: object, data: bytes, error: Exception, step: str) -> UserError:
    """What to say of a file that `json` does not read."""
    if data.startswith(b"\x1f\x8b"):
        return UserError(f"{name} is packed by gzip; unpack it first (gunzip).")
    return UserError(f"{name} is no JSON ({' '.join(str(error).split())[:80]}); {step}.")


class CocoFile:
    """The entries of one file.

    Args:
        body: of `parse_coco`.
        name: how the file is called in `skipped`, to which every entry that is left out is added.
    """

    def __init__(self, body: dict[str, Any], name: str, skipped: list[Skipped]) -> None:
        self.body, self.name, self.skipped = body, name, skipped
        self._without: set[Key | None] = set()
        """Images that cannot be used: their annotations need no second mention."""
        self._mended: dict[str, list[str]] = {}
        """What of _MENDED -> of each, which entry and why."""

    def images(self, read: Callable[[Key, dict[str, Any]], T]) -> dict[Key, T]:
        """What `read` makes of each image, by id; it raises `BadEntry` where that is nothing."""
        images: dict[Key, T] = {}
        for item, entry in self._entries("images", "image"):
            key = as_key(entry.get("id"))
            try:
                if key is None:
                    raise BadEntry("has no usable id")
                if key in images:
                    raise BadEntry("has the id of an earlier image")
                images[key] = read(key, self._sized(item, entry))
            except BadEntry as reason:
                self._without.add(key)
                self.skip(item, reason)
        return images

    def categories(self) -> dict[Key, dict[str, Any]]:
        """The categories with an id, in the order of their ids; one without a name is called by its id."""
        found: dict[Key, dict[str, Any]] = {}
        for item, entry in self._entries("categories", "category"):
            key, name = as_key(entry.get("id")), entry.get("name")
            if key is None:
                self.skip(item, "has no usable id")
            elif key in found:
                self.skip(item, "has the id of an earlier category")
            elif isinstance(name, str) and name.strip():
                found[key] = entry
            else:
                self.mend(item, "name", f"has no usable name ({name!r:.20})")
                found[key] = entry | {"name": f"category {key}"}
        return {key: found[key] for key in sorted(found, key=in_order)}

    def regions(
        self,
        images: Mapping[Key, T],
        labels: Mapping[Key, int],
        size: Callable[[T], tuple[int, int] | None],
        read: Callable[[str, dict[str, Any], Key, Annotation], None],
        *,
        asked: Callable[[Key], bool] = lambda key: True,
    ) -> None:
        """Call `read(what it is called, entry, image, what it says)` of each annotation of an image, in the order of the file.

        Args:
            images: of `images`. labels: index by category id. size: height and width of an image, where it is known.
            asked: whether an image's annotations are wanted; the others are passed over.
        """
        seen: dict[Key, dict[str, Any]] = {}
        for item, entry in self._entries("annotations", "annotation"):
            image, key = meant(entry.get("image_id"), images), as_key(entry.get("id"))
            if image is None:
                named = as_key(entry.get("image_id"))
                if named is None or named not in self._without:
                    self.skip(item, f"belongs to no image of the file (image_id {entry.get('image_id')!r:.40})")
                continue
            earlier = entry if key is None else seen.setdefault(key, entry)
            if not asked(image):
                continue
            if earlier is not entry and _same(earlier, entry):
                self.skip(item, "is an earlier annotation once more: the same id, image, category and box")
                continue
            if earlier is not entry:
                self.mend(item, "id", "has the id of an earlier annotation")
            category = meant(entry.get("category_id"), labels)
            for field, known in (("image_id", image), ("category_id", category)):
                if known is not None and known != as_key(entry[field]):
                    self.mend(item, "key", f"names {entry[field]!r:.40}")
            label = None if category is None else labels[category]
            found = read_annotation(entry, label, size(images[image]), partial(self.mend, item))
            if found.kind == "ignored":
                self.skip(item, f"{found.why}, and {IGNORED}")
            read(item, entry, image, found)

    def mend(self, item: str, what: str, reason: object) -> None:
        """Count what was mended, of _MENDED, and what with."""
        self._mended.setdefault(what, []).append(f"{item} {reason}")

    def notes(self) -> list[str]:
        """What was mended: one sentence each."""
        return [
            f"{self.name}, {_MENDED[what][0]}: {len(items)} (the first: {items[0]}); {_MENDED[what][1]}."
            for what, items in self._mended.items()
        ]

    def skip(self, item: str, reason: object, times: int = 1) -> None:
        """List what is left out."""
        self.skipped.append(Skipped(item=f"{self.name}: {item}", reason=str(reason), times=times))

    def _sized(self, item: str, entry: dict[str, Any]) -> dict[str, Any]:
        """The entry of an image; without its size, where that is none."""
        try:
            size_of(entry)
        except BadEntry as reason:
            self.mend(item, "size", reason)
            return entry | {"height": None, "width": None}
        return entry

    def _entries(self, key: str, noun: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(how to call it, entry); what is no object is listed."""
        for place, entry in enumerate(self.body[key]):
            if isinstance(entry, dict):
                yield f"{noun} {entry.get('id', f'at place {place}')!s:.60}", entry
            else:
                self.skip(f"{noun} at place {place}", "is no JSON object")


def meant(value: Any, known: Container[Key]) -> Key | None:
    """The id that is written, though it be text for a number or the other way round; None where there is no such one."""
    key = as_key(value)
    if key is None or key in known:
        return key
    other: Key | None = str(key) if isinstance(key, int) else int(key) if _DIGITS.fullmatch(key) else None
    return other if other in known else None


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(field) == other.get(field) for field in ("image_id", "category_id", "bbox"))


def as_key(value: Any) -> Key | None:
    """An id as COCO tools write it: a whole number or a string; else None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def in_order(key: Any) -> tuple[int, int, str]:
    """Sorts numbers by value, then strings."""
    return (0, key, "") if isinstance(key, int) else (1, 0, str(key))


def size_of(entry: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width of an image entry; None where it says neither.

    Raises:
        BadEntry: it says something that is no size, or more pixels than an image may have.
    """
    height, width = entry.get("height"), entry.get("width")
    if height is None and width is None:
        return None
    whole = [int(v) for v in (height, width) if isinstance(v, (int, float)) and not isinstance(v, bool) and v == v // 1]
    if len(whole) != 2 or min(whole) < 1:
        raise BadEntry(f"has no usable size ({width!r:.20} x {height!r:.20})")
    if whole[0] * whole[1] > MAX_PIXELS:
        raise BadEntry(f"has {whole[1]} x {whole[0]} pixels, more than the limit of {MAX_PIXELS}")
    return whole[0], whole[1]
