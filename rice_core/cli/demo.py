"""`ricebench demo`: everything once, on a drawn world."""

from __future__ import annotations

import time

import typer

from rice_core.cli.execute import execute, invoke, leave
from rice_core.cli.options import DEFAULT_STORE, QuietOption, StoreOption, debugging
from rice_core.echo import echo


def demo(ctx: typer.Context, store: StoreOption = DEFAULT_STORE, quiet: QuietOption = False) -> None:
    """Draw the miniature world, probe four encoders, print a table and write a report. No GPU, data or hub."""
    from rice_core.measure.config import RunConfig
    from rice_core.measure.plan import plan_of
    from rice_core.measure.run import Settings
    from rice_core.store import Store
    from rice_core.world.mini import DEMO_ENCODERS, DEMO_PROBES, MINI

    began = time.monotonic()
    echo(
        f"The miniature world: {MINI.train} + {MINI.val} drawn images in COCO format. Its numbers are not paper numbers."
    )
    opened = Store(store)
    wanted = plan_of(RunConfig(encoders=DEMO_ENCODERS, probes=DEMO_PROBES, data=("mini",)), opened)
    summary = execute(wanted, opened, Settings(workers=4, debug=debugging(ctx)), quiet=quiet)
    invoke(ctx, "table", store=store)
    invoke(ctx, "report", store=store)
    if summary.counts["reused"] and not summary.counts["done"]:
        echo("Every cell was reused: weights, data and code are as they were.")
    echo(f"{time.monotonic() - began:.0f} s. Next, your own encoder and photographs:\n")
    echo("  ricebench run --encoders timm:NAME,hf:PATH_OR_ID --probes knn,linear,tokens --data FOLDER")
    echo("  ricebench list encoders          ricebench run --help")
    leave(summary)
