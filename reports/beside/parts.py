"""Part: the numbers of one reading of the paper, and the lines they stand in. Only what is in one part is ranked together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reports.beside.admit import Admitted
from reports.beside.average import AverageSource, averages
from reports.beside.mapping import Mapping, Reading
from reports.beside.source import ColumnSource, sources
from reports.board import marked
from reports.groups import Entry
from reports.judge import ScoreSource
from reports.reference.paper import PaperRow
from rice_core.digest import json_digest


@dataclass(frozen=True)
class BesideRow:
    """One row to print: a row of the paper, an encoder of ours, or both."""

    row: PaperRow | None
    entry: Entry | None
    label: str


@dataclass(frozen=True)
class Part:
    """One reading: a column's numbers are of one recipe, and no bold, rank or mean is over two."""

    reading: Reading
    filled: tuple[ColumnSource, ...]
    """One a column that our probes fill."""
    lines: tuple[BesideRow, ...]
    averages: tuple[AverageSource, ...] = ()

    @property
    def cells(self) -> Iterator[tuple[BesideRow, ColumnSource]]:
        """Row by row."""
        return ((line, source) for line in self.lines for source in self.filled)

    def heading(self, line: BesideRow) -> str:
        """Of the section that a line stands in."""
        return self.reading.heading if line.row else f"{self.reading.title}: not in the paper's table"


def parts(mapping: Mapping, admitted: Admitted, store: ScoreSource) -> Iterator[Part]:
    """The first reading of each section with every row of the paper, then each other that has numbers, with the rows that have them."""
    begun: set[str] = set()
    for reading in mapping.readings:
        filled = tuple(sources(mapping, admitted, reading, store))
        lines = tuple(line for line in _lines(mapping, reading, filled) if line.entry or reading.section not in begun)
        begun.add(reading.section)
        # A column that two groups claim has no line, and its reason has to be said.
        if lines or any(source.refused for source in filled):
            yield Part(reading, filled, lines, tuple(averages(mapping, reading, filled)))


def _lines(mapping: Mapping, reading: Reading, filled: Sequence[ColumnSource]) -> Iterator[BesideRow]:
    """The paper's rows in its order, one line for each of ours that is that encoder; the others below, by name."""
    judges = [source.judge for source in filled if source.judge]
    known = {entry.key: entry for judge in judges for entry in judge.group.entries if entry.done}
    placed = set()
    for row in mapping.rows(reading):
        asked = {json_digest(spec.identity()) for spec in mapping.specs(row)}
        found = [entry for entry in known.values() if json_digest(entry.spec.identity()) in asked]
        placed |= {entry.key for entry in found}
        # Two sets of weights are two encoders: each has a line, and neither is averaged into the other.
        several = len(found) > 1
        for entry in _sorted(found):
            yield BesideRow(row, entry, f"{row.label}: {entry.label}" if several else row.label)
        if not found:
            yield BesideRow(row, None, row.label)
    for entry in _sorted(known.values()):
        if entry.key not in placed:
            yield BesideRow(None, entry, marked(entry))


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.yardstick, entry.label, entry.key))
