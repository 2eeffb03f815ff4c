"""ColumnSource: where the numbers of one column come from, and what stands in a cell: ours, the paper's, delta, verdict."""

from __future__ import annotations

from collections.abc import Mapping as Lookup
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reports.beside.admit import Admitted
from reports.beside.mapping import Filling, Mapping, Reading
from reports.board import PARTIAL, page_of
from reports.groups import Entry, Group
from reports.judge import Judge, ScoreSource
from reports.reference.paper import PaperColumn
from reports.table import Column, Value
from rice_core.stats.estimates import Estimate

Verdict = Literal["within the goal", "by the interval alone", "off"]
_SLACK = 1e-9
"""39.2 - 38.9 is a little more than 0.3 in floating point."""


@dataclass(frozen=True)
class ColumnSource:
    """One column: the group that fills it, or why none does."""

    printed: PaperColumn
    filling: Filling
    judge: Judge | None
    refused: str = ""
    """Why groups that are there may not fill it."""
    unjudged: str = ""
    """Why its numbers get no verdict."""

    @property
    def heads(self) -> tuple[Column, ...]:
        """The four columns of it."""
        return heads(self.printed.key, self.printed)

    @property
    def measured(self) -> Column | None:
        """The metric as our records have it; None where none has it in the paper's unit."""
        columns = self.judge.group.columns if self.judge else ()
        return next((c for c in columns if (c.key, c.unit) == (self.filling.metric, self.printed.unit)), None)

    def entry(self, key: str) -> Entry | None:
        """An encoder that has a number, or a record without this metric."""
        return self.judge.group.entry(key) if self.judge else None

    def other_n(self, entry: Entry) -> int | None:
        """Over how many samples the entry's number is, where that is not what the published data has."""
        metrics = entry.metrics(self.measured) if self.measured else []
        return next((m.n for m in metrics if self.filling.n is not None and m.n != self.filling.n), None)

    def partial(self, entry: Entry) -> bool:
        """Whether some seeds gave no number for this encoder, and some did."""
        return self.judge is not None and self.measured is not None and self.judge.group.partial(entry, self.measured)

    def lacking(self, entry: Entry) -> str:
        """`over 1 of 2 seeds`, where some are missing."""
        if not self.partial(entry) or self.judge is None or self.measured is None:
            return ""
        return f"over {len(entry.seeds(self.measured))} of {self.judge.group.most_seeds} seeds"

    def agreed(self, key: str) -> Estimate | None:
        """The number of an encoder where it may be held against the paper's: over every seed that was tried."""
        entry = self.entry(key)
        return None if entry is None or self.partial(entry) else self.estimate(key)

    def estimate(self, key: str) -> Estimate | None:
        """The number of an encoder; None where there is none that may stand beside the paper's."""
        entry, column = self.entry(key), self.measured
        if entry is None or column is None or self.judge is None or self.other_n(entry) is not None:
            return None
        return self.judge.estimate(entry, column)


def sources(mapping: Mapping, admitted: Admitted, reading: Reading, store: ScoreSource) -> list[ColumnSource]:
    """One a column of a reading, in the paper's order; columns of one group share its judge."""
    judges: dict[str, Judge] = {}
    made = []
    for column in mapping.printed.columns:
        if filling := mapping.columns.get(column.key):
            found = admitted.of(filling, mapping, reading)
            if len(found) == 1:
                judge = judges.setdefault(found[0].key, Judge(found[0], store))
                made.append(ColumnSource(column, filling, judge, unjudged=reading.unjudged))
            else:
                made.append(ColumnSource(column, filling, None, " / ".join(map(_apart, found))))
    return made


def agreement(estimate: Estimate, paper: float, goal: float) -> Verdict:
    """Whether a number is the paper's: by the goal first, else by our own 95 % interval."""
    if abs(estimate.value - paper) <= goal + _SLACK:
        return "within the goal"
    within = estimate.ci95 is not None and estimate.ci95[0] <= paper <= estimate.ci95[1]
    return "by the interval alone" if within else "off"


