"""The command that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rice_core.cli.options import QuietOption, own_path


def train(
    config: Annotated[
        Path, typer.Argument(help="A YAML or JSON file; docs/training.md lists its settings.", callback=own_path)
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, the log and the encoder.", callback=own_path)],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images, for each rank.")] = 2,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on where the folder's training is, or remove that first.")
    ] = True,
    quiet: QuietOption = False,
) -> None:
    """Train an encoder. The same command again resumes; torchrun -m rice_core.cli train ... uses several devices."""
    from rice_core.rice.config import load_train_config

    wanted = load_train_config(config)
    # What is misspelt is told before torch is loaded.
    from rice_core.rice.launch import train as launch

    if not launch(wanted, out, device=device, workers=workers, fresh=not resume, quiet=quiet):
        raise typer.Exit(130)
