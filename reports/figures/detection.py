"""Curves of detectors: precision by recall. One line an encoder. Letters: R the 101 recalls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from reports.figures.bodies import ApJson, Curve, KindAp, read_all
from reports.figures.detection_legend import dashes, legend, legend_height, number
from reports.figures.style import Format, canvas, drawing, encode, line_colour

_WIDTH = 8.4
_PANEL = 2.25
"""Height of a panel, in inches."""
_IOUS = {"at_50": "0.50", "at_75": "0.75", "mean": "0.50:0.95"}
_SHORT = {"at_50": "AP50", "at_75": "AP75", "mean": "AP"}


def precision_recall_figure(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of NAME-ap.json: a panel an IoU, a row for boxes and one for masks where there are some; the legend has the areas."""
    read = {title: body.kinds for title, body in read_all(bodies, ApJson, "the AP file").items()}
    kinds = ["box", "mask"] if any(each.mask for each in read.values()) else ["box"]
    below = legend_height(len(read))
    with drawing():
        height = below + 0.5 + len(kinds) * (_PANEL + 0.12) + 0.25
        figure = canvas(_WIDTH, height)
        for row, kind in enumerate(kinds):
            for column, (field, iou) in enumerate(_IOUS.items()):
                place = (0.65 + column * 2.61, height - 0.27 - _PANEL - row * (_PANEL + 0.14), 2.31, _PANEL)
                axes = figure.add_axes(tuple(np.array(place) / [_WIDTH, height, _WIDTH, height]))
                curves = [_curve(getattr(each, kind), field) for each in read.values()]
                _panel(axes, curves, first=column == 0, last=row == len(kinds) - 1, kind=kind)
                if row == 0:
                    axes.set_title(f"IoU {iou}", pad=5, fontsize=9)
        columns = [f"{kind} {short}" for kind in kinds for short in _SHORT.values()]
        areas = {
            title: [number(area(_curve(getattr(each, kind), field))) for kind in kinds for field in _SHORT]
            for title, each in read.items()
        }
        legend(figure, columns, areas, left=0.65, step=0.72)
        return encode(figure, format)


def _curve(kind: KindAp | None, field: str) -> Curve | None:
    return getattr(kind.precision, field) if kind else None


def _panel(axes: Axes, curves: list[Curve | None], *, first: bool, last: bool, kind: str) -> None:
    for i, curve in enumerate(curves):
        if curve is not None:
            precision_R = np.array([np.nan if value is None else value for value in curve])
            axes.plot(np.arange(101), precision_R, color=line_colour(i), linestyle=dashes(i), linewidth=1.2)
    axes.set(xlim=(0, 100), ylim=(-1.5, 101.5))  # So that a line at 0 or 100 is seen whole.
    axes.set_xticks(range(0, 101, 20))
    axes.set_yticks(range(0, 101, 20))
    axes.tick_params(labelleft=first, labelbottom=last)
    if first:
        axes.set_ylabel(f"precision of {'boxes' if kind == 'box' else 'masks'} (%)")
    if last:
        axes.set_xlabel("recall (%)")
    axes.grid(visible=True)


def area(curve: Curve | None) -> float | None:
    """Under a curve of precision in percent, in percent; None where a part of it is not defined."""
    if curve is None or any(value is None for value in curve):
        return None
    return float(np.mean([value for value in curve if value is not None]))
