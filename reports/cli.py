"""Commands that report: table, compare, study, report, reference. They read records; none imports torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.errors import UserError

if TYPE_CHECKING:
    from reports.table import Table
    from rice_core.store import Store

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="RICEBENCH_STORE", help="Folder of records, features and reports.")
]
_DEFAULT_STORE = Path("ricebench-runs")


class Format(StrEnum):
    """How a table is written."""

    terminal = "terminal"
    md = "md"
    tex = "tex"
    csv = "csv"
    html = "html"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How the table is written.")]


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
    store: StoreOption = _DEFAULT_STORE,
) -> None:
    """Print the records as tables: one overview a data set, with errors, chance and ceiling."""
    from reports.board import boards, group_table, groups, overview_table
    from reports.judge import Judge
    from reports.unloaded import loaded, unloaded_line

    if paper is not None:
        _print_beside(paper, store, format_)
        return
    opened = _opened(store)
    records = opened.records()
    for board in boards(groups(loaded(records))):
        judges = {group.key: Judge(group, opened) for group in board.groups}
        made = [overview_table(board, judges), *(map(group_table, judges.values()) if all_ else ())]
        for each in made:
            _print(each, format_)
            typer.echo()
    if line := unloaded_line(records):
        typer.echo(line, err=True)


def compare(
    a: Annotated[str, typer.Argument(help="An encoder's name as tables show it.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    format_: FormatOption = Format.terminal,
    store: StoreOption = _DEFAULT_STORE,
) -> None:
    """Compare two encoders sample by sample: difference, 95 % interval, and what could have been detected."""
    from reports.compare import compare as compare_records
    from reports.unloaded import loaded

    opened = _opened(store)
    records = loaded(opened.records())
    mine, theirs = (
        [
            r
            for r in records
            if name in (r.cell.encoder.title, r.cell.encoder.told().shorthand, r.cell.encoder.shorthand)
        ]
        for name in (a, b)
    )
    for name, found in ((a, mine), (b, theirs)):
        if not found:
            known = ", ".join(sorted({record.cell.encoder.title for record in records}))
            raise UserError(f"There is no record of {name!r} in {store}; there is {known}.")
    comparison = compare_records(mine, theirs, opened)
    if format_ is Format.terminal:
        typer.echo(comparison.text())
    else:
        _print(comparison.table(), format_)


def study(
    name: Annotated[
        str | None, typer.Argument(help="A study, as mini:encoders; without it, the studies there are.")
    ] = None,
    format_: FormatOption = Format.terminal,
    all_: Annotated[bool, typer.Option("--all", help="Every metric of every probe, not the headlines alone.")] = False,
    store: StoreOption = _DEFAULT_STORE,
) -> None:
    """Print a study: trainings compared over their seeds, with intervals and paired differences."""
    from reports.study import metric_table, paper_table, studies, study_table

    found = studies(_opened(store).records())
    if name is None:
        typer.echo("\n".join(each.title for each in found) or f"The records of {store} belong to no study.")
        return
    chosen = [each for each in found if name in (each.name, each.title)]
    if not chosen:
        known = "; ".join(each.title for each in found) or "none"
        raise UserError(
            f"There is no record of a study {name!r} in {store} (there is: {known}); `ricebench run` makes some."
        )
    for each in chosen:
        for control in each.controls:
            made = [study_table(each, control)]
            for measure in control.measures:
                made += [metric_table(each, control, measure, c) for c in measure.columns[: None if all_ else 1]]
            for table_ in made:
                _print(table_, format_)
                typer.echo()
        if paper := paper_table(each):
            _print(paper, format_)


def report(
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the site; STORE/report unless given.")] = None,
    title: Annotated[str, typer.Option("--title", help="Heading of the report.")] = "ricebench report",
    store: StoreOption = _DEFAULT_STORE,
) -> None:
    """Write the report: a static site that opens from disk."""
    from reports.site import build_site
    from rice_core.progress import Progress

    opened = _opened(store)
    with Progress() as progress:
        index = build_site(opened, out or store / "report", title=title, progress=progress)
    typer.echo(f"The report: {index}")


def reference(
    number: Annotated[int | None, typer.Argument(min=1, max=5, help="A table of the paper, 1 to 5.")] = None,
    format_: FormatOption = Format.terminal,
) -> None:
    """Print a table of the RICE paper as printed, or, without a number, what does not add up in them."""
    from reports.reference.tables import findings_table, reference_table

    _print(findings_table() if number is None else reference_table(number), format_)


def _print_beside(which: str, store: Path, format_: Format) -> None:
    from reports.beside import beside_table, mapping_of

    mapping_of(which)  # a table that nothing fills is told before the records are read
    opened = _opened(store)
    _print(beside_table(which, opened.records(), opened), format_)


def _opened(path: Path) -> Store:
    from rice_core.store import Store

    opened = Store(path)
    if not (path / "records").is_dir() or not any((path / "records").glob("*.json")):
        typer.echo(f"ricebench: {path} holds no records; `ricebench demo` or `ricebench run` makes some.", err=True)
        raise typer.Exit(1)
    return opened


def _print(made: Table, format_: Format) -> None:
    import os
    import shutil
    import sys

    from reports import render

    match format_:
        case Format.terminal:
            width = shutil.get_terminal_size((120, 24)).columns
            colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
            signs = (sys.stdout.encoding or "").lower().startswith("utf")
            typer.echo(render.to_terminal(made, width=width, colour=colour, signs=signs), nl=False)
        case Format.md:
            typer.echo(render.to_markdown(made), nl=False)
        case Format.tex:
            typer.echo(render.to_latex(made), nl=False)
        case Format.csv:
            typer.echo(render.to_csv(made), nl=False)
        case Format.html:
            typer.echo(render.to_html(made), nl=False)
