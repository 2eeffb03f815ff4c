"""Commands that measure: demo, plan, run."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rice_core.cli.options import (
    DEFAULT_STORE,
    DataOption,
    LimitOption,
    QuietOption,
    SeedsOption,
    StoreOption,
    debugging,
    own_path,
    parse_seeds,
    split_list,
)
from rice_core.echo import echo
from rice_core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from rice_core.datasets import Dataset
    from rice_core.measure.config import RunConfig
    from rice_core.measure.run import Plan, Runner, Settings, Summary
    from rice_core.progress import Progress
    from rice_core.store import Store

EncodersOption = Annotated[
    list[str] | None,
    typer.Option("--encoders", "-e", help="As in hf:PATH,timm:NAME,rice:FOLDER or names of `ricebench list`."),
]
ProbesOption = Annotated[
    list[str] | None, typer.Option("--probes", "-p", help="As in knn?k=20,linear,tokens, or FILE.py:NAME.")
]
CacheOption = Annotated[float, typer.Option("--cache-gb", min=0.01, max=1e6, help="Size of the feature cache.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A YAML or JSON file with the same words.", callback=own_path)
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(demo)
    app.command()(plan)
    app.command()(run)


def demo(
    ctx: typer.Context,
    store: StoreOption = DEFAULT_STORE,
    quiet: QuietOption = False,
) -> None:
    """Draw the miniature world, probe four encoders, print a table and write a report. No GPU, data or hub."""
    from rice_core.world.mini import DEMO_ENCODERS, DEMO_PROBES, MINI

    began = time.monotonic()
    echo(
        f"The miniature world: {MINI.train} + {MINI.val} drawn images in COCO format. Its numbers are not paper numbers."
    )
    config = _config(None, list(DEMO_ENCODERS), list(DEMO_PROBES), "mini", "0", None)
    summary = _execute(_plan(config, _store(store)), _store(store), quiet=quiet, debug=debugging(ctx))
    _invoke(ctx, "table", store=store)
    _invoke(ctx, "report", store=store)
    if summary.counts["reused"] and not summary.counts["done"]:
        echo("Every cell was reused: weights, data and code are as they were.")
    echo(f"{time.monotonic() - began:.0f} s. Next, your own encoder and photographs:\n")
    echo("  ricebench run --encoders timm:NAME,hf:PATH_OR_ID --probes knn,linear,tokens --data FOLDER")
    echo("  ricebench list encoders          ricebench run --help")
    _exit(summary)


def plan(
    encoders: EncodersOption = None,
    probes: ProbesOption = None,
    data: DataOption = "",
    seeds: SeedsOption = "",
    limit: LimitOption = None,
    config: ConfigOption = None,
    cache_gb: CacheOption = 50.0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show the cells that a run would measure, what they cost, and why in this way."""
    from rice_core.measure.bill import bill
    from rice_core.measure.cache import FeatureCache

    opened = _store(store)
    wanted = _plan(_config(config, encoders, probes, data, seeds, limit), opened)
    for line in bill(wanted, opened, FeatureCache(opened, max_bytes=_bytes(cache_gb)).space()):
        echo(line)