def heads(key: str, printed: PaperColumn, said: str = "") -> tuple[Column, ...]:
    """Ours, the paper's, delta and verdict of one column of the paper, or of an average that is `said` to be made in one way."""
    name = f"{printed.group} {printed.label}".strip() + (f", {said}" if said else "")
    group = f"{name} ({printed.unit})" if printed.unit else name
    better: dict[str, Literal["higher", "lower", "neither"]] = {"ours": printed.better}
    return tuple(
        Column(
            key=f"{key}.{part}",
            label=part,
            group=group,
            better=better.get(part, "neither"),
            decimals=printed.decimals,
        )
        for part in ("ours", "paper", "delta", "verdict")
    )


def ours(source: ColumnSource, key: str) -> Value:
    """Our number, bold by a paired interval alone; a dot with the reason in its hint where there is none."""
    entry, column, judge = source.entry(key), source.measured, source.judge
    estimate = source.estimate(key)
    if entry is None or column is None or judge is None or estimate is None:
        return Value(hint=_absent(source, entry))
    record = next(record for record in entry.done if record.metric(column.key))
    return Value(
        value=estimate.value,
        stderr=estimate.stderr,
        bold=judge.wins(entry, column),
        mark=PARTIAL * source.partial(entry),
        href=page_of(entry.cell_id(record)),
        hint=f"{_interval(estimate, source.printed)}n = {estimate.n}; {estimate.method}",
        partial=source.partial(entry),
    )


def beside(source: ColumnSource, key: str, paper: Value) -> tuple[Value, Value]:
    """Delta and verdict; dots where either number is missing, or ours is over fewer seeds than were tried."""
    estimate = source.agreed(key)
    if estimate is None or paper.value is None:
        entry = source.entry(key)
        why = "not all seeds gave a number" if paper.value is not None and entry and source.partial(entry) else ""
        return Value(hint=why), Value(hint=why)
    return verdict_values(estimate, paper, source.printed, source.filling.goal, source.unjudged)


def verdict_values(
    estimate: Estimate, paper: Value, printed: PaperColumn, goal: float, unjudged: str
) -> tuple[Value, Value]:
    """Delta and verdict of two numbers that are there; no verdict where there is a reason for none."""
    if paper.value is None:
        return Value(), Value()
    places = printed.decimals
    delta = estimate.value - paper.value
    hint = f"{estimate.value:z.{places + 1}f} - {paper.value:.{places}f} = {delta:+z.{places + 1}f}"
    shown = Value(value=delta, text=f"{delta:+z.{places}f}".replace("-", "−"), hint=hint)
    if unjudged:
        return shown, Value(text="no verdict", hint=unjudged)
    found = agreement(estimate, paper.value, goal)
    reason = f"{found}: goal {goal:g}; {_interval(estimate, printed)}".removesuffix("; ")
    return shown, Value(text="off" if found == "off" else "ok", hint=reason)


def _absent(source: ColumnSource, entry: Entry | None) -> str:
    if source.refused:
        return "refused: the notes below the table say why"
    if entry is None:
        return "not run; the notes below the table give the command"
    if not entry.done:
        return entry.records[0].error or "no reason was recorded"
    if (other := source.other_n(entry)) is not None:
        return f"over {other}, not {source.filling.n}: not the published data set"
    return f"this encoder's record has no {source.filling.metric}"


def _interval(estimate: Estimate, printed: PaperColumn) -> str:
    if estimate.ci95 is None:
        return ""
    places = printed.decimals + 1
    return f"95 % interval {estimate.ci95[0]:z.{places}f} to {estimate.ci95[1]:z.{places}f}; "


def _apart(group: Group) -> str:
    """What two groups of one probe can differ in."""
    settings = f", {group.settings}" if group.settings else ""
    cells = sum(len(entry.records) for entry in group.entries)
    return (
        f"{group.dataset.title} (listing {group.dataset.fingerprint[:8]}, bytes {group.data[:8]}), "
        f"{group.probe.recipe}{settings}: {cells} record{'s' * (cells != 1)}"
    )


def printed_values(rows: Sequence[tuple[Value, ...]], mapping: Mapping) -> Lookup[tuple[str, str], Value]:
    """(row, column) -> the paper's entry with its footnote signs. `rows` stand as the table prints them."""
    printed = mapping.printed
    return {
        (row.key, column.key): value
        for row, values in zip(printed.rows, rows, strict=True)
        for column, value in zip(printed.columns, values, strict=True)
    }
