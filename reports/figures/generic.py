"""Figures that any probe may leave (`rice_core.figures`): one line an encoder where each has one series, else one panel an encoder.

Panels share their axes where they show the same, so that heights can be compared. What is None is a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from reports.figures.bodies import read_all
from reports.figures.detection_legend import ROW, dashes, legend, legend_height, mark
from reports.figures.style import COLOURS, INK, MUTED, Format, canvas, drawing, encode, fitted, line_colour, log_ticks
from reports.table import Column, Row, Table, Value
from rice_core.errors import UserError
from rice_core.figures import Axis, Bars, Heatmap, Histogram, Lines, Listing, Measured, Scatter

Floats = npt.NDArray[np.float64]
Joined = TypeVar("Joined", Lines, Scatter, Bars, Histogram)
Labels = Mapping[str, int]
"""Label of a series -> which colour it has, in all panels."""

_WIDTH, _PANEL = 8.4, 2.7
_DOTTED = 60
"""A line of so many points shows them."""
_TICKS = 30
"""So many names along an axis can be read."""


def lines(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of `rice_core.figures.Lines`."""

    def draw(axes: Axes, body: Lines, labels: Labels) -> None:
        for each in body.series:
            i, y_N = labels[each.label], _numbers(each.y)
            known_N = np.isfinite(y_N)
            beside_N = np.convolve(known_N, [1, 0, 1], "same") > 0
            # A point without neighbours is on no line.
            dots_N = known_N if len(y_N) <= _DOTTED else known_N & ~beside_N
            axes.plot(each.x, y_N, color=line_colour(i), linestyle=dashes(i), linewidth=1.3)
            axes.plot(np.array(each.x)[dots_N], y_N[dots_N], **mark(i))
        _axes(axes, body.x, body.y)

    return _sheet(_joined(read_all(bodies, Lines, "the figure")), draw, format)


