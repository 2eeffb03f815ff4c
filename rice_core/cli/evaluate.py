"""`ricebench evaluate KIND`: hands a results file to the installed scorer of its kind, and prints what comes back."""

from __future__ import annotations

from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.cli.options import own_path
from rice_core.echo import echo, emit
from rice_core.errors import UserError, did_you_mean, loaded

if TYPE_CHECKING:
    from rice_core.record import Skipped
    from rice_core.scorer import Checked, Scorecard, Scorer

_REASONS = 10


class ScoreFormat(StrEnum):
    """How the score is written."""

    terminal = "terminal"
    json = "json"
    csv = "csv"


def evaluate(
    ctx: typer.Context,
    results: Annotated[
        Path, typer.Option(help="What a model found, in its benchmark's own format.", callback=own_path)
    ],
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND[?SETTING=VALUE]", help="What the results are of, such as detection.", show_default=False
        ),
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help="The truth; detection: COCO, LVIS v1 or Roboflow JSON.", callback=own_path)
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Another results file of the kind: how far the two are apart, paired.", callback=own_path),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what is wrong with the results, and judge nothing.")
    ] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Details (AP by category) on the terminal too; json and csv always have them.")
    ] = False,
    format_: Annotated[
        ScoreFormat, typer.Option("--format", "-f", help="How the score is written.")
    ] = ScoreFormat.terminal,
    annotations: Annotated[Path | None, typer.Option(hidden=True, callback=own_path)] = None,
    style: Annotated[str | None, typer.Option(hidden=True)] = None,
    no_error: Annotated[bool, typer.Option("--no-error", hidden=True)] = False,
    categories: Annotated[bool, typer.Option("--categories", hidden=True)] = False,
) -> None:
    """Score a results file, ours or another's, against the truth of its data set: `ricebench evaluate detection`.

    What KIND has as a setting may be an option too: `--style lvis` is `detection?style=lvis` (`ricebench show detection`).
    Exit code 3: entries were left out, and the score is about the rest. 1: none could be used.
    """
    kind = _with_settings(kind, ctx.args)
    if annotations or style or no_error or categories or not kind:
        kind = _as_before(kind, style, no_error=no_error)
        if data and annotations:
            raise UserError("--data and --annotations are one thing; keep --data.")
        data, all_ = data or annotations, all_ or categories
        echo(f"note: this is now written `ricebench evaluate '{kind}' --data FILE{' --all' * all_}`.", err=True)
    if data is None:
        raise UserError("There is nothing to hold the results against; give the truth with --data.")
    scorer = scorer_of(kind)
    card = None
    if against is not None:
        card = _compared(scorer, kind, results, against, data, check=check)
    elif not check:
        card = scorer.score(results, data)
    _print(results, scorer.validate(results, data) if card is None else card.checked, card, format_, details=all_)


def _print(results: Path, checked: Checked, card: Scorecard | None, format_: ScoreFormat, *, details: bool) -> None:
    """What was left out, then the score where there is one.

    Raises:
        typer.Exit: with 3 where something was left out, with 1 where nothing could be used.
    """
    from rice_core.cli import scorecard

    _say(checked.left_out)
    for note in checked.notes:
        echo(f"note: {note}", err=True)
    if checked.left_out and not checked.usable:
        echo(f"ricebench: no entry of {results} can be used; the reasons are above.", err=True)
        raise typer.Exit(1)
    if format_ is ScoreFormat.terminal:
        echo(scorecard.to_terminal(checked, card, details=details))
    else:
        emit((scorecard.to_json if format_ is ScoreFormat.json else scorecard.to_csv)(checked, card))
    if checked.left_out:
        raise typer.Exit(3)


def scorer_entry_points() -> dict[str, EntryPoint]:
    """The installed scorers by name; nothing is imported."""
    return {point.name: point for point in entry_points(group="ricebench.scorers")}


def scorer_of(text: str) -> Scorer:
    """The scorer that a text such as `detection?style=lvis` asks for.

    Raises:
        UserError: no such kind, no such setting, or a value of the wrong kind.
    """
    from rice_core.light import checked
    from rice_core.spec import ProbeRequest

    asked = ProbeRequest.parse(text)
    installed = scorer_entry_points()
    if asked.name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        near = did_you_mean(asked.name, installed)
        raise UserError(
            f"Nothing here scores results of the kind {asked.name!r}; {near}the installed kinds are {known}."
        )
    kind = loaded(installed[asked.name], "scorer")
    scorer: Scorer = kind(**checked(asked.name, kind, asked.params))
    return scorer


def _compared(scorer: Scorer, kind: str, results: Path, against: Path, data: Path, *, check: bool) -> Scorecard:
    from rice_core.scorer import Comparing

    if check:
        raise UserError("--check judges nothing, so that nothing can be compared; leave out --against.")
    if not isinstance(scorer, Comparing):
        name = kind.partition("?")[0]
        raise UserError(f"The scorer of {name} cannot compare two results; leave out --against, and evaluate each.")
    return scorer.compare(results, against, data)


def _with_settings(kind: str, words: list[str]) -> str:
    """The kind with the options that this command does not know as settings of its scorer."""
    said = "write KIND first, and settings as --NAME VALUE"
    if kind.startswith("-"):
        raise UserError(f"{kind} stands where the kind of results is awaited; {said}.")
    rest = iter(words)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name or not (value := value if equals else next(rest, "")):
            raise UserError(f"{word} is no option with a value; {said}.")
        kind += f"{'&' if '?' in kind else '?'}{name.replace('-', '_')}={value}"
    return kind


def _as_before(kind: str, style: str | None, *, no_error: bool) -> str:
    """What the words of before kinds mean, when every results file was a detector's."""
    kind = kind or "detection"
    for setting in ([f"style={style}"] if style else []) + ["errors=false"] * no_error:
        kind += ("&" if "?" in kind else "?") + setting
    return kind


def _say(left_out: tuple[Skipped, ...]) -> None:
    for skip in left_out[:_REASONS]:
        echo(f"left out: {skip.item} {skip.reason}", err=True)
    if len(left_out) > _REASONS:
        echo(f"left out: {len(left_out) - _REASONS} more", err=True)
