"""`ricebench evaluate`: score any results file in COCO's format, ours or another's."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.errors import UserError

if TYPE_CHECKING:
    from probes.detection.annotations import GroundTruth
    from probes.detection.evaluate import Judged, Scored
    from rice_core.record import Skipped

_REASONS = 10


class StyleOption(StrEnum):
    """Whose rules judge."""

    auto = "auto"
    coco = "coco"
    lvis = "lvis"


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(evaluate)


def evaluate(
    results: Annotated[Path, typer.Option("--results", help="Detections: COCO results JSON.")],
    annotations: Annotated[Path, typer.Option("--annotations", help="The truth: COCO, LVIS v1 or Roboflow JSON.")],
    style: Annotated[
        StyleOption, typer.Option("--style", help="Whose rules judge; auto takes what the annotations are made for.")
    ] = StyleOption.auto,
    no_error: Annotated[bool, typer.Option("--no-error", help="Skip the bootstrap over images.")] = False,
) -> None:
    """Score detections (COCO results JSON) against an annotation file: AP of boxes, and of masks where both have them.

    Exit code 3: entries were left out, and the table is about the rest. 1: none could be used.
    """
    from probes.detection.annotations import read_ground_truth
    from probes.detection.evaluate import RESAMPLES, score
    from probes.detection.results import read_results

    truth = _in_style(read_ground_truth(annotations, None, name=annotations.name), style)
    read = read_results(results, truth)
    _say(truth.skipped)
    _say(read.skipped)
    for note in (*truth.notes, *read.notes):
        typer.echo(f"note: {note}", err=True)
    if read.skipped and not read.entries:
        typer.echo(f"ricebench: no entry of {results} can be used; the reasons are above.", err=True)
        raise typer.Exit(1)
    scored = score(
        truth, read.entries, masks=truth.has_masks and read.has_masks, resamples=0 if no_error else RESAMPLES
    )
    facts = {"results": str(results), "annotations": str(annotations), "style": scored.style} | (read.about or {})
    _print(scored, facts | {"results": f"{results}, {len(read.entries)} detections in {len(scored.samples)} images"})
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
        typer.echo(f"left out: {skip.item} {skip.reason}", err=True)
    if len(skipped) > _REASONS:
        typer.echo(f"left out: {len(skipped) - _REASONS} more", err=True)


def _print(scored: Scored, facts: dict[str, str]) -> None:
    import shutil

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None, show_edge=False, pad_edge=False, box=None)
    table.add_column("AP, %")
    for kind in scored.kinds:
        table.add_column({"box": "boxes", "mask": "masks"}[kind], justify="right")
    for name in scored.box.ap:
        table.add_row(name, *(_cell(judged, name) for judged in scored.kinds.values()))
    # A pipe gets lines as long as they are.
    console = Console(
        highlight=False, width=None if Console().is_terminal else max(shutil.get_terminal_size().columns, 200)
    )
    for key, value in facts.items():
        console.print(Text(f"{key}: {value}"))
    console.print(table)
    if error := scored.box.errors.get("AP"):
        console.print(Text(f"+-: standard error, {error.method}"))


def _cell(judged: Judged, name: str) -> str:
    value, error = judged.ap[name], judged.errors.get(name)
    if value is None:
        return "."
    return f"{value:.2f}" + (f" +-{error.stderr:.2f}" if error and error.stderr is not None else "")
