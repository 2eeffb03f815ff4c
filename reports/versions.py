"""How many versions of the code made some numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from rice_core.record import Record


def versions_of_code(records: Iterable[Record]) -> int:
    """At least so many; 0 where no record says what it was made from.

    Each probe has code of its own, and so has the adapter of each source of encoders, so that two digests tell two versions
    only within one probe, and of the whole code only within one source.
    """
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        found, cell = record.evidence, record.cell
        if found:
            seen[cell.probe.name, ""].add(found.shared_code or found.code)
            seen[cell.probe.name, cell.encoder.source].add(found.code)
    return max(map(len, seen.values()), default=0)
