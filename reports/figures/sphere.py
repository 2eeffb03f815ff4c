"""Figure 1 of the paper: object features of several encoders, each laid out on a sphere by t-SNE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.bodies import Layout, TokensJson, read_all
from reports.figures.style import INK, MUTED, Colour, Format, canvas, class_colours, drawing, encode, fitted
from rice_core.errors import UserError

Floats = npt.NDArray[np.float64]

_COLUMNS = 4
_CELL = 1.95
"""Side of one panel in inches."""
_TEXT = 0.52
"""Height for the words above and below a panel."""
_LINE = 0.19
"""Height of a line of the legend."""
_NAMED = 16
"""With more classes than this a legend cannot be read, and their number is given instead."""
_LIGHT = np.array([-0.45, 0.55, 0.70])


def sphere_figure(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of tokens.json: one shaded sphere an encoder, four a row, seen from where most objects are in view; a colour is a class everywhere.

    Orthographic, so half of each sphere is hidden. Under each stands how far the map is to be trusted.
    Encoders without a t-SNE are left out; where none has one, that is a UserError.
    """
    read = {
        title: body.tsne for title, body in read_all(bodies, TokensJson, "tokens.json").items() if body.tsne is not None
    }
    if not read:
        raise UserError("No encoder has a t-SNE to draw; run the probe tokens on a data set with labels.")
    counted = Counter(layout.classes[label] for layout in read.values() for label in layout.labels)
    names = [name for name, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]
    colours = dict(zip(names, class_colours(len(names)), strict=True))
    rows = -(-len(read) // _COLUMNS)
    columns = -(-len(read) // rows)
    across = max(2, round(max(columns, 2) * 1.5))
    lines = -(-len(names) // across) if len(names) <= _NAMED else 1
    with drawing():
        width, height = max(columns, 2) * _CELL, rows * (_CELL + _TEXT) + lines * _LINE + 0.06
        figure = canvas(width, height)
        for i, (title, layout) in enumerate(read.items()):
            left = (i % columns + (max(columns, 2) - columns) / 2) * _CELL
            bottom = height - (i // columns + 1) * (_CELL + _TEXT) + 0.28
            axes = figure.add_axes((left / width, bottom / height, _CELL / width, _CELL / height))
            _draw(axes, title, layout, colours)
        _legend(figure, names, colours, across)
        return encode(figure, format)


def _draw(axes: Axes, title: str, layout: Layout, colours: Mapping[str, Colour]) -> None:
    points_N3 = _towards_viewer(np.array(layout.points))
    front_N = points_N3[:, 2] > 0
    order = np.argsort(points_N3[front_N, 2], kind="stable")  # The nearest last, on top.
    seen_N3 = points_N3[front_N][order]
    colour_N3 = np.array([colours[layout.classes[label]] for label in layout.labels])[front_N][order]
    depth_N1 = seen_N3[:, 2:]
    # Towards the rim a surface is seen at a slant: points fade into the ball there.
    shown_N3 = colour_N3 * (0.35 + 0.65 * depth_N1) + 0.86 * (0.65 - 0.65 * depth_N1)
    shown_N3 = shown_N3.clip(0, 1)  # rounding can put the nearest point a hair in front of the ball
    axes.imshow(_ball(), extent=(-1, 1, -1, 1), origin="lower", interpolation="bilinear", zorder=1)
    _graticule(axes)
    size_N = (4 + 9 * seen_N3[:, 2]) * min(1.6, (1000 / len(points_N3)) ** 0.5)
    axes.scatter(seen_N3[:, 0], seen_N3[:, 1], s=size_N, c=shown_N3, linewidths=0.25, edgecolors="white", zorder=3)
    axes.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal")
    axes.axis("off")
    middle: Any = {"ha": "center", "va": "center"}
    axes.text(0, 1.13, fitted(title, _CELL - 0.1, 8, bold=True), fontsize=8, weight="bold", color=INK, **middle)
    axes.text(0, -1.11, f"trustworthiness {layout.trustworthiness:.3f}", fontsize=7.5, color=INK, **middle)
    pure = f"{layout.neighbours}-NN purity {layout.purity:.2f} (chance {layout.purity_chance:.2f})"
    axes.text(0, -1.24, pure, fontsize=7, color=MUTED, **middle)


def _towards_viewer(points_N3: Floats) -> Floats:
    """Turn the sphere so that the most points are in front; x right, y up, z to the viewer."""
    points_N3 = points_N3 / np.linalg.norm(points_N3, axis=1, keepdims=True)
    z_3 = points_N3[int((points_N3 @ points_N3.T > 0).sum(1).argmax())]
    up_3 = np.eye(3)[int(np.abs(z_3).argmin())]
    x_3 = np.cross(up_3, z_3)
    x_3 /= np.linalg.norm(x_3)
    turned_N3: Floats = points_N3 @ np.stack([x_3, np.cross(z_3, x_3), z_3]).T
    return turned_N3


@cache
def _ball(pixels: int = 400) -> npt.NDArray[np.uint8]:
    """A matt white ball, lit from the upper left, as RGBA bytes; transparent outside. The same for every sphere."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, pixels)] * 2)
    radius = np.hypot(x, y)
    normal = np.stack([x, y, np.sqrt(np.clip(1 - radius**2, 0, 1))], -1)
    light = np.clip(normal @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    grey = 0.78 + 0.21 * light
    alpha = np.clip((1 - radius) * pixels / 2, 0, 1)
    rgba = np.stack([grey, grey, np.minimum(grey + 0.012, 1), alpha], -1)
    return (255 * rgba).round().astype(np.uint8)


def _graticule(axes: Axes) -> None:
    """Circles of latitude and meridians, every 30 degrees, on the near side; tilted a little so that the pole shows."""
    turn = np.linspace(0, 2 * np.pi, 181)
    rings = [
        (np.cos(angle) * np.sin(turn), np.full_like(turn, np.sin(angle)), np.cos(angle) * np.cos(turn))
        for angle in np.radians(np.arange(-60, 61, 30))
    ]
    rings += [
        (np.sin(turn) * np.sin(angle), np.cos(turn), np.sin(turn) * np.cos(angle))
        for angle in np.radians(np.arange(0, 180, 30))
    ]
    tilt = np.radians(20)
    # One line with gaps: a line a ring takes matplotlib several times as long.
    x, y, z = (np.concatenate([np.append(ring[axis], np.nan) for ring in rings]) for axis in range(3))
    y, z = y * np.cos(tilt) - z * np.sin(tilt), y * np.sin(tilt) + z * np.cos(tilt)
    axes.plot(x, np.where(z > 0, y, np.nan), color="white", linewidth=0.5, alpha=0.8, zorder=2)


def _legend(figure: Figure, names: list[str], colours: Mapping[str, Colour], across: int) -> None:
    width, height = figure.get_size_inches()
    if len(names) > _NAMED:
        words = f"one colour a class, {len(names)} classes"
        figure.text(0.5, 0.1 / height, words, ha="center", va="center", fontsize=7.5, color=MUTED)
        return
    lines = -(-len(names) // across)
    for i, name in enumerate(names):
        x = 0.1 / width + i % across / across
        y = (0.1 + _LINE * (lines - 1 - i // across)) / height
        figure.text(x, y, "●", color=colours[name], ha="left", va="center", fontsize=8)
        figure.text(x + 0.13 / width, y, fitted(name, width / across - 0.3, 7.5), ha="left", va="center", fontsize=7.5)
