"""A plan run for people: bars and lines while it works, what was left out, the exit code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rice_core.measure.plan import Plan
    from rice_core.measure.run import Runner, Settings
    from rice_core.measure.summary import Summary
    from rice_core.progress import Progress
    from rice_core.store import Store


def execute(wanted: Plan, store: Store, settings: Settings, *, quiet: bool) -> Summary:
    """Run a plan here; under torchrun rank 0 does, and the others help it where something is trained.

    Raises:
        typer.Exit: 130, after Ctrl-C.
        UserError: there is no such device, or `settings.rerun` names no cell.
    """
    from rice_core.catalogue import explained
    from rice_core.deterministic import prepare
    from rice_core.measure.run import Runner
    from rice_core.progress import Progress

    if settings.deterministic:
        prepare()
    if settings.device != "auto":
        from rice_core.measure.subject import pick_device

        pick_device(settings.device)  # a typing mistake is found before anything is read
    if "RANK" in os.environ:
        return _execute_ranked(wanted, store, settings, quiet=quiet)
    with Progress(quiet=quiet) as progress:
        try:
            return _measure(wanted, Runner(store, settings, progress, explain=explained), progress)
        except KeyboardInterrupt:
            progress.say("Stopped. Finished cells are safe; run the same command again to go on.")
            raise typer.Exit(130) from None


def _execute_ranked(wanted: Plan, store: Store, settings: Settings, *, quiet: bool) -> Summary:
    from rice_core.catalogue import explained
    from rice_core.measure.follow import follow
    from rice_core.measure.run import Engine, Runner
    from rice_core.measure.summary import Summary
    from rice_core.progress import Progress
    from rice_core.ranks import join

    with join(settings.device) as ranks:
        settings = replace(settings, device=str(ranks.device))
        if not ranks.leads:
            follow(wanted, ranks, Engine.of(store, settings, Progress(quiet=True)))
            return Summary()
        with Progress(quiet=quiet) as progress:
            summary = _measure(wanted, Runner(store, settings, progress, ranks=ranks, explain=explained), progress)
        ranks.agree(None)
        return summary


def _measure(wanted: Plan, runner: Runner, progress: Progress) -> Summary:
    """Run, between what the data sets were read as and what was left out while they were measured."""
    from rice_core.left_out import left_out

    for line in wanted.described():
        progress.say(line)
    summary = runner.run(wanted)
    known = {skip for dataset in wanted.datasets.values() for skip in dataset.skipped}
    for line in left_out(skip for record in summary.records for skip in record.skipped if skip not in known):
        progress.say(line)
    return summary


def why(summary: Summary, wanted: Plan) -> Iterator[str]:
    """What failed; and where nothing came out at all, why, and what had been left out."""
    from rice_core.left_out import left_out

    yield from (f"failed: {error}" for error in summary.errors)
    if any(record.status == "done" for record in summary.records):
        return
    for record in summary.records:
        if record.status == "not_applicable":
            yield f"not applicable: {wanted.called(record.cell)}: {record.error}"
    known = [skip for dataset in wanted.datasets.values() for skip in dataset.skipped]
    yield from left_out([*known, *(skip for record in summary.records for skip in record.skipped)])


def invoke(ctx: typer.Context, name: str, *arguments: str, **options: object) -> None:
    """Run another command of the app, where a package has registered it."""
    commands = getattr(ctx.parent.command if ctx.parent else None, "commands", {})
    if name in commands:
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        commands[name].main([*arguments, *words], prog_name=f"ricebench {name}", standalone_mode=False)


def leave(summary: Summary) -> None:
    """End with the exit code of a run that is not wholly done.

    Raises:
        typer.Exit: 3 where something came out, 1 where nothing did.
    """
    # By what the records say: one that is reused may say that there is no number.
    outcomes = {record.status for record in summary.records}
    if summary.counts["failed"] or outcomes == {"not_applicable"}:
        raise typer.Exit(3 if "done" in outcomes else 1)
