"""A legend that is a table: the stroke of each encoder, its name, and its numbers in columns. Below a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.style import COLOURS, MUTED, fitted, line_colour

ROW = 0.17
"""Height of a line, in inches."""
_SIZE = 7.5
_STROKE = 0.30
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
_MARKERS = "osD^"


def legend_height(rows: int) -> float:
    """Inches, with the heading."""
    return (rows + 1) * ROW + 0.08


def legend(
    figure: Figure,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[str]],
    *,
    marks: bool = False,
    left: float = 0.5,
    step: float = 0.85,
) -> None:
    """Along the lower edge of the figure.

    Args:
        columns: headings of the numbers.
        rows: title -> its numbers, in the order in which encoders are coloured.
        marks: dots, as in a dot plot, and no lines.
        left: where it begins, in inches.
        step: width of a column of numbers, in inches.
    """
    width, height = figure.get_size_inches()
    ends = [width - 0.25 - step * (len(columns) - 1 - i) for i in range(len(columns))]
    name = left + _STROKE + 0.1
    room = (ends[0] - step if ends else width - 0.25) - name
    top = 0.06 + ROW * (len(rows) + 0.5)
    for end, heading in zip(ends, columns, strict=True):
        text(figure, end, top, fitted(heading, step - 0.08, _SIZE), ha="right", color=MUTED)
    for i, (title, numbers) in enumerate(rows.items()):
        y = top - ROW * (i + 1)
        look = mark(i) if marks else {"color": line_colour(i), "linestyle": dashes(i), "linewidth": 1.8}
        x = [left + _STROKE / 2] if marks else [left, left + _STROKE]
        figure.add_artist(Line2D([each / width for each in x], [y / height] * len(x), **look))
        text(figure, name, y, fitted(title, room, _SIZE))
        for end, number in zip(ends, numbers, strict=True):
            text(figure, end, y, number, ha="right")


def number(value: float | None) -> str:
    """To a tenth; a dash where there is none."""
    return "–" if value is None else f"{value:.1f}"


def mark(i: int) -> dict[str, Any]:
    """The dot of the i-th encoder: colours first, then other shapes."""
    shape = _MARKERS[i // COLOURS % len(_MARKERS)]
    return {
        "color": line_colour(i),
        "marker": shape,
        "linestyle": "none",
        "markersize": 4.6 if shape in "o^" else 3.9,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }


def dashes(i: int) -> Any:
    """The line of the i-th encoder: colours first, then dashes."""
    return _DASHES[i // COLOURS % len(_DASHES)]


def text(figure: Figure, x: float, y: float, words: str, *, fontsize: float = _SIZE, **look: Any) -> None:
    """At a place in inches from the lower left corner."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, words, va="center", fontsize=fontsize, **look)
