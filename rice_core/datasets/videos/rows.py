"""The one parser of annotation rows: x, y, width and height a line, parted by commas, tabs, spaces or semicolons."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rice_core.datasets.tracks import Floats
from rice_core.disk.paths import as_text
from rice_core.errors import UserError

_PARTED = re.compile(r"\s*[,;]\s*|\s+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE | re.ASCII)
_FORMS = {
    8: "8 numbers, a polygon as VOT has them; write the upright box around each, x,y,w,h",
    1: "1 number, as a file of flags has; give the file of the boxes, x,y,w,h a line",
}


class _Memory:
    """Numbers of files that were read before, the first so many bytes of them.

    A data set's truth is read when it is opened and again when it is judged, and a training reads a file for each pair that it draws.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._found: dict[tuple[Path, object], tuple[tuple[int, int, int], Floats]] = {}

    def read(self, path: Path, read: Callable[[Path], Floats]) -> Floats:
        """A copy, which may be written; anew where the file is another."""
        try:
            now = path.stat()
        except OSError:
            return read(path)  # which says why
        stamp, known = (now.st_ino, now.st_size, now.st_mtime_ns), self._found.get((path, read))
        if known is not None and known[0] == stamp:
            return known[1].copy()
        values = read(path)
        if values.nbytes <= self._left:
            self._left -= values.nbytes
            self._found[path, read] = stamp, values.copy()
        return values


_MEMORY = _Memory(most=32 * 2**20)


def read_rows(path: Path) -> Floats:
    """The boxes of a file, [rows, 4], one row as [1, 4]; NaN stays NaN. Nothing is mended.

    Raises:
        UserError: it cannot be read, or a row is no 4 numbers; the sentence names file and row (from 1).
    """
    return _MEMORY.read(path, _rows)


def _rows(path: Path) -> Floats:
    return parsed_rows(_text(path), _called(path))


def parsed_rows(text: str, called: str) -> Floats:
    """As `read_rows`, of text that is at hand; `called` is the file's name in a sentence.

    Raises:
        UserError: a row is no 4 numbers.
    """
    # An empty line between others is a row: without it all later ones would move up.
    lines = text.rstrip().splitlines()
    if (boxes_T4 := _boxes(lines)) is not None:
        return boxes_T4
    rows = _quickly(lines) or [_numbers(called, row, line) for row, line in enumerate(lines, start=1)]
    for row, numbers in enumerate(rows, start=1):
        if len(numbers) != 4:
            form = _FORMS.get(len(numbers), f"{len(numbers)} numbers; write x,y,w,h a line, with a decimal point")
            raise UserError(f"{called} has in row {row} {form}.")
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def read_flags(path: Path) -> Floats:
    """The numbers of a file, a line each or all on one line, as LaSOT has them; [numbers].

    Raises:
        UserError: it cannot be read, or holds something else than numbers.
    """
    return _MEMORY.read(path, _flags)


def _flags(path: Path) -> Floats:
    text = _text(path)
    values = _floats(text, "," if "," in text else None)
    if values is None:
        rows = (
            _numbers(_called(path), row, line, "a flag of each frame")
            for row, line in enumerate(text.splitlines(), start=1)
            if line.strip()
        )
        values = [value for row in rows for value in row]
    return np.array(values, np.float64)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{_called(path)} cannot be read ({str(error)[:80]}); check it.") from None


def _floats(text: str, part: str | None) -> list[float] | None:
    """All numbers of a text; None where it needs a closer look. A training reads a file for each pair that it draws."""
    if not text.isascii() or "_" in text:  # float() takes 1_0, and digits of other scripts
        return None
    try:
        return [*map(float, text.split(part))]
    except ValueError:
        return None


def _boxes(lines: list[str]) -> Floats | None:
    """Of lines that are parted as most data sets' and toolkits' are, all at once: line by line takes twice as long."""
    if {line.count(",") for line in lines} != {3}:
        return None
    values = _floats(",".join(lines), ",")
    return None if values is None else np.array(values).reshape(-1, 4)


def _quickly(lines: list[str]) -> list[list[float]] | None:
    """The numbers of each line; None where one of them needs a closer look."""
    part = "," if lines and "," in lines[0] else None
    rows = [_floats(line, part) for line in lines]
    return [row for row in rows if row] if all(rows) else None


def _numbers(called: str, row: int, line: str, wanted: str = "x,y,w,h a line") -> list[float]:
    values = _PARTED.split(re.sub(r"[,;]$", "", line.strip()))
    if wrong := next((value for value in values if not _NUMBER.fullmatch(value)), None):
        raise UserError(f"{called} has {wrong!r:.40} in row {row}, which is no number; write {wanted}.")
    if "" in values:
        raise UserError(f"{called} lacks a number in row {row} ({line.strip()!r:.40}); write {wanted}.")
    return [float(value) for value in values]


def _called(path: Path) -> str:
    """Enough of a path to find it, and nothing of the machine: `airplane-1/groundtruth.txt`."""
    return as_text("/".join(path.parts[-2:]))
