"""One COCO-format file while it is read: its sound entries, and why the others are left out.

Data sets and the truth that detections are judged by are read from it; each takes of an entry what it needs. A bad entry
is left out and listed with its reason; it never costs another one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from rice_core.datasets.nouns import Region
from rice_core.datasets.regions import BadEntry, is_crowd, read_region
from rice_core.errors import UserError
from rice_core.images import MAX_PIXELS
from rice_core.record import Skipped

Key = int | str
"""An id as the file has it: a whole number or a string."""
T = TypeVar("T")


def parse_coco(data: bytes, name: str) -> dict[str, Any]:
    """The content of an annotation file, with its three lists.

    Raises:
        UserError: it is no JSON, or not in COCO format.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is no JSON ({' '.join(str(error).split())[:80]}); export it again.") from None
    lists = ("images", "annotations", "categories")
    if not isinstance(body, dict) or not all(isinstance(body.get(key), list) for key in lists):
        raise UserError(f"{name} has no lists {', '.join(lists)}; it is not in COCO format, export it again.")
    return body


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
                images[key] = read(key, entry)
            except BadEntry as reason:
                self._without.add(key)
                self.skip(item, reason)
        return images

    def categories(self) -> dict[Key, dict[str, Any]]:
        """The categories with an id and a name, in the order of their ids."""
        found: dict[Key, dict[str, Any]] = {}
        for item, entry in self._entries("categories", "category"):
            key, name = as_key(entry.get("id")), entry.get("name")
            if key is None or not isinstance(name, str) or not name.strip():
                self.skip(item, "has no usable id or name")
            elif key in found:
                self.skip(item, "has the id of an earlier category")
            else:
                found[key] = entry
        return {key: found[key] for key in sorted(found, key=in_order)}

    def regions(
        self,
        images: Mapping[Key, T],
        labels: Mapping[Key, int],
        size: Callable[[T], tuple[int, int] | None],
        read: Callable[[str, dict[str, Any], Key, Region, bool], None],
        *,
        asked: Callable[[Key], bool] = lambda key: True,
    ) -> None:
        """Call `read(what it is called, entry, image, region, crowd)` of each sound annotation, in the order of the file; it may raise `BadEntry`.

        Args:
            images: of `images`. labels: index by category id. size: height and width of an image, where it is known.
            asked: whether an image's annotations are wanted; the others are passed over.
        """
        seen: set[Key | None] = set()
        for item, entry in self._entries("annotations", "annotation"):
            key, image, category = (as_key(entry.get(field)) for field in ("id", "image_id", "category_id"))
            try:
                if key is not None and key in seen:
                    raise BadEntry("has the id of an earlier annotation")
                seen.add(key)
                if image is None or image not in images:
                    if image is None or image not in self._without:
                        raise BadEntry(f"belongs to no image of the file (image_id {entry.get('image_id')!r:.40})")
                    continue
                if not asked(image):
                    continue
                if category is None or category not in labels:
                    raise BadEntry(f"has an unknown category ({entry.get('category_id')!r:.40})")
                crowd = is_crowd(entry)
                read(item, entry, image, read_region(entry, labels[category], size(images[image])), crowd)
            except BadEntry as reason:
                self.skip(item, reason)

    def skip(self, item: str, reason: object, times: int = 1) -> None:
        """List what is left out."""
        self.skipped.append(Skipped(item=f"{self.name}: {item}", reason=str(reason), times=times))

    def _entries(self, key: str, noun: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(how to call it, entry); what is no object is listed."""
        for place, entry in enumerate(self.body[key]):
            if isinstance(entry, dict):
                yield f"{noun} {entry.get('id', f'at place {place}')!s:.60}", entry
            else:
                self.skip(f"{noun} at place {place}", "is no JSON object")


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
