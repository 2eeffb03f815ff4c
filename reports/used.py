"""Parameters that were not used as asked: what a table would mistake for the request, and where two encoders differ in it."""

from __future__ import annotations

from collections.abc import Sequence

from reports.groups import Entry, Group
from rice_core.record import Record
from rice_core.spec import Param


def replaced(record: Record) -> list[str]:
    """`perplexity=11.67 in place of 1000`, one for each such parameter."""
    asked = record.cell.probe.params
    return [
        f"{name}={_said(value)} in place of {_said(asked[name]) if name in asked else 'what the recipe says'}"
        for name, value in sorted(record.used.items())
    ]


def replaced_in(group: Group) -> list[str]:
    """One sentence for all that the group's encoders used alike, none where everything was used as asked; then `apart`."""
    records = [record for entry in group.entries for record in entry.done]
    unlike = _unlike(group, group.entries)
    alike = {said for record in records for said in replaced(record) if said.partition("=")[0] not in unlike}
    first = [f"Not used as asked: {', '.join(sorted(alike))}."] if alike else []
    return first + apart(group, group.entries)


def apart(group: Group, entries: Sequence[Entry]) -> list[str]:
    """One sentence for each parameter that came to different values, so that the numbers beside each other mean different things."""
    asked = group.probe.params
    return [
        f"{group.probe.name}: {name} is not the same for all encoders: "
        + "; ".join(f"{label} {' and '.join(values)}" for label, values in found.items())
        + (f" (asked: {_said(asked[name])})." if name in asked else ".")
        for name, found in _unlike(group, entries).items()
    ]


def _unlike(group: Group, entries: Sequence[Entry]) -> dict[str, dict[str, list[str]]]:
    """Parameter -> encoder -> what its seeds used, where that differs."""
    names = sorted({name for entry in entries for record in entry.done for name in record.used})
    found = {name: {entry.label: _values(group, entry, name) for entry in entries if entry.done} for name in names}
    return {name: values for name, values in found.items() if len({tuple(each) for each in values.values()}) > 1}


def _values(group: Group, entry: Entry, name: str) -> list[str]:
    asked = group.probe.params.get(name, "as the recipe says")
    return sorted({_said(record.used.get(name, asked)) for record in entry.done})


def _said(value: Param) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
