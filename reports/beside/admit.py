"""Which records may stand beside the paper's numbers, and why the others may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reports.beside.mapping import Filling, Mapping, Reading
from reports.groups import Group, groups, is_miniature
from rice_core.record import Record


@dataclass(frozen=True)
class Admitted:
    """The records of a mapping's probes, divided into those that count and those that do not."""

    groups: tuple[Group, ...]
    left_out: Counter[str]
    """Why -> how many records."""

    def of(self, filling: Filling, mapping: Mapping, reading: Reading) -> list[Group]:
        """All groups that could fill a column of a reading. More than one must not: they do not measure the same."""
        names = mapping.data[filling.data].names
        own = [group for group in self.groups if mapping.reading_of(group.probe) == reading]
        return [g for g in own if g.probe.name == filling.probe and (not names or g.dataset.name in names)]


def admit(records: Iterable[Record], mapping: Mapping) -> Admitted:
    """Divide the records. Where a probe's number came to mean another (its version rose), the newest counts.

    A cell that was tried and gave no number stays in its group: a mean over the other seeds has to say that it lacks one.
    """
    own = [record for record in records if record.cell.probe.name in mapping.probes]
    left_out = Counter(reason for record in own if (reason := why_not(record, mapping)))
    fit = [record for record in own if not _unfit(record, mapping)]
    newest: dict[tuple[str, str], int] = {}
    for probe in (record.cell.probe for record in fit if record.status == "done"):
        newest[probe.name, probe.recipe] = max(probe.version, newest.get((probe.name, probe.recipe), 0))
    stand = []
    for record in fit:
        probe = record.cell.probe
        last = newest.get((probe.name, probe.recipe))
        if probe.version == last:
            stand.append(record)
        elif record.status == "done":
            left_out[f"version {probe.version} of {probe.name}, where {last} is there"] += 1
    return Admitted(tuple(group for group in groups(stand) if group.columns), left_out)


def why_not(record: Record, mapping: Mapping) -> str:
    """Why a record may not stand in a paper table; empty where it may."""
    return _unfit(record, mapping) if record.status == "done" else record.status.replace("_", " ")


def _unfit(record: Record, mapping: Mapping) -> str:
    """What was asked for that a paper table does not ask; a cell that gave no number may be fit all the same."""
    cell, probe = record.cell, record.cell.probe
    reading = mapping.reading_of(probe)
    apart = reading.settings if reading else {}
    changed = [
        f"{key}={value}"
        for key, value in sorted(probe.params.items())
        if key not in apart and not _harmless(key, value, mapping)
    ]
    reasons = []
    if reading is None:
        reasons.append(f"recipe {probe.recipe}")
    if is_miniature(cell.dataset):
        reasons.append(f"miniature data set {cell.dataset.name}")
    if not any(role.taught_as(cell.dataset) for role in mapping.roles(probe.name)):
        names = " + ".join(each.name for each in cell.dataset.learnt_from) or "its own train split"
        reasons.append(f"learnt from {names}")
    if taints := record.taints or ((f"limit {cell.limit}",) if cell.limit else ()):
        reasons.append(f"tainted: {', '.join(taints)}")
    if changed:
        reasons.append(f"not the recipe's settings: {', '.join(changed)}")
    if record.status == "done" and record.evidence is None:
        reasons.append("no digest of weights and data")
    return "; ".join(reasons)


def _harmless(key: str, value: object, mapping: Mapping) -> bool:
    allowed = mapping.settings.get(key)
    return allowed is not None and (not allowed or str(value) in allowed)
