"""The paper's tables as `Table` values, for the terminal and the site, with the findings as footnotes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.reference.arithmetic import placed
from reports.reference.checks import Finding, findings
from reports.reference.paper import MISSING, PaperColumn, PaperGain, PrintedTable, printed_tables
from reports.table import Column, Row, Table, Value
from rice_core.errors import UserError, did_you_mean

_VERDICTS = {"agrees": "agree", "rounding": "off by rounding", "suspect": "suspect", "disagrees": "disagree"}


def reference_table(which: int | str) -> Table:
    """Table 1 to 5 as printed, gains muted, every finding that does not simply agree as a note.

    `which` is a number, the id of a part ("5a"), or "1-page" for the project page's version of Table 1.

    Raises:
        UserError: there is no such table.
    """
    parts = _parts(str(which))
    found = [finding for finding in findings() if finding.table in {part.id for part in parts}]
    noted = [finding for finding in found if finding.verdict != "agrees"]
    marks = _Marks(noted)
    columns = list({column.key: column for part in parts for column in part.columns}.values())
    rows = [row for part in parts for row in _rows(part, columns, marks, alone=len(parts) == 1)]
    title = parts[0].title if len(parts) == 1 else "Ablations with 10 % of the pretraining data"
    return Table(
        key=f"reference-{which}",
        title=f"{_name(str(which))} as printed - {title}",
        columns=tuple(Column(**column.model_dump(exclude={"scale"})) for column in columns),
        rows=tuple(rows),
        notes=(*_about(parts), *marks.notes(), _summary(found)),
    )


def findings_table(*, everything: bool = False) -> Table:
    """All findings that do not simply agree (or all of them), grouped by table; the sentences are the notes."""
    found = findings()
    listed = [finding for finding in found if everything or finding.verdict != "agrees"]
    names = {table.id: f"{_name(table.id)}: {table.title}" for table in printed_tables()}
    rows = [
        Row(
            label=finding.where,
            section=names[finding.table],
            values=(
                Value(text=finding.printed),
                Value(text=finding.derived),
                Value(text=finding.verdict, mark=str(number), hint=finding.sentence),
            ),
        )
        for number, finding in enumerate(listed, start=1)
    ]
    heads = (("printed", "printed"), ("derived", "derived again"), ("verdict", "verdict"))
    return Table(
        key="reference-findings",
        title="The paper's numbers, derived again from its own cells",
        columns=tuple(Column(key=key, label=label, better="neither") for key, label in heads),
        rows=tuple(rows),
        notes=(*(f"[{i}] {finding.sentence}" for i, finding in enumerate(listed, start=1)), _summary(found)),
    )


def _parts(which: str) -> list[PrintedTable]:
    tables = printed_tables()
    exact = [table for table in tables if table.id == which]
    parts = exact or [table for table in tables if len(which) == 1 and table.id[:-1] == which]
    if not parts:
        raise UserError(
            f"the paper has no table {which!r}; {did_you_mean(which, [t.id for t in tables])}choose 1, 2, 3, 4, 5 or one of {', '.join(t.id for t in tables)}"
        )
    return parts


def _name(which: str) -> str:
    return f"Table {which.removesuffix('-page')} on the project page" if which.endswith("-page") else f"Table {which}"


@dataclass(frozen=True)
class _Marks:
    """Footnote signs: one letter a finding, shown at every cell that the finding is about."""

    noted: Sequence[Finding]

    def at(self, table: str, row: str, column: str) -> str:
        return ",".join(
            _letter(i)
            for i, finding in enumerate(self.noted)
            if finding.table == table and (row, column) in finding.cells
        )

    def notes(self) -> Iterator[str]:
        for i, finding in enumerate(self.noted):
            yield f"[{_letter(i)}] {finding.verdict}: {finding.sentence}"


def _letter(i: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    return (_letter(i // 26 - 1) if i >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[i % 26]


def _rows(part: PrintedTable, columns: Sequence[PaperColumn], marks: _Marks, *, alone: bool) -> Iterator[Row]:
    own = {column.key for column in part.columns}
    gains: dict[str, list[PaperGain]] = defaultdict(list)
    for gain in part.gains:
        gains[gain.row].append(gain)
    for row in part.rows:
        section = row.section if alone else f"({part.id[-1]}) {part.title}"
        values = tuple(
            _value(part.printed(row.key, column.key), marks.at(part.id, row.key, column.key))
            if column.key in own
            else Value()
            for column in columns
        )
        yield Row(label=row.label, values=values, section=section)
        for gain in gains[row.key]:
            places = placed(part, gain)
            deltas = tuple(_gain_value(places.get(column.key, MISSING)) for column in columns)
            yield Row(label=gain.label, values=deltas, section=section, muted=True)


def _value(printed: str, mark: str) -> Value:
    return Value(mark=mark) if printed == MISSING else Value(value=float(printed), mark=mark)


def _gain_value(printed: str) -> Value:
    return Value() if printed == MISSING else Value(value=float(printed), text=printed)


def _about(parts: Sequence[PrintedTable]) -> Iterator[str]:
    yield f"Source: {'; '.join(dict.fromkeys(part.source for part in parts))}."
    yield from dict.fromkeys(note for part in parts for note in part.notes)
    repairs = Counter(repair.how for part in parts for repair in part.repairs)
    for how, n in repairs.items():
        yield f"{n} {'cell' if n == 1 else 'cells'} mended: {how}"
    for part in parts:
        for gain in part.gains:
            if len(gain.printed) < len(part.columns):
                yield f"{gain.label}: blank cells left no trace in the scan, so the columns are inferred by arithmetic."


def _summary(found: Sequence[Finding]) -> str:
    counts = Counter[str](finding.verdict for finding in found)
    words = ", ".join(f"{counts[verdict]} {words}" for verdict, words in _VERDICTS.items() if counts[verdict])
    return f"Printed numbers and sentences derived again: {words}."
