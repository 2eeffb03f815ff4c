"""A study as a picture: one panel a metric, a dot a training, the mean of each arm with its 95 % interval.

Arms that have a place on an axis (N = 1, 5, 10, 20) are joined by a line over that axis, logarithmic where the places span
more than a factor of ten; other arms stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from reports.figures.style import INK, MUTED, Format, canvas, drawing, encode, fitted, line_colour

_SPAN = 10.0
"""Places that span more than this factor stand on a logarithmic axis."""
_ROOM = 1.0
"""How far, in ranges of the dots, an interval may stretch the panel: that of two trainings is 13 standard errors long."""
_WIDTH, _HEIGHT = 4.1, 2.9


@dataclass(frozen=True)
class Point:
    """One arm in one metric."""

    label: str
    value: float | None
    """Its place on the axis; None for an arm without one."""
    mean: float
    ci95: tuple[float, float] | None
    dots: tuple[float, ...]
    """One a training."""
    yardstick: bool = False
    partial: bool = False
    """Trainings are missing from the mean: it is drawn hollow."""


@dataclass(frozen=True)
class Panel:
    """One metric."""

    title: str
    unit: str
    points: tuple[Point, ...]
    chance: float | None = None
    ceiling: float | None = None


def study_figure(panels: Sequence[Panel], *, axis: str = "", format: Format = "png") -> bytes:
    """Panels in rows of two.

    Args:
        axis: name of the axis on which `Point.value` lies; without it arms stand side by side.

    Raises:
        ValueError: no panel, or a panel without a point.
    """
    if not panels or not all(panel.points for panel in panels):
        raise ValueError("a study's figure needs at least one panel, and a point in each")
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    with drawing():
        most = max(len(panel.points) for panel in panels)
        width, height = max(_WIDTH, 1.4 + 0.42 * most), _HEIGHT + (0.0 if axis else 0.5)
        figure = canvas(width * across, height * down)
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            _draw(axes, panel, axis, width)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.tight_layout(pad=0.9, w_pad=1.8, h_pad=1.4)
        return encode(figure, format)


def _draw(axes: Axes, panel: Panel, axis: str, width: float) -> None:
    placed = [point for point in panel.points if axis and point.value is not None]
    others = [point for point in panel.points if point not in placed]
    if placed:
        _line(axes, placed, axis)
        for i, point in enumerate(others):
            _level(axes, point.mean, fitted(point.label, width / 2, 7), "-" if i % 2 else "-.")
    else:
        _side_by_side(axes, others, width)
    low, high = _reach(panel.points)
    levels = {"chance": panel.chance, "ceiling": panel.ceiling}
    for name, level in levels.items():
        if level is not None and low <= level <= high:
            _level(axes, level, name, ":")
    axes.set_ylim(low, high)
    said = ", ".join(f"{name} {level:.3g}" for name, level in levels.items() if level is not None)
    unit = f" ({panel.unit})" if panel.unit else ""
    axes.set_title(fitted(f"{panel.title}{unit}", width * 0.8, 10), loc="left", pad=14 if said else 6)
    if said:
        axes.text(0, 1.02, said, transform=axes.transAxes, color=MUTED, fontsize=7, va="bottom")
    axes.grid(axis="y")


def _line(axes: Axes, points: Sequence[Point], axis: str) -> None:
    ordered = sorted(points, key=lambda point: (point.value or 0.0, point.label))
    x = [point.value or 0.0 for point in ordered]
    logarithmic = min(x) > 0 and max(x) / min(x) > _SPAN
    if logarithmic:
        axes.set_xscale("log")
    axes.plot(x, [point.mean for point in ordered], "-", color=line_colour(0), linewidth=1.2, zorder=3)
    for place, point in zip(x, ordered, strict=True):
        _mark(axes, place, point, line_colour(0))
    axes.set_xticks(x, [f"{place:g}" for place in x])
    axes.minorticks_off()
    axes.set_xlabel(fitted(axis, 2.0, 9))
    edge = 0.06
    if logarithmic:
        axes.set_xlim(min(x) * (min(x) / max(x)) ** edge, max(x) * (max(x) / min(x)) ** edge)
    else:
        room = edge * (max(x) - min(x)) or 0.5
        axes.set_xlim(min(x) - room, max(x) + room)


def _side_by_side(axes: Axes, points: Sequence[Point], width: float) -> None:
    for place, point in enumerate(points):
        _mark(axes, place, point, MUTED if point.yardstick else line_colour(0))
    names = [fitted(point.label, 1.3, 8) for point in points]
    turned = len(points) * 0.9 > width or max(map(len, names)) * len(names) > 14 * width
    axes.set_xticks(range(len(points)), names, rotation=28 if turned else 0, ha="right" if turned else "center")
    axes.set_xlim(-0.6, len(points) - 0.4)


def _mark(axes: Axes, place: float, point: Point, colour: str) -> None:
    """The mean, its interval and every training."""
    if point.ci95 is not None:
        axes.vlines(place, *point.ci95, color=colour, linewidth=1.4, zorder=3)
    fill, edge = ("white", colour) if point.partial else (colour, "white")
    axes.plot(place, point.mean, "o", color=fill, markersize=5.5, markeredgecolor=edge, zorder=4)
    # Beside the interval, so that neither hides the other.
    beside = axes.transData + ScaledTranslation(7 / 72, 0, axes.figure.dpi_scale_trans)
    ring: Any = {"color": "none", "markeredgecolor": INK, "markersize": 3.4, "markeredgewidth": 0.7}
    axes.plot([place] * len(point.dots), point.dots, "o", transform=beside, zorder=5, **ring)


def _level(axes: Axes, level: float, name: str, dashes: str) -> None:
    axes.axhline(level, color=MUTED, linewidth=0.8, linestyle=dashes, zorder=1)
    axes.annotate(
        name, (1.0, level), xycoords=("axes fraction", "data"), xytext=(0, 1.5), textcoords="offset points",
        ha="right", va="bottom", color=MUTED, fontsize=7, annotation_clip=True,
    )  # fmt: skip


def _reach(points: Sequence[Point]) -> tuple[float, float]:
    """Around all dots, and around the intervals as far as they do not flatten the dots."""
    dots = np.array([dot for point in points for dot in (*point.dots, point.mean)])
    low, high = float(dots.min()), float(dots.max())
    span = (high - low) or abs(high) * 0.1 or 1.0
    ends = [end for point in points if point.ci95 for end in point.ci95] or [low, high]
    margin = 0.08 * span
    return max(min([low, *ends]), low - _ROOM * span) - margin, min(max([high, *ends]), high + _ROOM * span) + margin
