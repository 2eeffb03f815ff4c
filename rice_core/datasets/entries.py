"""The pieces of a COCO-format file that every reader of one needs: the file itself, ids, and the size of an image."""

from __future__ import annotations

import json
from typing import Any

from rice_core.datasets.regions import BadEntry
from rice_core.errors import UserError
from rice_core.images import MAX_PIXELS

Key = int | str
"""An id as the file has it: a whole number or a string."""


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


def as_key(value: Any) -> Key | None:
    """An id as COCO tools write it: a whole number or a string; else None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def in_order(key: Any) -> tuple[int, int, str]:
    """Sorts numbers by value, then strings."""
    return (0, key, "") if isinstance(key, int) else (1, 0, str(key))


def size_of(entry: dict[str, Any]) -> tuple[int, int]:
    """Height and width of an image entry.

    Raises:
        BadEntry: none that can be used, or more pixels than an image may have.
    """
    height, width = entry.get("height"), entry.get("width")
    whole = [int(v) for v in (height, width) if isinstance(v, (int, float)) and not isinstance(v, bool) and v == v // 1]
    if len(whole) != 2 or min(whole) < 1:
        raise BadEntry(f"has no usable size ({width!r:.20} x {height!r:.20})")
    if whole[0] * whole[1] > MAX_PIXELS:
        raise BadEntry(f"has {whole[1]} x {whole[0]} pixels, more than the limit of {MAX_PIXELS}")
    return whole[0], whole[1]
