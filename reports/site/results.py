"""Results of one board as the pages show them: verdicts, tables, plots, pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from reports.board import PARTIAL, Board, group_table, headline, marked, overview_table, probe_names
from reports.compare import difference, pairs_table
from reports.frame import Number, numbers
from reports.groups import Entry, Group
from reports.judge import Judge, ScoreSource
from reports.render import to_tidy_csv
from reports.site.forest import Forest, forest
from reports.site.pen import Pen, Printed, Track
from reports.site.pictures import Chart, Pictures, Sheet
from reports.table import Column, Row, Table, Value
from reports.verdicts import Check, Verdict, checks, verdict

MOST_IN_A_MATRIX = 12
"""With more encoders, each is compared with the first alone: a page of thousands of pairs helps nobody."""


@dataclass(frozen=True)
class ProbeView:
    """One group on the results page."""

    key: str
    name: str
    verdict: Verdict
    forest: Forest | None
    table: Printed


@dataclass(frozen=True)
class BoardView:
    """One board on the results page."""

    key: str
    title: str
    miniature: bool
    overview: Printed
    probes: tuple[ProbeView, ...]
    charts: tuple[Chart, ...]
    sheets: tuple[Sheet, ...]
    checks: tuple[tuple[str, Check], ...]


@dataclass(frozen=True)
class CompareSection:
    """One group on the compare page."""

    key: str
    title: str
    miniature: bool
    matrix: Printed | None
    pairs: Printed


def view_board(
    board: Board, store: ScoreSource, pen: Pen, pictures: Pictures, track: Track
) -> tuple[BoardView, list[CompareSection]]:
    """Everything about one board; scores are read one group at a time."""
    judges: dict[str, Judge] = {}
    views, sections = [], []
    found: list[tuple[str, Check]] = []
    names = probe_names(board.groups)
    for group in track(board.groups, f"tables of {board.dataset.title}"):
        judge = judges[group.key] = Judge(group, store)
        table = group_table(judge)
        name = names[group.key]
        plot = forest(judge, headline(group)) if group.columns else None
        printed = pen.table(table, csv=to_tidy_csv(Number, _numbers(group)))
        views.append(ProbeView(f"probe-{group.key[:6]}", name, verdict(judge), plot, printed))
        found += [(name, check) for check in checks(judge)]
        sections += _compared(judge, name, board, pen)
        judge.release()
    heads = [row for group in board.groups for row in _numbers(group) if row.metric == headline(group).key]
    view = BoardView(
        key=f"board-{board.key[:6]}",
        title=board.title,
        miniature=board.miniature,
        overview=pen.table(overview_table(board, judges), csv=to_tidy_csv(Number, heads)),
        probes=tuple(views),
        charts=tuple(pictures.charts(board)),
        sheets=tuple(pictures.sheets(board)),
        checks=tuple(found),
    )
    return view, sections


def _numbers(group: Group) -> list[Number]:
    return numbers(record for entry in group.entries for record in entry.done)


def _compared(judge: Judge, name: str, board: Board, pen: Pen) -> list[CompareSection]:
    column = headline(judge.group)
    entries = [standing.entry for standing in judge.ranking(column)]
    if len(entries) < 2:
        return []
    few = len(entries) <= MOST_IN_A_MATRIX
    couples = combinations(entries, 2) if few else ((entries[0], other) for other in entries[1:])
    ordered = sorted(couples, key=lambda pair: pair[0].yardstick or pair[1].yardstick)
    found = [(a, b, difference(judge, a, b, column)) for a, b in ordered]
    key = f"pairs-{judge.group.key[:6]}"
    title = f"{name} on {board.title}"
    listed = pairs_table(key, f"{column.label}: every pair" if few else f"{column.label}: against the first", found)
    matrix = pen.table(_matrix(judge, entries, column)) if few and len(entries) > 2 else None
    return [CompareSection(f"on-{judge.group.key[:6]}", title, board.miniature, matrix, pen.table(listed))]


def _matrix(judge: Judge, entries: Sequence[Entry], column: Column) -> Table:
    numbers = {entry.key: str(i) for i, entry in enumerate(entries, 1)}
    columns = [
        Column(key=numbers[e.key], label=numbers[e.key], better="neither", decimals=column.decimals) for e in entries
    ]
    rows = [
        Row(
            label=f"{numbers[a.key]}  {marked(a)}",
            values=tuple(_entry(judge, a, b, column) for b in entries),
        )
        for a in entries
    ]
    unit = " (points)" if column.unit == "%" else f" ({column.unit})" if column.unit else ""
    return Table(
        key=f"matrix-{judge.group.key[:6]}",
        title=f"{column.label}, row minus column{unit}",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def _entry(judge: Judge, a: Entry, b: Entry, column: Column) -> Value:
    if a.key == b.key:
        return Value(text="–")
    found = difference(judge, a, b, column)
    if found is None or found.paired is None:
        return Value(text="?", hint=found.sentence if found else "no such metric")
    number = found.paired.value
    return Value(
        value=number,
        text=f"{number:+z.{column.decimals}f}".replace("-", "−"),
        bold=found.decisive,
        mark=PARTIAL * found.partial,
        hint=found.sentence,
        partial=found.partial,
    )
