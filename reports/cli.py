"""Commands that report: table, compare, study, report, reference. They read records; none imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.cli.options import DEFAULT_STORE, StoreOption, own_path
from rice_core.echo import echo, emit
from rice_core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from reports.table import Table
    from rice_core.record import Record
    from rice_core.store import Store


class Format(StrEnum):
    """How a table is written."""

    terminal = "terminal"
    md = "md"
    tex = "tex"
    csv = "csv"
    html = "html"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How the tables are written: one document.")]
WideOption = Annotated[bool, typer.Option("--wide", help="CSV in the printed shape, instead of one row a number.")]
FragmentOption = Annotated[
    bool, typer.Option("--fragment", help="tex and html without the document around the tables, for one of your own.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(table)
    app.command()(compare)
    app.command()(study)
    app.command()(report)
    app.command()(reference)


def table(
    format_: FormatOption = Format.terminal,
    all_: Annotated[bool, typer.Option("--all", help="Every metric of every probe, not the headlines alone.")] = False,
    paper: Annotated[
        str | None,
        typer.Option("--paper", metavar="N", help="Table N of the paper instead, with ours beside it, as 3."),
    ] = None,
    wide: WideOption = False,
    fragment: FragmentOption = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Print the records as tables: one overview a data set, with errors, chance and ceiling."""
    from reports.board import boards, group_table, groups, headline, overview_table
    from reports.frame import Number, numbers
    from reports.judge import Judge
    from reports.render import to_tidy_csv
    from reports.unloaded import loaded, unloaded_line

    _check(format_, wide=wide, fragment=fragment)
    if paper is not None:
        _print_beside(paper, store, format_, wide=wide, fragment=fragment)
        return
    opened = _opened(store)
    records = opened.records()
    if line := unloaded_line(records):
        _aside(line)
    records = loaded(records)
    found = boards(groups(records))
    if format_ is Format.csv and not wide:
        heads = {
            i: headline(group).key
            for b in found
            for group in b.groups
            for e in group.entries
            for i in e.cell_ids.values()
        }
        emit(to_tidy_csv(Number, [row for row in numbers(records) if all_ or row.metric == heads[row.cell]]))
        _say_unfinished(records)
        return
    made: list[Table] = []
    for board in found:
        judges = {group.key: Judge(group, opened) for group in board.groups}
        made += [overview_table(board, judges), *(map(group_table, judges.values()) if all_ else ())]
    _print(made, format_, fragment=fragment)