def run(
    ctx: typer.Context,
    recipe: Annotated[
        str | None, typer.Argument(help="A study that trains its own encoders, as mini:encoders or table:5a.")
    ] = None,
    encoders: EncodersOption = None,
    probes: ProbesOption = None,
    data: DataOption = "",
    seeds: SeedsOption = "",
    limit: LimitOption = None,
    config: ConfigOption = None,
    only: Annotated[str, typer.Option("--only", help="missing, failed or all.")] = "missing",
    rerun: Annotated[
        str, typer.Option("--rerun", help='Measure again the cells that match "encoder/probe", as in "*/knn".')
    ] = "",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images a forward pass.")] = 32,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Decoding threads.")] = 4,
    cache_gb: CacheOption = 50.0,
    scale: Annotated[
        str,
        typer.Option("--scale", help="Of a recipe: mini, long (until nothing rises; for a GPU), or smoke to try it."),
    ] = "mini",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trainings of a recipe side by side.")] = 1,
    base: Annotated[
        Path | None,
        typer.Option("--base", help="Training that table:5a to 5d vary, with the paper's values.", callback=own_path),
    ] = None,
    launcher: Annotated[
        str, typer.Option("--launcher", help='What runs a training, as in "torchrun --nproc-per-node 8".')
    ] = "",
    store: StoreOption = DEFAULT_STORE,
    quiet: QuietOption = False,
) -> None:
    """Run probes over encoders on a data set. The same command again resumes and reuses."""
    if only not in ("missing", "failed", "all"):
        near = did_you_mean(only, ("missing", "failed", "all"))
        raise UserError(f"--only {only} is not known; {near}use missing, failed or all.")
    opened = _store(store)
    if recipe is not None:
        if encoders or probes or data or config:
            raise UserError(
                f"{recipe} says itself what is trained and probed; leave out --encoders, --probes, --data and --config."
            )
        from rice_core.measure.subject import pick_device

        shop = {
            "device": pick_device(device),
            "jobs": jobs,
            "launcher": _words(launcher) or (sys.executable,),
        }
        shop["workers"] = 0 if shop["device"] == "cpu" else workers
        _run_recipe(ctx, recipe, opened, scale, parse_seeds(seeds or "0,1,2"), base, shop, quiet=quiet)
        return
    wanted = _plan(_config(config, encoders, probes, data, seeds, limit), opened)
    summary = _execute(
        wanted,
        opened,
        quiet=quiet,
        debug=debugging(ctx),
        only=only,  # type: ignore[arg-type]
        rerun=rerun,
        device=device,
        batch=batch,
        workers=workers,
        cache_bytes=_bytes(cache_gb),
    )
    if os.environ.get("RANK", "0") != "0":
        return
    counts = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in sorted(summary.counts.items()))
    echo(f"{counts or 'nothing to do'}. Records are in {store}; see `ricebench table` and `ricebench report`.")
    if quiet:  # else each stands above, where it happened
        for line in _why(summary, wanted.dataset):
            echo(f"  {line}", err=True)
    _exit(summary)


def _words(launcher: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(launcher))
    except ValueError as error:
        raise UserError(f"--launcher {launcher} cannot be read ({error}); write a command, as in 'torchrun'.") from None


def _run_recipe(
    ctx: typer.Context,
    name: str,
    store: Store,
    scale: str,
    seeds: tuple[int, ...],
    base: Path | None,
    shop: dict[str, Any],
    *,
    quiet: bool,
) -> None:
    from rice_core.measure.run import Settings
    from rice_core.progress import Progress
    from rice_core.rice.config import load_train_config
    from rice_core.rice.recipes import recipe
    from rice_core.rice.recipes.run import Workshop, run_study

    failed = 0
    started = None if base is None else load_train_config(base)
    with Progress(quiet=quiet) as progress:
        workshop = Workshop(store, progress, **shop)
        for study in recipe(name, workshop, scale, seeds, started):
            failed += run_study(study, workshop, Settings(device=workshop.device)).counts["failed"]
    _invoke(ctx, "study", name, store=store.root)
    if failed:
        raise typer.Exit(3)


def _config(
    path: Path | None, encoders: list[str] | None, probes: list[str] | None, data: str, seeds: str, limit: int | None
) -> RunConfig:
    from rice_core.measure.config import RunConfig, load_config

    if path is not None:
        if encoders or probes or data:
            raise UserError("Give either --config or --encoders, --probes and --data, not both.")
        asked = {"seeds": parse_seeds(seeds)} if seeds else {}
        return load_config(path).model_copy(update=asked | ({"limit": limit} if limit else {}))
    for flag, value in (("--encoders", encoders), ("--probes", probes), ("--data", data)):
        if not value:
            raise UserError(
                f"{flag} is missing; an example: ricebench run --encoders timm:NAME --probes knn --data FOLDER."
            )
    return RunConfig(
        encoders=tuple(split_list(encoders or [])),
        probes=tuple(split_list(probes or [])),
        data=data,
        seeds=parse_seeds(seeds or "0"),
        limit=limit,
    )


