"""The command that forgets."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.cli.options import DEFAULT_STORE, StoreOption
from rice_core.echo import echo
from rice_core.errors import UserError

if TYPE_CHECKING:
    from rice_core.measure.forget import Held
    from rice_core.store import Store

_MOST_LINES = 20


def forget(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="GLOB",
            help="Over \"encoder/probe\", \"encoder/probe/data set\" or cell ids, as in 'hf:typo/*', '*/*/photos', '3f2a*'.",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Remove records and all that belongs to them. Says what goes, and asks. Features and checkpoints stay."""
    from rice_core.measure.forget import matching
    from rice_core.store import Store

    opened = Store(store)
    found = matching(opened, pattern)
    if not found:
        raise UserError(
            f"{pattern} matches no cell of {store}; write a pattern of encoder/probe or encoder/probe/data set, "
            "or an id, as `ricebench status` shows them."
        )
    for line in _lines(found):
        echo(line)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("Nothing was forgotten: nobody can be asked here; run it again with --yes.")
        if not typer.confirm("Forget this?"):
            echo("Nothing was forgotten.")
            raise typer.Exit(1)
    _forget(opened, found)


def _lines(found: list[Held]) -> list[str]:
    lines = [f"{held.cell_id}  {_called(held)}" for held in found[:_MOST_LINES]]
    lines += [f"and {len(found) - _MOST_LINES} more"] if len(found) > _MOST_LINES else []
    counts = Counter(kind for held in found for kind in held.kinds)
    kinds = ", ".join(f"{kind} of {n}" for kind, n in counts.items())
    return [*lines, f"{len(found)} cell{'s' * (len(found) != 1)}: {kinds}, {_megabytes(found):.1f} MB."]


def _called(held: Held) -> str:
    if held.record is None:
        return f"no record; {', '.join(held.kinds)}"
    cell, record = held.record.cell, held.record
    place = f"{cell.encoder.title}/{cell.probe.name}/{cell.dataset.name}"
    return f"{place}  seed {cell.seed}  {record.status}  {record.first}".rstrip()


def _megabytes(found: list[Held]) -> float:
    files = [file for held in found for path in held.paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.lstat().st_size for file in files if file.is_file()) / 1e6


def _forget(store: Store, found: list[Held]) -> None:
    from rice_core.measure.claims import Claims
    from rice_core.measure.forget import forget as forget_cell

    claims, gone = Claims(store.root / "claims"), 0
    for held in found:
        with claims.taken(held.cell_id, "forgetting") as mine:
            if mine:
                forget_cell(store, held.cell_id)
                gone += 1
        if not mine:
            holder = claims.holder(held.cell_id)
            echo(
                f"left: {held.cell_id}: another run ({holder.words if holder else 'just ended'}) works on it; "
                "try again when it has ended.",
                err=True,
            )
    echo(f"{gone} cell{'s' * (gone != 1)} forgotten. `ricebench report` writes the report without them.")
    if gone < len(found):
        raise typer.Exit(3 if gone else 1)
