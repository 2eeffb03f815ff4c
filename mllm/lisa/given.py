"""Masks that somebody's model found for referring expressions: a JSON list, and which expression each entry is for.

    [{"expression": "refcoco/12/34", "segmentation": {"size": [427, 640], "counts": "..."}}, ...]

An expression is called `refcoco/REF_ID/SENT_ID`, or `REF_ID/SENT_ID` or SENT_ID alone where one data set alone has it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rice_core.errors import UserError, one_line
from rice_core.record import Skipped


@dataclass(frozen=True)
class GivenMasks:
    """Of a results file."""

    of: Mapping[str, Any]
    """Expression -> segmentation as it was written; checked is none."""
    skipped: tuple[Skipped, ...]
    elsewhere: int
    """Entries for expressions of other splits."""


def read_given(results: Path, ids: Iterable[str], others: Iterable[str] = ()) -> GivenMasks:
    """
    Args:
        ids: of the expressions that are judged. others: of those that are not, though a file may have them.

    Raises:
        UserError: the file cannot be read, is no list, or calls an expression as several data sets do.
    """
    try:
        entries = json.loads(results.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{results} is no JSON ({one_line(error, 120)}); write a list of expressions with masks."
        ) from None
    if not isinstance(entries, list):
        raise UserError(
            f'{results} is no list; write [{{"expression": ID, "segmentation": {{"size": ..., "counts": ...}}}}, ...].'
        )
    known, elsewhere = _names(ids), _names(others)
    found: dict[str, Any] = {}
    times: Counter[str] = Counter()
    skipped, passed = [], 0
    for place, entry in enumerate(entries):
        name = entry.get("expression") if isinstance(entry, dict) else None
        if not isinstance(name, str | int) or isinstance(name, bool):
            skipped.append(Skipped(item=f"entry {place}", reason="has no expression"))
            continue
        called = known.get(str(name), [])
        if len(called) > 1:
            raise UserError(
                f"{results} calls an expression {name}, which {' and '.join(called[:2])} are; write their ids in full."
            )
        if not called and str(name) in elsewhere:
            passed += 1
            continue
        if not called:
            skipped.append(Skipped(item=f"entry {place}", reason=f"is of {name!r}, which is no expression of the data"))
            continue
        times[called[0]] += 1
        found[called[0]] = entry.get("segmentation")
    for each, n in times.items():
        if n > 1:  # nothing says which of them is meant
            del found[each]
            skipped.append(Skipped(item=each, reason=f"has {n} masks", times=n))
    return GivenMasks(found, tuple(skipped), passed)


def _names(ids: Iterable[str]) -> dict[str, list[str]]:
    """What an expression may be called -> which that are."""
    names: dict[str, list[str]] = defaultdict(list)
    for each in ids:
        _, ref, sent = each.rsplit("/", 2)
        for name in (each, f"{ref}/{sent}", sent):
            names[name].append(each)
    return names
