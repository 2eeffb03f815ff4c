"""Progress: bars with an ETA on a terminal, plain lines on a pipe, nothing when asked to be quiet. All on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from rice_core.echo import visible

_LINE_SECONDS = 10.0


class Progress:
    """One line of work at a time below an overall count of cells.

    Args:
        quiet: print nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._quiet = quiet
        self._rich: RichProgress | None = None
        self._done = 0
        self._total = 0
        self._what = ""
        self._began = self._spoke = 0.0
        self._cells: Any = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._quiet:
            self._rich = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=self._console,
            )
            self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich is not None:
            self._rich.stop()
            self._rich = None

    @property
    def live(self) -> bool:
        """Whether a bar is shown; else there are lines alone."""
        return self._rich is not None

    def begin(self, total: int, what: str) -> None:
        """Start the overall count."""
        self._done, self._total, self._what = 0, total, what
        self._began = self._spoke = time.monotonic()
        if self._rich is not None:
            self._cells = self._rich.add_task(what, total=total)

    def advance(self, line: str, cells: int = 1) -> None:
        """One of the overall count is finished, or several at once; `line` says how."""
        self._done += cells
        self.say(f"[{self._done}/{self._total}] {line}")
        if self._rich is not None and self._cells is not None:
            self._rich.advance(self._cells, cells)

    def reach(self, done: int) -> None:
        """So much of the overall count is done; a pipe hears of it now and then."""
        self._done = done
        if self._rich is not None and self._cells is not None:
            self._rich.update(self._cells, completed=done)
            return
        now = time.monotonic()
        if now - self._spoke > _LINE_SECONDS and done:
            self._spoke = now
            left = (now - self._began) / done * (self._total - done)
            self.say(f"    {done}/{self._total} {self._what}, about {left:.0f} s left")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(visible(line), markup=False, soft_wrap=True)

    def track(self, sequence: Sequence[Any], what: str) -> Iterator[Any]:
        """Iterate over something of known length."""
        if self._rich is not None:
            task = self._rich.add_task(_short(what), total=len(sequence))
            try:
                for each in sequence:
                    yield each
                    self._rich.advance(task)
            finally:
                self._rich.remove_task(task)
            return
        began = spoke = time.monotonic()
        for i, each in enumerate(sequence, 1):
            yield each
            now = time.monotonic()
            if now - spoke > _LINE_SECONDS and i < len(sequence):
                spoke = now
                left = (now - began) / i * (len(sequence) - i)
                self.say(f"    {what}: {i}/{len(sequence)}, about {left:.0f} s left")


def _short(what: str) -> str:
    what = visible(what)
    return what if len(what) <= 60 else what[:28] + "..." + what[-29:]
