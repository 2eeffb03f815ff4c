"""The command `ricebench`. Commands import what they need when they run, so that `--help` and `list` stay fast.

Exit codes: 0 done, 1 nothing usable, 2 a mistake in the command or the input, 3 partly done, 130 interrupted.
Packages add commands through the entry-point group `ricebench.commands` (a function that takes the typer app).
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rice_core import __version__
from rice_core.cli.boundary import INTERRUPTED, explained
from rice_core.echo import echo, visible
from rice_core.errors import UserError, loaded


class _Escaped(Exception):
    """Carries out to `main` what typer would end the process for, without a word: Ctrl-C, and a reader that left."""


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            raise _Escaped from error
        except typer.Abort as error:  # a question was answered with Ctrl-C or Ctrl-D
            raise _Escaped from KeyboardInterrupt(error)


def build_app() -> typer.Typer:
    """The whole command line."""
    # Here and not above: whoever presses Ctrl-C while they are imported gets the sentence too.
    from rice_core.cli import curate, demo, evaluate, export, forget, look, plan, run, train

    app = typer.Typer(
        name="ricebench",
        cls=_Commands,
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

    looking = (look.list_, look.show, look.status, look.verify, look.doctor, look.cache)
    rest = (forget.forget, evaluate.evaluate, export.export, curate.curate, train.train)
    for command in (demo.demo, plan.plan, run.run, *looking, *rest):
        # A scorer's settings are options that no one here knows: --dialect all.
        loose = {"ignore_unknown_options": True, "allow_extra_args": True} if command is evaluate.evaluate else {}
        app.command(command.__name__.rstrip("_"), context_settings=loose)(command)
    for point in sorted(entry_points(group="ricebench.commands"), key=lambda point: point.name):
        try:
            loaded(point, "command")(app)
        except UserError as error:  # of another package: it costs nobody the other commands
            _say(f"note: {error}")
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
    _open_streams()
    warnings.formatwarning = _warning
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if debug:  # every command takes it, wherever it stands
        words = ["--debug", *(word for word in words if word != "--debug")]
    try:
        try:
            build_app()(words, prog_name="ricebench")
        except _Escaped as escaped:
            raise escaped.__cause__ or escaped from None
    except BrokenPipeError:
        _close_pipes()
        sys.exit(0)
    except KeyboardInterrupt:
        _say("Stopped. What was finished is safe; run the same command again to go on.")
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        sentence, code = explained(error)
        _say(f"ricebench: {sentence}")
        sys.exit(code)


def _open_streams() -> None:
    """Give a process that was started without one of the three streams an empty one in its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 (until the process ends)


def _close_pipes() -> None:
    """The reader of a pipe left (`| head`); what it wanted has been written, and Python shall not try the rest when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # a full disk may be where standard error goes
        echo(sentence, err=True)


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """What a library warns of, as visible as all text from outside: it may quote the name of a file."""
    return f"{category.__name__}: {visible(str(message))}\n"
