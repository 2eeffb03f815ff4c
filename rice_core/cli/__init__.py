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
from rice_core.cli import curate, export, forget, look, measure, train
from rice_core.cli.boundary import explained
from rice_core.echo import echo


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
        debug: Annotated[
            bool, typer.Option("--debug", help="Show tracebacks of unexpected errors; may stand anywhere.")
        ] = False,
    ) -> None:
        pass

    measure.register(app)
    look.register(app)
    forget.register(app)
    export.register(app)
    curate.register(app)
    train.register(app)
    for point in sorted(entry_points(group="ricebench.commands"), key=lambda point: point.name):
        point.load()(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command; shows no traceback unless `--debug` asks for it."""
    # Read when torch is loaded. Threads that spin while they wait cost a shared machine dearly: a linear probe of the demo
    # took 19 s beside one other busy process, and 2 s with this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A notebook's names a module that need not be installed where we run, and matplotlib would refuse to load. We show no
    # window: figures are drawn on a canvas of their own.
    os.environ.pop("MPLBACKEND", None)
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if debug:  # every command takes it, wherever it stands
        words = ["--debug", *(word for word in words if word != "--debug")]
    try:
        build_app()(words, prog_name="ricebench")
    except BrokenPipeError:
        # The reader of a pipe left (`| head`); what it wanted has been written.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        sentence, code = explained(error)
        echo(f"ricebench: {sentence}", err=True)
        sys.exit(code)
