"""Which records may stand beside the paper's numbers, and why the others may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reports.beside.mapping import Filling, Mapping
from reports.groups import Group, groups, is_miniature
from rice_core.record import Record


@dataclass(frozen=True)
class Admitted:
    """The records of a mapping's probes, divided into those that count and those that do not."""

    groups: tuple[Group, ...]
    left_out: Counter[str]
    """Why -> how many records."""

    def of(self, filling: Filling, mapping: Mapping) -> list[Group]:
        """All groups that could fill a column. More than one must not: they do not measure the same."""
        names = mapping.data[filling.data].names
        return [g for g in self.groups if g.probe.name == filling.probe and (not names or g.dataset.name in names)]


def admit(records: Iterable[Record], mapping: Mapping) -> Admitted:
    """Divide the records. Where a probe's number came to mean another (its version rose), the newest counts."""
    own = [record for record in records if record.cell.probe.name in mapping.probes]
    reasons = [why_not(record, mapping) for record in own]
    left_out = Counter(reason for reason in reasons if reason)
    may = [record for record, reason in zip(own, reasons, strict=True) if not reason]
    newest: dict[str, int] = {}
    for probe in (record.cell.probe for record in may):
        newest[probe.name] = max(probe.version, newest.get(probe.name, 0))
    stand = []
    for record in may:
        probe = record.cell.probe
        if probe.version < newest[probe.name]:
            left_out[f"version {probe.version} of {probe.name}, where {newest[probe.name]} is there"] += 1
        else:
            stand.append(record)
    return Admitted(tuple(groups(stand)), left_out)


def why_not(record: Record, mapping: Mapping) -> str:
    """Why a record may not stand in a paper table; empty where it may."""
    cell, probe = record.cell, record.cell.probe
    if record.status != "done":
        return record.status.replace("_", " ")
    changed = [f"{key}={value}" for key, value in sorted(probe.params.items()) if not _harmless(key, value, mapping)]
    reasons = []
    if probe.recipe != "paper" and not probe.recipe.startswith("paper@"):
        reasons.append(f"recipe {probe.recipe}")
    if is_miniature(cell.dataset):
        reasons.append(f"miniature data set {cell.dataset.name}")
    if taints := record.taints or ((f"limit {cell.limit}",) if cell.limit else ()):
        reasons.append(f"tainted: {', '.join(taints)}")
    if changed:
        reasons.append(f"not the recipe's settings: {', '.join(changed)}")
    if record.evidence is None:
        reasons.append("no digest of weights and data")
    return "; ".join(reasons)


def _harmless(key: str, value: object, mapping: Mapping) -> bool:
    allowed = mapping.settings.get(key)
    return allowed is not None and (not allowed or str(value) in allowed)