def _plan(config: RunConfig, store: Store) -> Plan:
    from rice_core.measure.plan import plan_of

    return plan_of(config, store)


def _execute(
    wanted: Plan,
    store: Store,
    *,
    quiet: bool,
    debug: bool,
    only: Literal["missing", "failed", "all"] = "missing",
    rerun: str = "",
    device: str = "auto",
    batch: int = 32,
    workers: int = 4,
    cache_bytes: int = 50 << 30,
) -> Summary:
    from rice_core.catalogue import explained
    from rice_core.measure.run import Runner, Settings
    from rice_core.progress import Progress

    if device != "auto":
        from rice_core.measure.subject import pick_device

        pick_device(device)  # a typing mistake is found before anything is read
    settings = Settings(
        device=device,
        batch=batch,
        workers=workers,
        only=only,
        rerun=rerun,
        cache_bytes=cache_bytes,
        debug=debug,
    )
    if "RANK" in os.environ:
        return _execute_ranked(wanted, store, settings, quiet=quiet)
    with Progress(quiet=quiet) as progress:
        try:
            return _measure(wanted, Runner(store, settings, progress, explain=explained), progress)
        except KeyboardInterrupt:
            progress.say("Stopped. Finished cells are safe; run the same command again to go on.")
            raise typer.Exit(130) from None


def _execute_ranked(wanted: Plan, store: Store, settings: Settings, *, quiet: bool) -> Summary:
    """Under torchrun: rank 0 measures, the others help it where something is trained."""
    from rice_core.catalogue import explained
    from rice_core.measure.follow import follow
    from rice_core.measure.run import Runner, Summary
    from rice_core.progress import Progress
    from rice_core.ranks import join

    with join(settings.device) as ranks:
        settings = replace(settings, device=str(ranks.device))
        if not ranks.leads:
            follow(wanted, ranks, store, settings, Progress(quiet=True))
            return Summary()
        with Progress(quiet=quiet) as progress:
            summary = _measure(wanted, Runner(store, settings, progress, ranks=ranks, explain=explained), progress)
        ranks.agree(None)
        return summary


def _measure(wanted: Plan, runner: Runner, progress: Progress) -> Summary:
    """Run, between what the data set was read as and what was left out while it was measured."""
    from rice_core.datasets.describe import describe
    from rice_core.left_out import left_out

    for line in describe(wanted.dataset):
        progress.say(line)
    summary = runner.run(wanted)
    known = set(wanted.dataset.skipped)
    for line in left_out(skip for record in summary.records for skip in record.skipped if skip not in known):
        progress.say(line)
    return summary


def _why(summary: Summary, dataset: Dataset) -> Iterator[str]:
    """What failed; and where nothing came out at all, why, and what had been left out."""
    from rice_core.left_out import left_out

    yield from (f"failed: {error}" for error in summary.errors)
    if any(record.status == "done" for record in summary.records):
        return
    for record in summary.records:
        if record.status == "not_applicable":
            yield f"not applicable: {record.cell.encoder.title} / {record.cell.probe.name}: {record.error}"
    yield from left_out((*dataset.skipped, *(skip for record in summary.records for skip in record.skipped)))


def _store(path: Path) -> Store:
    from rice_core.store import Store

    return Store(path)


def _bytes(gb: float) -> int:
    return int(gb * (1 << 30))


def _invoke(ctx: typer.Context, name: str, *arguments: str, **options: object) -> None:
    """Run another command of the app, where a package has registered it."""
    commands = getattr(ctx.parent.command if ctx.parent else None, "commands", {})
    if name in commands:
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        commands[name].main([*arguments, *words], prog_name=f"ricebench {name}", standalone_mode=False)


def _exit(summary: Summary) -> None:
    # By what the records say: one that is reused may say that there is no number.
    outcomes = {record.status for record in summary.records}
    if summary.counts["failed"] or outcomes == {"not_applicable"}:
        raise typer.Exit(3 if "done" in outcomes else 1)
