"""A table of the paper with our numbers, their difference and a verdict beside each of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Lookup
from dataclasses import dataclass

from reports.beside.admit import Admitted, admit
from reports.beside.average import AverageSource
from reports.beside.mapping import Mapping, mapping_of
from reports.beside.notes import notes
from reports.beside.parts import BesideRow, Part, parts
from reports.beside.source import ColumnSource, beside, ours, printed_values
from reports.judge import ScoreSource
from reports.reference.tables import reference_table
from reports.table import Row, Table, Value
from rice_core.record import Record


@dataclass(frozen=True)
class Beside:
    """A table of the paper and what of ours may stand in it."""

    mapping: Mapping
    admitted: Admitted
    parts: tuple[Part, ...]
    """The first is the reading as printed, with every row of the paper."""
    paper: Lookup[tuple[str, str], Value]
    """(row, column) -> the paper's entry."""

    def theirs(self, line: BesideRow, source: ColumnSource | AverageSource) -> Value:
        """The paper's number beside ours; a dash for an encoder that is no row of the paper."""
        if line.row is None:
            return Value(text="–")
        printed = self.paper[line.row.key, source.printed.key]
        return printed if isinstance(source, ColumnSource) else source.paper(self.mapping, line.row.key, printed)


def read_beside(which: str, records: Iterable[Record], store: ScoreSource) -> Beside:
    """Divide the records and place them.

    Ours are of records alone that may stand in a paper table (`admit`); encoders that are no row of the paper come below.

    Raises:
        UserError: no probe of ours fills that table.
    """
    mapping = mapping_of(which)
    admitted = admit(records, mapping)
    # Rows of gains are muted: they are derived, and stand between the rows.
    printed = [row.values for row in reference_table(which).rows if not row.muted]
    return Beside(mapping, admitted, tuple(parts(mapping, admitted, store)), printed_values(printed, mapping))


def table_of(made: Beside) -> Table:
    """Four columns for each of the paper's that is filled, an average in each of its ways; a section for each reading of the paper."""
    mapping, rows = made.mapping, []
    for part in made.parts:
        for line in part.lines:
            values: list[Value] = []
            for source in _shown(mapping, part):
                key, theirs = line.entry.key if line.entry else "", made.theirs(line, source)
                if isinstance(source, ColumnSource):
                    values += (ours(source, key), theirs, *beside(source, key, theirs))
                else:
                    values += source.values(key, theirs)
            rows.append(Row(label=line.label, values=tuple(values), section=part.heading(line)))
        for source in part.filled:
            if source.judge:
                source.judge.release()
    return Table(
        key=f"beside-{mapping.table}",
        title=f"Table {mapping.table} of the paper and ours - {mapping.printed.title}{_made(made.parts)}",
        columns=tuple(head for source in _shown(mapping, made.parts[0]) for head in source.heads),
        rows=tuple(rows),
        notes=(*notes(mapping, made.admitted, made.parts, made.paper), *reference_table(mapping.table).notes),
    )


def _shown(mapping: Mapping, part: Part) -> list[ColumnSource | AverageSource]:
    """In the paper's order."""
    place = {column.key: i for i, column in enumerate(mapping.printed.columns)}
    return sorted([*part.filled, *part.averages], key=lambda source: place[source.printed.key])


def _made(parts: Sequence[Part]) -> str:
    """` - recipe paper@2 - 2 seeds`; nothing where no number of ours is there."""
    found = [source.judge.group for part in parts for source in part.filled if source.judge]
    recipes = ", ".join(dict.fromkeys(group.probe.recipe for group in found))
    seeds = len({seed for group in found for seed in group.seeds})
    return f" - recipe {recipes} - {seeds} seed{'s' * (seeds != 1)}" if found else ""
