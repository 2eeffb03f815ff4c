"""The command `ricebench`. Commands import what they need when they run, so that `--help` and `list` stay fast.

Exit codes: 0 done, 1 nothing usable, 2 a mistake in the command or the input, 3 partly done, 130 interrupted.
Packages add commands through the entry-point group `ricebench.commands` (a function that takes the typer app).
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from rice_core import __version__
from rice_core.cli import curate, export, look, measure, train
from rice_core.errors import UserError


def build_app() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="ricebench",
        help="How good is this vision encoder, really? Run the RICE paper's probes over any encoder.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def _root(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        pass

    measure.register(app)
    look.register(app)
    export.register(app)
    curate.register(app)
    train.register(app)
    for point in sorted(entry_points(group="ricebench.commands"), key=lambda point: point.name):
        point.load()(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command; never shows a traceback for a mistake that the user can mend."""
    # Read when torch is loaded. Threads that spin while they wait cost a shared machine dearly: a linear probe of the demo
    # took 19 s beside one other busy process, and 2 s with this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        build_app()(arguments, prog_name="ricebench")
    except UserError as error:
        typer.echo(f"ricebench: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # The reader of a pipe left (`| head`); what it wanted has been written.
        sys.stderr.close()
        sys.exit(0)
