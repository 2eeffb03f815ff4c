"""Gaps: cells that a board lacks, each with the command that would fill it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.groups import Entry, Group
from rice_core.spec import EncoderSpec


@dataclass(frozen=True)
class Gap:
    """An encoder without a number in one group."""

    kind: Literal["missing", "failed", "not applicable"]
    label: str
    encoder: EncoderSpec
    group: Group
    seeds: tuple[int, ...]
    reason: str = ""
    """What went wrong, or why nothing can be said; empty for a cell that was never run."""
    cell_id: str = ""

    @property
    def command(self) -> str:
        """What fills it; empty where nothing can."""
        return "" if self.kind == "not applicable" else command([self])


def gaps(groups: Sequence[Group]) -> list[Gap]:
    """What is missing, failed or not applicable among groups of one data set, recipe and limit, by encoder."""
    entries = {entry.key: entry for group in groups for entry in group.entries}
    found = []
    for key, known in sorted(entries.items(), key=lambda item: (item[1].label, item[0])):
        for group in groups:
            entry = group.entry(key)
            found += _never_run(known, entry, group)
            found += _without_number(entry, group) if entry else []
    return found


def commands(found: Iterable[Gap]) -> list[str]:
    """One command for each encoder, kind, data set (with what is learnt from) and set of seeds: it fills every gap that has one."""
    together: dict[tuple[object, ...], list[Gap]] = {}
    for gap in found:
        if gap.kind != "not applicable":
            cell = gap.group
            key = gap.label, gap.kind, gap.seeds, cell.dataset, cell.limit
            together.setdefault(key, []).append(gap)
    return [command(some) for some in together.values()]


def command(some: Sequence[Gap]) -> str:
    """The command for gaps of one encoder, kind, data set, limit and set of seeds."""
    first = some[0]
    words = ["ricebench", "run", "--encoders", typed(first.encoder)]
    words += ["--probes", ",".join(dict.fromkeys(gap.group.probe.shorthand for gap in some))]
    data = [first.group.dataset.name, *(f"train={each.name}" for each in first.group.dataset.learnt_from)]
    words += [word for each in data for word in ("--data", each)]
    words += ["--seeds", ",".join(map(str, first.seeds))] if first.seeds != (0,) else []
    words += ["--limit", str(first.group.limit)] if first.group.limit else []
    return shlex.join([*words, "--only", first.kind])


def typed(spec: EncoderSpec) -> str:
    """The shorthand, with the display name where it can be typed."""
    spec = spec.told()
    plain = re.fullmatch(r"[A-Za-z0-9 ._/+-]+", spec.name)
    return f"{spec.name}={spec.shorthand}" if plain and spec.name != spec.shorthand else spec.shorthand


def _never_run(known: Entry, entry: Entry | None, group: Group) -> list[Gap]:
    ran = {record.cell.seed for record in entry.records} if entry else set()
    absent = tuple(seed for seed in group.seeds if seed not in ran)
    return [Gap("missing", known.label, known.spec, group, absent)] if absent else []


def _without_number(entry: Entry, group: Group) -> list[Gap]:
    return [
        Gap(
            "failed" if record.status == "failed" else "not applicable",
            entry.label,
            entry.spec,
            group,
            (record.cell.seed,),
            record.error or "no reason was recorded",
            entry.cell_id(record),
        )
        for record in entry.records
        if record.status != "done"
    ]
