"""beside_table: a table of the paper, ours beside theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Lookup
from dataclasses import dataclass

from reports.beside.admit import Admitted, admit
from reports.beside.mapping import Mapping, mapping_of
from reports.beside.notes import notes
from reports.beside.source import ColumnSource, beside, heads, ours, printed_values, sources
from reports.board import marked
from reports.groups import Entry
from reports.judge import ScoreSource
from reports.reference.paper import PaperRow
from reports.reference.tables import reference_table
from reports.table import Row, Table, Value
from rice_core.digest import json_digest
from rice_core.record import Record

_OWN = "not in the paper's table"


@dataclass(frozen=True)
class BesideRow:
    """One row to print: a row of the paper, an encoder of ours, or both."""

    row: PaperRow | None
    entry: Entry | None
    label: str


@dataclass(frozen=True)
class Beside:
    """A table of the paper and what of ours may stand in it."""

    mapping: Mapping
    admitted: Admitted
    filled: tuple[ColumnSource, ...]
    """One a column that our probes fill."""
    lines: tuple[BesideRow, ...]
    paper: Lookup[tuple[str, str], Value]
    """(row, column) -> the paper's entry."""


def read_beside(which: str, records: Iterable[Record], store: ScoreSource) -> Beside:
    """Divide the records and place them.

    Ours are of records alone that may stand in a paper table (`admit`); encoders that are no row of the paper come below.

    Raises:
        UserError: no probe of ours fills that table.
    """
    mapping = mapping_of(which)
    admitted = admit(records, mapping)
    filled = sources(mapping, admitted, store)
    # Rows of gains are muted: they are derived, and stand between the rows.
    printed = [row.values for row in reference_table(which).rows if not row.muted]
    return Beside(mapping, admitted, tuple(filled), tuple(_lines(mapping, filled)), printed_values(printed, mapping))


def beside_table(which: str, records: Iterable[Record], store: ScoreSource) -> Table:
    """A table of the paper with our numbers, their difference and a verdict beside each of its own.

    Raises:
        UserError: no probe of ours fills that table.
    """
    return table_of(read_beside(which, records, store))


def table_of(made: Beside) -> Table:
    """Four columns for each of the paper's that is filled."""
    mapping, filled = made.mapping, made.filled
    rows = []
    for line in made.lines:
        values: list[Value] = []
        for source in filled:
            key = line.entry.key if line.entry else ""
            theirs = made.paper[line.row.key, source.printed.key] if line.row else Value(text="–")
            values += (ours(source, key), theirs, *beside(source, key, theirs))
        rows.append(Row(label=line.label, values=tuple(values), section=line.row.section if line.row else _OWN))
    encoders = [(line.row, line.entry) for line in made.lines]
    for source in filled:
        if source.judge:
            source.judge.release()
    return Table(
        key=f"beside-{mapping.table}",
        title=f"Table {mapping.table} of the paper and ours - {mapping.printed.title}{_made(filled)}",
        columns=tuple(head for source in filled for head in heads(source)),
        rows=tuple(rows),
        notes=(
            *notes(mapping, made.admitted, filled, encoders, made.paper),
            *reference_table(mapping.table).notes,
        ),
    )


def _lines(mapping: Mapping, filled: Sequence[ColumnSource]) -> list[BesideRow]:
    """The paper's rows in its order, one line for each of ours that is that encoder; the others below, by name."""
    judges = [source.judge for source in filled if source.judge]
    known = {entry.key: entry for judge in judges for entry in judge.group.entries if entry.done}
    lines, placed = [], set()
    for row in mapping.printed.rows:
        asked = {json_digest(spec.identity()) for spec in mapping.specs(row)}
        found = [entry for entry in known.values() if json_digest(entry.spec.identity()) in asked]
        placed |= {entry.key for entry in found}
        # Two sets of weights are two encoders: each has a line, and neither is averaged into the other.
        several = len(found) > 1
        lines += [
            BesideRow(row, entry, f"{row.label}: {entry.label}" if several else row.label) for entry in _sorted(found)
        ]
        lines += [] if found else [BesideRow(row, None, row.label)]
    return lines + [
        BesideRow(None, entry, marked(entry)) for entry in _sorted(known.values()) if entry.key not in placed
    ]


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.yardstick, entry.label, entry.key))


def _made(filled: Sequence[ColumnSource]) -> str:
    """` - recipe paper@1 - 2 seeds`; nothing where no number of ours is there."""
    found = [source.judge.group for source in filled if source.judge]
    recipes = ", ".join(sorted({group.probe.recipe for group in found}))
    seeds = len({seed for group in found for seed in group.seeds})
    return f" - recipe {recipes} - {seeds} seed{'s' * (seeds != 1)}" if found else ""
