"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from rice_core.disk.paths import at_home
from rice_core.errors import UserError


def own_path(path: Path | None) -> Path | None:
    """The callback of every option and argument that is a path: shells leave the `~` of `--store=~/x` and of a variable."""
    return None if path is None else at_home(path)


StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="RICEBENCH_STORE",
        help="Folder of records, features and reports.",
        show_default=True,
        callback=own_path,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        help="Folder: COCO format, Roboflow exports, folder per class, or photos; FOLDER@coco, @lvis, @class-folders or @photos where its looks mislead; or mini, mini-words, mini-hard, mini-lvis, mini-rf100, which are drawn.",
    ),
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Images of each split; marks the records.")]
SeedsOption = Annotated[str, typer.Option("--seeds", help="Probe seeds, as in 0,1,2; 0 unless given.")]

DEFAULT_STORE = Path("ricebench-runs")


def debugging(ctx: typer.Context) -> bool:
    """Whether --debug was given, before or after the command's name."""
    return bool(ctx.find_root().params.get("debug"))


def split_list(values: list[str]) -> list[str]:
    """Comma-separated and repeated options as one list; a comma inside settings (layers=-2,-1) does not separate."""
    return [
        part.strip() for value in values for part in re.split(r",(?=\s*(?:[A-Za-z_~/]|\.\.?/))", value) if part.strip()
    ]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds in the order given, without repeats."""
    from rice_core.spec import SEED_MAX

    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UserError(f"--seeds {text} cannot be read; write whole numbers, as in 0,1,2.") from None
    if not 0 <= min(seeds) <= max(seeds) <= SEED_MAX:
        raise UserError(f"--seeds {text}: a seed is a number from 0 to {SEED_MAX}.")
    return seeds
