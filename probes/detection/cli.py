"""`ricebench evaluate`: score any results file in COCO's format, ours or another's."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.cli.options import own_path
from rice_core.echo import echo, emit
from rice_core.errors import UserError

if TYPE_CHECKING:
    from probes.detection.truth import GroundTruth
    from rice_core.record import Skipped

_REASONS = 10


class StyleOption(StrEnum):
    """Whose rules judge."""

    auto = "auto"
    coco = "coco"
    lvis = "lvis"


class ScoreFormat(StrEnum):
    """How the score is written."""

    terminal = "terminal"
    json = "json"
    csv = "csv"


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(evaluate)


def evaluate(
    results: Annotated[Path, typer.Option("--results", help="Detections: COCO results JSON.", callback=own_path)],
    annotations: Annotated[
        Path, typer.Option("--annotations", help="The truth: COCO, LVIS v1 or Roboflow JSON.", callback=own_path)
    ],
    style: Annotated[
        StyleOption, typer.Option("--style", help="Whose rules judge; auto takes what the annotations are made for.")
    ] = StyleOption.auto,
    no_error: Annotated[bool, typer.Option("--no-error", help="Skip the bootstrap over images.")] = False,
    categories: Annotated[
        bool, typer.Option("--categories", help="AP by category too; json and csv always have it.")
    ] = False,
    format_: Annotated[
        ScoreFormat, typer.Option("--format", "-f", help="How the score is written.")
    ] = ScoreFormat.terminal,
) -> None:
    """Score detections (COCO results JSON) against an annotation file: AP and AR of boxes, and of masks where both have them.

    Exit code 3: entries were left out, and the table is about the rest. 1: none could be used.
    """
    from probes.detection.annotations import read_ground_truth
    from probes.detection.evaluate import RESAMPLES, score
    from probes.detection.results import read_results
    from probes.detection.scorecard import to_csv, to_json, to_terminal

    truth = _in_style(read_ground_truth(annotations, None, name=annotations.name), style)
    read = read_results(results, truth)
    _say(truth.skipped)
    _say(read.skipped)
    for note in (*truth.notes, *read.notes):
        echo(f"note: {note}", err=True)
    if read.skipped and not read.entries:
        echo(f"ricebench: no entry of {results} can be used; the reasons are above.", err=True)
        raise typer.Exit(1)
    scored = score(
        truth, read.entries, masks=truth.has_masks and read.has_masks, resamples=0 if no_error else RESAMPLES
    )
    facts = {
        **(read.about or {}),
        "results": results.name,
        "annotations": annotations.name,
        "style": scored.style,
        "detections": len(read.entries),
        "images": len(scored.samples),
        "left_out": [f"{skip.item} {skip.reason}" for skip in (*truth.skipped, *read.skipped)],
        "notes": [*truth.notes, *read.notes],
    }
    match format_:
        case ScoreFormat.terminal:
            echo(to_terminal(scored, truth, facts, categories=categories))
        case ScoreFormat.json:
            emit(to_json(scored, truth, facts) + "\n")
        case ScoreFormat.csv:
            emit(to_csv(scored, truth))
    if truth.skipped or read.skipped:
        raise typer.Exit(3)


def _in_style(truth: GroundTruth, style: StyleOption) -> GroundTruth:
    if style is StyleOption.lvis and truth.style != "lvis":
        raise UserError(
            f"{truth.name} does not say which categories were looked for in an image (neg_category_ids, frequency); "
            "write --style coco."
        )
    if style is StyleOption.auto:
        return truth
    return dataclasses.replace(truth, style="lvis" if style is StyleOption.lvis else "coco")


def _say(skipped: tuple[Skipped, ...]) -> None:
    for skip in skipped[:_REASONS]:
        echo(f"left out: {skip.item} {skip.reason}", err=True)
    if len(skipped) > _REASONS:
        echo(f"left out: {len(skipped) - _REASONS} more", err=True)
