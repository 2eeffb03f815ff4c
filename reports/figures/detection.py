"""Curves of detectors: precision by recall, and the loss in training. One line an encoder.

Letters: R the 101 recalls, S the steps that a training curve keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reports.figures.bodies import ApJson, Curve, KindAp, TrainingJson, read_all
from reports.figures.detection_legend import dashes, legend, legend_height, number
from reports.figures.style import Format, canvas, drawing, encode, line_colour, log_ticks

Floats = npt.NDArray[np.float64]

_WIDTH = 8.4
_PANEL = 2.25
"""Height of a panel, in inches."""
_IOUS = {"at_50": "0.50", "at_75": "0.75", "mean": "0.50:0.95"}
_SHORT = {"at_50": "AP50", "at_75": "AP75", "mean": "AP"}
_SMOOTH = 0.02
"""Standard deviation of the smoothing, as a share of the training."""
_RAW = 4
"""Up to so many encoders the losses as they are stand behind the smooth lines."""
_NARROW = 1.2
"""The scale of losses spans at least this factor."""
_LEAST = 1e-3
"""A loss of 0 has no place on a logarithmic axis; what is lower is drawn here."""


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


def training_figure(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of NAME-training.json: the sum of all losses by iteration, smoothed, on a logarithmic scale."""
    read = read_all(bodies, TrainingJson, "the training curve")
    below = legend_height(len(read))
    with drawing():
        height = below + 3.5
        figure = canvas(_WIDTH, height)
        axes = figure.add_axes((0.8 / _WIDTH, (below + 0.5) / height, 7.35 / _WIDTH, 2.85 / height))
        numbers, drawn = {}, []
        for i, (title, body) in enumerate(read.items()):
            iteration_S, loss_S = _ordered(body)
            smooth_S = smoothed(iteration_S, loss_S)
            drawn += [smooth_S, loss_S] if len(read) <= _RAW else [smooth_S]
            single = len(loss_S) == 1
            if len(read) <= _RAW:
                axes.plot(iteration_S, loss_S, color=line_colour(i), linewidth=0.6, alpha=0.22, zorder=2)
            axes.plot(
                iteration_S, smooth_S, color=line_colour(i), linestyle=dashes(i), linewidth=1.3, zorder=3,
                marker="o" if single else "", markersize=4,
            )  # fmt: skip
            numbers[title] = [f"{iteration_S[-1] + 1:,.0f}", _loss(float(smooth_S[-1]))]
        axes.set(xlabel="iteration", ylabel="sum of losses")
        axes.set_xlim(0, 1.02 * max(1.0, *(step.iteration for body in read.values() for step in body.curve)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        _vertical(axes, drawn)
        axes.grid(visible=True)
        legend(figure, ["iterations", "last, smooth"], numbers, left=0.8)
        return encode(figure, format)


def _ordered(body: TrainingJson) -> tuple[Floats, Floats]:
    """Iterations that rise, and their losses; of two of the same iteration the later entry counts."""
    loss = {step.iteration: max(step.loss, _LEAST) for step in body.curve}
    iteration_S = np.array(sorted(loss))
    return iteration_S, np.array([loss[each] for each in iteration_S.tolist()])


def smoothed(iteration_S: Floats, loss_S: Floats) -> Floats:
    """A mean over neighbours with Gaussian weights, in the logarithm as it is drawn."""
    spread = _SMOOTH * float(np.ptp(iteration_S)) or 1.0
    log_S = np.log(loss_S)
    found = np.empty_like(log_S)
    for place, here in enumerate(iteration_S.tolist()):
        first, last = np.searchsorted(iteration_S, [here - 4 * spread, here + 4 * spread], side="right")
        weight = np.exp(-0.5 * ((iteration_S[first:last] - here) / spread) ** 2)
        found[place] = weight @ log_S[first:last] / weight.sum()
    smooth_S: Floats = np.exp(found)
    return smooth_S


def _loss(value: float) -> str:
    return f"{value:#.3g}".rstrip(".") if value > 1.001 * _LEAST else f"≤ {_LEAST:g}"


def _vertical(axes: Axes, drawn: list[Floats]) -> None:
    """A logarithmic scale around all that is drawn."""
    low, high = min(float(each.min()) for each in drawn), max(float(each.max()) for each in drawn)
    room = max(_NARROW / (high / low), (high / low) ** 0.1) ** 0.5
    low, high = low / room, high * room
    axes.set_ylim(low, high)  # Before the scale: that would choose limits of its own, and warn of some.
    axes.set_yscale("log")
    log_ticks(axes.yaxis, low, high)
