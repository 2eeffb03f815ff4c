"""How many versions of the code made some numbers, and whether today's is among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any

from rice_core.errors import UserError
from rice_core.measure.config import probe_kind
from rice_core.measure.provenance import commit, number_code
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


def made_by_other_code(records: Iterable[Record]) -> bool:
    """Whether a run would measure some of them again, for its code is another than theirs.

    Asked of records of another commit alone, and of installed probes: of others it cannot be told here.
    """
    known = [record for record in records if record.evidence is not None and record.evidence.commit is not None]
    here = commit(())[0] if known else None
    for record in known:
        assert record.evidence is not None
        today = _today(record.cell.probe.name, record.cell.encoder.source) if record.evidence.commit != here else None
        if today is not None and today != record.evidence.code:
            return True
    return False


@cache
def _today(probe: str, source: str) -> str | None:
    try:
        kind: Any = probe_kind(probe)
        return number_code(kind, source)
    except UserError:
        return None
