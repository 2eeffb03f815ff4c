"""Figure 4 of the paper: how far apart the tokens of one image are, for several encoders in one picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from reports.figures.bodies import Distances, TokensJson, read_all
from reports.figures.detection_legend import dashes
from reports.figures.style import MUTED, Format, canvas, drawing, encode, fitted, line_colour

Floats = npt.NDArray[np.float64]

_WIDTH = 0.02
"""Of a bin as drawn, in cosine distance."""
_LOW_TICKS, _HIGH_TICKS = (0, 0.5, 1, 2, 3, 4, 5), (0, 0.5, 2, 5, 10, 20, 35, 50)


def token_distance_figure(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of tokens.json: overlaid histograms of cosine distance, with a dot at each median.

    Heights are on a square-root scale: backgrounds whose tokens are all alike put a spike near 0 that would flatten
    everything else on a plain one.
    """
    read = {title: body.distances for title, body in read_all(bodies, TokensJson, "tokens.json").items()}
    with drawing():
        figure = canvas(8.4, max(3.1, 1.1 + 0.29 * len(read)))
        axes = figure.add_axes((0.065, 0.15, 0.485, 0.80))
        axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
        peaks = [_draw(axes, i, each) for i, each in enumerate(read.values())]
        axes.set(ylim=(0, max(peaks) * 1.12), xlim=_reach(list(read.values())), ylabel="density of token pairs")
        ticks = _LOW_TICKS if max(peaks) < 6 else _HIGH_TICKS
        axes.set_yticks([tick for tick in ticks if tick <= max(peaks) * 1.12])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("cosine distance between two tokens of an image")
        _legend(axes, read)
        return encode(figure, format)


def _draw(axes: Axes, i: int, each: Distances) -> float:
    """One histogram; returns its highest density."""
    edges, density = _density(each)
    axes.stairs(density, edges, color=line_colour(i), linestyle=dashes(i), linewidth=1.2, zorder=3)
    axes.stairs(density, edges, color=line_colour(i), alpha=0.07, fill=True, zorder=2)
    cell = int(np.searchsorted(edges, each.median, side="right")) - 1
    height = float(density[np.clip(cell, 0, len(density) - 1)])
    axes.plot(each.median, height, "o", color=line_colour(i), markeredgecolor="white", markersize=5.5, zorder=4)
    return float(density.max())


def _density(each: Distances) -> tuple[Floats, Floats]:
    """Edges and density where there is any, in bins joined to about `_WIDTH` where the file's are finer."""
    edges, counts = np.array(each.edges), np.array(each.counts, dtype=np.float64)
    join = max(1, round(_WIDTH / (edges[1] - edges[0])))
    if len(counts) % join == 0:
        edges, counts = edges[::join], counts.reshape(-1, join).sum(1)
    density = counts / counts.sum() / np.diff(edges)
    first, last = np.flatnonzero(counts)[[0, -1]]
    return edges[first : last + 2], density[first : last + 1]


def _reach(read: list[Distances]) -> tuple[float, float]:
    """From 0 to where 99.9 % of the pairs of each encoder are, at least 1."""
    ends = []
    for each in read:
        share = np.cumsum(each.counts) / sum(each.counts)
        ends.append(each.edges[int(np.searchsorted(share, 0.999)) + 1])
    return -0.01, max(1.0, *ends) + 0.03


def _legend(axes: Axes, read: Mapping[str, Distances]) -> None:
    """Drawn by hand: matplotlib's legend leaves out names that begin with an underscore, and cannot align numbers."""
    line, name, number = 1.04, 1.11, 1.86  # In widths of the axes, from its left edge.
    step = min(0.11, 0.98 / (len(read) + 1))
    axes.text(number, 0.99, "median ●", transform=axes.transAxes, ha="right", va="center", color=MUTED, fontsize=8)
    for i, (title, each) in enumerate(read.items()):
        y = 0.99 - step * (i + 1)
        strokes = axes.plot((line, name - 0.015), (y, y), color=line_colour(i), linestyle=dashes(i), linewidth=2)
        strokes[0].set(transform=axes.transAxes, clip_on=False)
        axes.text(name, y, fitted(title, 2.6, 8), transform=axes.transAxes, va="center", fontsize=8)
        axes.text(number, y, f"{each.median:.2f}", transform=axes.transAxes, ha="right", va="center", fontsize=8)
