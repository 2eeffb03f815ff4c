"""The command that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rice_core.cli.options import DebugOption, QuietOption
from rice_core.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(train)


def train(
    config: Annotated[Path, typer.Argument(help="A YAML or JSON file; docs/training.md lists its settings.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for checkpoints, the log and the encoder.")],
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1.")] = "auto",
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that decode images, for each rank.")] = 2,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on where the folder's training is, or remove that first.")
    ] = True,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Train an encoder. The same command again resumes; torchrun -m rice_core.cli train ... uses several devices."""
    from rice_core.train.config import load_train_config

    wanted = load_train_config(config)
    try:
        from rice_core.train.launch import train as launch

        finished = launch(wanted, out, device=device, workers=workers, fresh=not resume, quiet=quiet)
    except UserError:
        raise
    except Exception as error:
        if debug:
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        typer.echo(f"ricebench: {reason}; run again with --debug for the traceback, it resumes.", err=True)
        raise typer.Exit(1) from None
    if not finished:
        raise typer.Exit(130)
