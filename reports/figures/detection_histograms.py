"""How AP is spread over many categories: a strip an encoder, so that twelve are as easy to read as one.

Letters: B bins of AP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.detection_legend import number, text
from reports.figures.style import INK, MUTED, canvas, fitted, line_colour

_WIDTH = 8.4
_NAME = 2.1
"""Room for names, in inches."""
_STRIP, _TALL = 0.42, 1.0
"""Height of a strip, and the most where there are few, in inches."""
_HEAD, _FOOT = 0.46, 0.42
"""Above and below the strips of a block, in inches."""
_MEAN = 0.5
"""To the right of a strip, for the mean."""
_EDGES = np.arange(0, 101, 5)
Aps = Sequence[float | None]
"""One a category."""


def histograms(titles: Sequence[str], kinds: Sequence[str], values: Mapping[str, Sequence[Sequence[Aps]]]) -> Figure:
    """Strips of one column share a scale, the square root of the number of categories; a line is at the mean.

    Columns are kinds; where categories come in groups, columns are groups and kinds stand one above the other.

    Args:
        kinds: "box", "mask".
        values: group ("" where there are none) -> by kind, by encoder, by category.
    """
    cells = [[((kind, group), values[group][k]) for group in values] for k, kind in enumerate(kinds)]
    if len(values) == 1:
        cells = [[cell for row in cells for cell in row]]
    strip = max(_STRIP, min(_TALL, 2.2 / len(titles)))
    block = _HEAD + len(titles) * strip + _FOOT
    figure = canvas(_WIDTH, block * len(cells))
    for b, row in enumerate(cells):
        top, wide = block * (len(cells) - b), (_WIDTH - _NAME) / len(row)
        for i, title in enumerate(titles):
            name = fitted(title, _NAME - 0.25, 7.5)
            text(figure, _NAME - 0.12, top - _HEAD - (i + 0.72) * strip, name, ha="right", fontsize=7.5)
        for c, (key, by_encoder) in enumerate(row):
            _column(figure, key, by_encoder, (_NAME + c * wide, top), (wide, strip))
    return figure


def _column(
    figure: Figure,
    key: tuple[str, str],
    by_encoder: Sequence[Aps],
    corner: tuple[float, float],
    size: tuple[float, float],
) -> None:
    """One kind and group. `corner` is the upper left one, `size` that of a strip with its mean, in inches."""
    (left, top), (wide, strip) = corner, size
    kind, group = key
    defined = [[each for each in ap if each is not None] for ap in by_encoder]
    counts = [np.histogram(np.minimum(ap, 100.0), _EDGES)[0].astype(np.float64) for ap in defined]
    known = sum(any(ap is not None for ap in each) for each in zip(*by_encoder, strict=True))
    tallest = max(1, *(int(count_B.max()) for count_B in counts))
    words = f"{kind} AP, {max(map(len, defined)):,} {group} categories".replace("  ", " ")
    text(figure, left, top - 0.14, fitted(words, wide - 0.05, 8), fontsize=8)
    text(figure, left, top - 0.32, f"tallest bar {tallest:,}", fontsize=7, color=MUTED)
    text(figure, left + wide - 0.14, top - 0.32, "mean", ha="right", fontsize=7, color=MUTED)
    width, height = figure.get_size_inches()
    for i, count_B in enumerate(counts):
        bottom = top - _HEAD - (i + 1) * strip
        axes = figure.add_axes((left / width, bottom / height, (wide - _MEAN) / width, strip / height))
        # No mean where this encoder lacks a category that another has.
        mean = float(np.mean(defined[i])) if defined[i] and len(defined[i]) == known else None
        _strip(axes, count_B, tallest, mean, line_colour(i), last=i == len(counts) - 1)
        text(figure, left + wide - 0.14, bottom + 0.28 * strip, number(mean), ha="right", fontsize=7.5)


def _strip(
    axes: Axes, count_B: npt.NDArray[np.float64], tallest: int, mean: float | None, colour: str, *, last: bool
) -> None:
    axes.patch.set_alpha(0)
    axes.stairs(np.sqrt(count_B), _EDGES, color=colour, fill=True, zorder=2)
    if mean is not None:
        axes.axvline(mean, color="white", linewidth=2.4, zorder=3)
        axes.axvline(mean, color=INK, linewidth=1.0, zorder=4)
    axes.set(xlim=(0, 100), ylim=(0, tallest**0.5 * 1.12))
    axes.set_xticks(range(0, 101, 20))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelbottom=last, length=3 if last else 0, labelsize=7)
    axes.grid(axis="x", color="#ececec")
    if last:
        axes.set_xlabel("AP of a category (%)", fontsize=7.5, labelpad=2)