def compare(
    a: Annotated[str, typer.Argument(help="An encoder's name as tables show it.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    format_: FormatOption = Format.terminal,
    wide: WideOption = False,
    fragment: FragmentOption = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Compare two encoders sample by sample: difference, 95 % interval, and what could have been detected."""
    from reports.compare import compare_named
    from reports.render import to_tidy_csv
    from reports.tidy import Contrast, contrasts
    from reports.unloaded import loaded

    _check(format_, wide=wide, fragment=fragment)
    opened = _opened(store)
    comparison = compare_named(a, b, loaded(opened.records()), opened)
    if format_ is Format.terminal:
        echo(comparison.text())
    elif format_ is Format.csv and not wide:
        emit(to_tidy_csv(Contrast, contrasts(comparison)))
        for reason in comparison.refused:
            _aside(f"not compared: {reason}")
    else:
        _print([comparison.table()], format_, fragment=fragment)


def study(
    name: Annotated[
        str | None, typer.Argument(help="A study, as mini:encoders; without it, the studies there are.")
    ] = None,
    format_: FormatOption = Format.terminal,
    all_: Annotated[bool, typer.Option("--all", help="Every metric of every probe, not the headlines alone.")] = False,
    wide: WideOption = False,
    fragment: FragmentOption = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Print a study: trainings compared over their seeds, with intervals and paired differences."""
    from reports.render import to_tidy_csv
    from reports.study import metric_table, paper_table, studies, study_table
    from reports.tidy import ArmNumber, arm_numbers

    _check(format_, wide=wide, fragment=fragment)
    found = studies(_opened(store).records())
    if name is None:
        echo("\n".join(each.title for each in found) or f"The records of {store} belong to no study.")
        return
    chosen = [each for each in found if name in (each.name, each.title)]
    if not chosen:
        known = "; ".join(each.title for each in found) or "none"
        near = did_you_mean(name, [each.name for each in found])
        raise UserError(
            f"There is no record of a study {name!r} in {store} (there is: {known}); {near}`ricebench run` makes some."
        )
    if format_ is Format.csv and not wide:
        rows = [row for each in chosen for row in arm_numbers(each, every_metric=all_)]
        emit(to_tidy_csv(ArmNumber, rows))
        return
    made: list[Table] = []
    for each in chosen:
        for control in each.controls:
            made.append(study_table(each, control))
            for measure in control.measures:
                made += [metric_table(each, control, measure, c) for c in measure.columns[: None if all_ else 1]]
        made += [paper] if (paper := paper_table(each)) else []
    _print(made, format_, fragment=fragment)


def report(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the site; STORE/report unless given.", callback=own_path)
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Heading of the report.")] = "ricebench report",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the report: a static site that opens from disk."""
    from reports.site import build_site
    from rice_core.progress import Progress

    opened = _opened(store)
    with Progress() as progress:
        index = build_site(opened, out or opened.place("report"), title=title, progress=progress)
    echo(f"The report: {index}")


def reference(
    number: Annotated[int | None, typer.Argument(min=1, max=5, help="A table of the paper, 1 to 5.")] = None,
    format_: FormatOption = Format.terminal,
    fragment: FragmentOption = False,
) -> None:
    """Print a table of the RICE paper as printed, or, without a number, what does not add up in them."""
    from reports.reference.tables import findings_table, reference_table

    _check(format_, wide=False, fragment=fragment)
    _print([findings_table() if number is None else reference_table(number)], format_, fragment=fragment)


def _check(format_: Format, *, wide: bool, fragment: bool) -> None:
    if wide and format_ is not Format.csv:
        raise UserError("--wide is a shape of CSV; add -f csv, or leave it out.")
    if fragment and format_ not in (Format.tex, Format.html):
        raise UserError(
            "--fragment leaves the document away that tex and html have; add -f tex or -f html, or leave it out."
        )


def _print_beside(which: str, store: Path, format_: Format, *, wide: bool, fragment: bool) -> None:
    from reports.beside import PaperNumber, mapping_of, paper_numbers, read_beside, table_of
    from reports.beside.notes import absent
    from reports.render import to_tidy_csv

    mapping_of(which)  # a table that nothing fills is told before the records are read
    opened = _opened(store)
    made = read_beside(which, opened.records(), opened)
    if format_ is not Format.csv or wide:
        _print([table_of(made)], format_, fragment=fragment)
        return
    emit(to_tidy_csv(PaperNumber, paper_numbers(made)))
    for sentence in absent(made.mapping, made.admitted, made.parts):
        _aside(sentence)


def _aside(sentence: str) -> None:
    """Beside a CSV, which has no place for words."""
    echo(sentence, err=True)


def _say_unfinished(records: Sequence[Record]) -> None:
    """A table of numbers has no place for a cell without one, so its readers hear of them here."""
    without = Counter(record.status.replace("_", " ") for record in records if record.status != "done")
    if without:
        words = ", ".join(f"{n} {status}" for status, n in sorted(without.items()))
        _aside(f"Without a number, and so in no row: {words}; `ricebench status` lists them.")


def _opened(path: Path) -> Store:
    from rice_core.store import Store

    opened = Store(path)
    if not (path / "records").is_dir() or not any((path / "records").glob("*.json")):
        echo(f"ricebench: {path} holds no records; `ricebench demo` or `ricebench run` makes some.", err=True)
        raise typer.Exit(1)
    return opened


def _print(made: Sequence[Table], format_: Format, *, fragment: bool) -> None:
    """One document, whatever the number of tables."""
    from reports import render

    match format_:
        case Format.terminal:
            written = "\n".join(map(_to_terminal, made))
        case Format.md:
            written = "\n".join(map(render.to_markdown, made))
        case Format.tex:
            written = render.to_latex(*made, document=not fragment)
        case Format.csv:
            written = render.to_csv(*made)
        case Format.html:
            written = "\n".join(map(render.to_html, made)) + "\n" if fragment else render.to_page(*made)
    emit(written)


def _to_terminal(made: Table) -> str:
    import os
    import shutil
    import sys

    from reports.render import to_terminal

    width = shutil.get_terminal_size((120, 24)).columns
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    signs = (sys.stdout.encoding or "").lower().startswith("utf")
    return to_terminal(made, width=width, colour=colour, signs=signs)