def scatter(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of `rice_core.figures.Scatter`."""

    def draw(axes: Axes, body: Scatter, labels: Labels) -> None:
        for each in body.series:
            axes.plot(each.x, _numbers(each.y), **mark(labels[each.label]))
        _axes(axes, body.x, body.y)

    return _sheet(_joined(read_all(bodies, Scatter, "the figure")), draw, format, marks=True)


def bars(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of `rice_core.figures.Bars`."""

    def draw(axes: Axes, body: Bars, labels: Labels) -> None:
        wide = 0.8 / len(body.series)
        for place, each in enumerate(body.series):
            x_N = np.arange(len(each.values)) + wide * (place - (len(body.series) - 1) / 2)
            y_N = _numbers(each.values)
            i = labels[each.label]
            look: Any = {"color": line_colour(i), "hatch": "///" if i >= COLOURS else "", "edgecolor": "white"}
            axes.bar(x_N, np.nan_to_num(y_N), wide * 0.92, linewidth=0, zorder=2, **look)
            if each.errors or each.intervals:
                axes.errorbar(x_N, y_N, _whiskers(each, y_N), fmt="none", ecolor=INK, elinewidth=0.8, zorder=3)
            for x in x_N[~np.isfinite(y_N)]:
                axes.text(x, 0, "–", ha="center", va="bottom", color=MUTED, fontsize=7)
        axes.axhline(0, color=MUTED, linewidth=0.8, zorder=4)
        if not any(value for each in body.series for value in each.values):
            axes.set_ylim(0, 1)  # Around nothing but zeros matplotlib would show values below them.
        _axes(axes, body.x, body.y)
        _named(axes, "x", body.categories)

    return _sheet(_joined(read_all(bodies, Bars, "the figure")), draw, format)


def histogram(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of `rice_core.figures.Histogram`."""

    def draw(axes: Axes, body: Histogram, labels: Labels) -> None:
        for each in body.series:
            i, counts = labels[each.label], np.array(each.counts, np.float64)
            axes.stairs(
                100 * counts / counts.sum(), body.edges, color=line_colour(i), linestyle=dashes(i), linewidth=1.3
            )
        axes.set_ylim(bottom=0)
        _axes(axes, body.x, Axis(label="share in a bin", unit="%"))

    return _sheet(_joined(read_all(bodies, Histogram, "the figure")), draw, format)


def heatmap(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of `rice_core.figures.Heatmap`: a panel an encoder, all on one scale of colours."""
    read = read_all(bodies, Heatmap, "the figure")
    known = [value for body in read.values() for row in body.values for value in row if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="#dddddd")

    def draw(axes: Axes, body: Heatmap, labels: Labels) -> None:
        cells = np.array([_numbers(row) for row in body.values])
        shown = axes.imshow(cells, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        bar = axes.figure.colorbar(shown, ax=axes)
        bar.set_label(fitted(body.value.words, 2.2, 8), fontsize=8)
        _axes(axes, body.x, body.y)
        axes.grid(visible=False)
        _named(axes, "x", body.columns)
        _named(axes, "y", body.rows)

    return _sheet(read, draw, format, share=False)


def table(bodies: Mapping[str, Any]) -> Table:
    """`rice_core.figures.Listing`: the rows of all encoders, in their order.

    Raises:
        UserError: a body that is none, or encoders with other columns.
    """
    read = read_all(bodies, Listing, "the table")
    columns = {body.columns for body in read.values()}
    if len(columns) > 1:
        raise UserError("the encoders' tables have other columns; measure them with one version of the probe.")
    return Table(
        key="table",
        title="",
        columns=tuple(Column(str(i), axis.words, better="neither") for i, axis in enumerate(columns.pop())),
        rows=tuple(Row(title, tuple(map(_value, row))) for title, body in read.items() for row in body.rows),
    )


def _value(entry: str | int | float | None) -> Value:
    if entry is None or isinstance(entry, str):
        return Value(text=entry or "")
    return Value(value=float(entry), text=f"{entry:,}" if isinstance(entry, int) else f"{entry:.6g}")


def _joined(read: dict[str, Joined]) -> dict[str, Joined]:
    """One body with a series an encoder, where each has but one and they differ in nothing else; else as they are."""
    bodies = list(read.values())
    frames = {body.model_copy(update={"series": ()}) for body in bodies}
    if len(frames) > 1 or any(len(body.series) > 1 for body in bodies):
        return read
    series = tuple(body.series[0].model_copy(update={"label": title}) for title, body in read.items())
    return {"": bodies[0].model_copy(update={"series": series})}


def _sheet(
    read: Mapping[str, Any],
    draw: Callable[[Axes, Any, Labels], None],
    format: Format,
    *,
    marks: bool = False,
    share: bool = True,
) -> bytes:
    named = dict.fromkeys(each.label for body in read.values() for each in getattr(body, "series", ()))
    labels = {label: i for i, label in enumerate(named)}
    listed: dict[str, list[str]] = {label: [] for label in labels if label}
    share = share and len({(body.x, getattr(body, "y", None)) for body in read.values()}) == 1
    across = 1 if len(read) == 1 else 2 if len(read) <= 4 else 3
    down = -(-len(read) // across)
    below = legend_height(len(listed)) - ROW if listed else 0.0  # columns without numbers have no headings
    height = down * _PANEL + below
    with drawing():
        figure = canvas(_WIDTH, height)
        grid = figure.subplots(down, across, squeeze=False, sharex=share, sharey=share).ravel()
        for axes, (title, body) in zip(grid, read.items(), strict=False):
            draw(axes, body, labels)
            axes.set_title(fitted(title, _WIDTH / across - 0.8, 9), fontsize=9)
            axes.tick_params(labelbottom=True, labelleft=True)
        for axes in grid[len(read) :]:
            axes.set_visible(False)
        figure.tight_layout(rect=(0, below / height, 1, 1))
        if listed:
            legend(figure, [], listed, marks=marks)
        return encode(figure, format)


def _axes(axes: Axes, x: Axis, y: Axis) -> None:
    axes.set_xlabel(fitted(x.words, 3.5, 8), fontsize=8)
    axes.set_ylabel(fitted(y.words, 2.2, 8), fontsize=8)
    for said, set_scale, axis in ((x, axes.set_xscale, axes.xaxis), (y, axes.set_yscale, axes.yaxis)):
        if said.log:
            set_scale("log")
            log_ticks(axis, *sorted(axis.get_view_interval()))
    axes.grid(visible=True)


def _named(axes: Axes, direction: str, names: tuple[str, ...]) -> None:
    """Names along an axis; every n-th where there is no room for all."""
    places = range(0, len(names), -(-len(names) // _TICKS))
    words = [fitted(names[place], 1.1, 7) for place in places]
    turned = direction == "x" and sum(map(len, words)) > 40
    look: Any = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    (axes.set_xticks if direction == "x" else axes.set_yticks)(list(places), words, fontsize=7, **look)


def _whiskers(each: Measured, y_N: Floats) -> Floats:
    """How far they reach: [N] to either side, or [2, N] down and up. A hair beyond the value is rounding."""
    if each.errors:
        return _numbers(each.errors)
    ends_2N = np.array([pair or (np.nan, np.nan) for pair in each.intervals]).T
    return np.stack([y_N - ends_2N[0], ends_2N[1] - y_N]).clip(min=0)


def _numbers(row: tuple[float | None, ...]) -> Floats:
    return np.array([np.nan if value is None else value for value in row], np.float64)
