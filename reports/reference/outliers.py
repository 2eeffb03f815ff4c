"""Cells of the ablations that are out of line with their siblings.

Two rules, both stated here and both applied to every ordered table (5a to 5d), with no list of cells:

1. *Step*. Between two neighbouring settings each metric moves by some points. Its deviation is that step minus the
   median step of the other metrics of the same table (metrics out of 1000 are divided by 10 first). All deviations of
   all tables are pooled, and one is out where its modified z-score, 0.6745 (d - median) / MAD, is beyond 3.5
   (Iglewicz and Hoaglin, 1993). The cell charged is the one whose steps are all out: the end cell of an end step.
2. *Full data*. The ablations train on 10 % of the data. A cell that reaches 99 % of the same model's score with all
   data (the table named by `full_data`) is out.

Neither shows a misprint: an outlier can be true. The verdict is therefore `suspect`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from statistics import median

from reports.reference.finding import Finding
from reports.reference.paper import PrintedTable

Z_LIMIT = 3.5
FULL_SHARE = Decimal("0.99")


@dataclass(frozen=True)
class _Step:
    """The move of one metric from setting i to setting i + 1, in points of 100."""

    table: PrintedTable
    column: str
    i: int
    size: Decimal
    others: Decimal

    @property
    def deviation(self) -> float:
        return float(self.size - self.others)


def outlier_findings(tables: Sequence[PrintedTable]) -> list[Finding]:
    """Rule 1 over all ordered tables together, then rule 2 table by table."""
    ordered = [table for table in tables if table.ordered]
    steps = [step for table in ordered for step in _steps(table)]
    by_id = {table.id: table for table in tables}
    return _steps_out(steps) + [finding for table in ordered for finding in _near_full(table, by_id)]


def _steps(table: PrintedTable) -> list[_Step]:
    rows = [row.key for row in table.rows]
    sizes = {
        column.key: [_points(table, b, column.key) - _points(table, a, column.key) for a, b in pairwise(rows)]
        for column in table.columns
    }
    return [
        _Step(table, key, i, size, median(other[i] for name, other in sizes.items() if name != key))
        for key, column in sizes.items()
        for i, size in enumerate(column)
    ]


def _points(table: PrintedTable, row: str, column: str) -> Decimal:
    return table.exact(row, column) / table.column(column).scale


def _steps_out(steps: list[_Step]) -> list[Finding]:
    if not steps:
        return []
    centre = median(step.deviation for step in steps)
    spread = median(abs(step.deviation - centre) for step in steps)
    scores = {
        (step.table.id, step.column, step.i): 0.6745 * (step.deviation - centre) / spread if spread else 0.0
        for step in steps
    }
    out = [step for step in steps if abs(scores[step.table.id, step.column, step.i]) > Z_LIMIT]
    return [_charged(step, scores) for step in out]


def _charged(step: _Step, scores: Mapping[tuple[str, str, int], float]) -> Finding:
    rows, key = step.table.rows, step.column

    def all_out(at: int) -> bool:
        touching = [scores[step.table.id, key, i] for i in (at - 1, at) if 0 <= i < len(rows) - 1]
        return all(abs(score) > Z_LIMIT for score in touching)

    ends = (step.i, step.i + 1)
    charged = [rows[at] for at in ends if all_out(at)] or [rows[at] for at in ends]
    column = step.table.column(key)
    name = f"{column.group} {column.label}"
    score = abs(scores[step.table.id, key, step.i])
    says = f"{name} at {charged[0].label} ({step.table.printed(charged[0].key, key)}) is out of line: from"
    says += f" {rows[step.i].label} to {rows[step.i + 1].label} it moves by {step.size:+.1f} points, the other metrics"
    says += f" by {step.others:+.1f} (median); robust z {score:.1f}, limit {Z_LIMIT}."
    printed, derived = step.table.printed(charged[0].key, key), f"step {step.size:+.1f} against {step.others:+.1f}"
    cells = tuple((row.key, key) for row in charged)
    return Finding(step.table.id, f"{charged[0].key}/{key}", printed, derived, "suspect", says, cells)


def _near_full(table: PrintedTable, tables: Mapping[str, PrintedTable]) -> list[Finding]:
    if table.full_data is None:
        return []
    full, out = tables[table.full_data.table], []
    shared = {column.key for column in full.columns}
    for row in table.rows:
        for column in table.columns:
            part, whole = table.number(row.key, column.key), None
            if column.key in shared:
                whole = full.number(table.full_data.row, column.key)
            if part is None or whole is None or part < FULL_SHARE * whole:
                continue
            says = (
                f"{column.group} {column.label} at {row.label} is {part} with 10 % of the data, {part / whole:.1%} of"
            )
            says += f" the {whole} that table {full.id} prints for all of it."
            where = f"{row.key}/{column.key}"
            cell = ((row.key, column.key),)
            out.append(Finding(table.id, where, str(part), f"full data: {whole}", "suspect", says, cell))
    return out
