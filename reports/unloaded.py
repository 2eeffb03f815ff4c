"""Encoders that could not be loaded: older stores hold a failed record for each of their cells. One line says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rice_core.digest import json_digest
from rice_core.record import Record

_MOST_NAMES = 8


def loaded(records: Iterable[Record]) -> list[Record]:
    """The records of encoders of which at least one record knows what was loaded, or says more than that it failed."""
    kept = list(records)
    known = {_encoder(record) for record in kept if record.evidence is not None or record.status != "failed"}
    return [record for record in kept if _encoder(record) in known]


def unloaded_line(records: Sequence[Record]) -> str:
    """`2 encoders could not be loaded: a, b (...)`, or nothing."""
    shown = {_encoder(record) for record in loaded(records)}
    names = sorted({record.cell.encoder.title for record in records if _encoder(record) not in shown})
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (
        f"{len(names)} encoder{'s' * (len(names) != 1)} could not be loaded: {', '.join(names[:_MOST_NAMES])}{more} "
        '(run again, or `ricebench forget "NAME/*"`).'
    )


def _encoder(record: Record) -> str:
    return json_digest(record.cell.encoder.identity())
