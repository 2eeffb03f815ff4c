"""`ricebench run`: probes over encoders on data sets, or a study that trains its own encoders."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.cli.execute import execute, invoke, leave, why
from rice_core.cli.options import (
    DEFAULT_STORE,
    Asked,
    CacheOption,
    QuietOption,
    StoreOption,
    debugging,
    in_groups,
    own_path,
    parse_seeds,
)
from rice_core.echo import echo
from rice_core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from rice_core.measure.run import Settings
    from rice_core.store import Store


@dataclass(frozen=True)
class How:
    """Where and how fast."""

    only: Annotated[str, typer.Option(help="missing, failed or all.")] = "missing"
    rerun: Annotated[str, typer.Option(help='Measure again the cells that match "encoder/probe", as in "*/knn".')] = ""
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto"
    batch: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = 32
    workers: Annotated[int, typer.Option(min=1, help="Decoding threads.")] = 4
    cache_gb: CacheOption = 50.0
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="Load all encoders at once where cells can share work, as frames that trackers follow in.",
        ),
    ] = False
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Repeat to the bit on the same machine, slower, or refuse.")
    ] = False

    def settings(self, *, debug: bool) -> Settings:
        """Of the engine."""
        from rice_core.measure.run import Settings

        return Settings(**vars(self), debug=debug)


@dataclass(frozen=True)
class Shop:
    """How a recipe trains."""

    scale: Annotated[
        str, typer.Option(help="Of a recipe: mini, long (until nothing rises; for a GPU), or smoke to try it.")
    ] = "mini"
    jobs: Annotated[int, typer.Option(min=1, help="Trainings of a recipe side by side.")] = 1
    base: Annotated[
        Path | None, typer.Option(help="Training that table:5a to 5d vary, with the paper's values.", callback=own_path)
    ] = None
    launcher: Annotated[str, typer.Option(help='What runs a training, as in "torchrun --nproc-per-node 8".')] = ""

    def words(self) -> tuple[str, ...]:
        """The launcher's command.

        Raises:
            UserError: a quotation mark is left open.
        """
        try:
            return tuple(shlex.split(self.launcher)) or (sys.executable,)
        except ValueError as error:
            raise UserError(
                f"--launcher {self.launcher} cannot be read ({error}); write a command, as in 'torchrun'."
            ) from None


@in_groups
def run(
    ctx: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A study that trains its own encoders, as mini:encoders or table:5a; or a table of the paper in the place of --probes, as table:1."
        ),
    ] = None,
    *,
    asked: Asked,
    how: How,
    shop: Shop,
    store: StoreOption = DEFAULT_STORE,
    quiet: QuietOption = False,
) -> None:
    """Run probes over encoders on data sets. The same command again resumes and reuses."""
    from rice_core.measure.paper_tables import PROBES
    from rice_core.measure.plan import plan_of
    from rice_core.store import Store

    if how.only not in ("missing", "failed", "all"):
        near = did_you_mean(how.only, ("missing", "failed", "all"))
        raise UserError(f"--only {how.only} is not known; {near}use missing, failed or all.")
    opened = Store(store)
    if recipe is not None and recipe not in PROBES:
        if asked.given:
            raise UserError(
                f"{recipe} says itself what is trained and probed; leave out --encoders, --probes, --data, --config and --lm."
            )
        if how.deterministic:
            raise UserError(
                f"--deterministic is for cells, and {recipe} trains its own encoders without it; leave it out, and give the encoders with -e then."
            )
        _run_recipe(ctx, recipe, parse_seeds(asked.seeds or "0,1,2"), how, shop, opened, quiet=quiet)
        return
    wanted = plan_of(asked.run_config(recipe or ""), opened, files=True)
    summary = execute(wanted, opened, how.settings(debug=debugging(ctx)), quiet=quiet)
    if os.environ.get("RANK", "0") != "0":
        return
    counts = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in sorted(summary.counts.items()))
    echo(f"{counts or 'nothing to do'}. Records are in {store}; see `ricebench table` and `ricebench report`.")
    if quiet:  # else each stands above, where it happened
        for line in why(summary, wanted):
            echo(f"  {line}", err=True)
    leave(summary)


def _run_recipe(
    ctx: typer.Context, name: str, seeds: tuple[int, ...], how: How, shop: Shop, store: Store, *, quiet: bool
) -> None:
    from rice_core.measure.run import Settings
    from rice_core.measure.subject import pick_device
    from rice_core.progress import Progress
    from rice_core.rice.config import load_train_config
    from rice_core.rice.recipes import recipe
    from rice_core.rice.recipes.run import Workshop, run_study

    device, launcher = pick_device(how.device), shop.words()
    workers = 0 if device == "cpu" else how.workers
    base = None if shop.base is None else load_train_config(shop.base)
    failed = 0
    with Progress(quiet=quiet) as progress:
        workshop = Workshop(store, progress, device, shop.jobs, launcher, workers)
        for study in recipe(name, workshop, shop.scale, seeds, base):
            failed += run_study(study, workshop, Settings(device=device)).counts["failed"]
    invoke(ctx, "study", name, store=store.root)
    if failed:
        raise typer.Exit(3)
