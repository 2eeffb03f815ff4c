"""Losses of detectors in training: their sum, and each of them. One line an encoder. Letters: S the steps that a curve keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reports.figures.bodies import TrainingJson, read_all
from reports.figures.detection_legend import ROW, dashes, legend, legend_height
from reports.figures.style import Format, canvas, drawing, encode, fitted, line_colour, log_ticks
from rice_core.errors import UserError

Floats = npt.NDArray[np.float64]
LossCurve = tuple[Floats, Floats]
"""Iterations that rise, and the losses there."""

_WIDTH = 8.4
_ROW = 1.75
"""Height of a row of three panels, in inches."""
_SMOOTH = 0.02
"""Standard deviation of the smoothing, as a share of the training."""
_RAW = 4
"""Up to so many encoders the losses as they are stand behind the smooth lines."""
_NARROW = 1.2
"""The scale of losses spans at least this factor."""
_LEAST = 1e-3
"""A loss of 0 has no place on a logarithmic axis; what is lower is drawn here."""
_NAMES = {
    "loss_rpn_cls": "proposals: object or not",
    "loss_rpn_loc": "proposals: box",
    "loss_mask": "mask",
    **{f"loss_cls_stage{stage}": f"stage {stage + 1}: category" for stage in range(3)},
    **{f"loss_box_reg_stage{stage}": f"stage {stage + 1}: box" for stage in range(3)},
}
"""In the order in which they are drawn."""


def training_figure(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of NAME-training.json: the sum of all losses by iteration, smoothed, on a logarithmic scale."""
    read = read_all(bodies, TrainingJson, "the training curve")
    curves = [_curve({step.iteration: step.loss for step in body.curve}) for body in read.values()]
    below = legend_height(len(read))
    with drawing():
        height = below + 3.5
        figure = canvas(_WIDTH, height)
        axes = figure.add_axes((0.8 / _WIDTH, (below + 0.5) / height, 7.35 / _WIDTH, 2.85 / height))
        last = _draw(axes, curves, ticks=6)
        axes.set(xlabel="iteration", ylabel="sum of losses")
        numbers = {
            title: [f"{max(step.iteration for step in body.curve) + 1:,.0f}", _loss(value)]
            for (title, body), value in zip(read.items(), last, strict=True)
        }
        legend(figure, ["iterations", "last, smooth"], numbers, left=0.8)
        return encode(figure, format)


def losses_figure(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of NAME-training.json: a panel a loss, smoothed, each on a logarithmic scale of its own. Raises UserError: no loss is named."""
    read = read_all(bodies, TrainingJson, "the training curve")
    there = dict.fromkeys(name for body in read.values() for step in body.curve for name in step.parts)
    names = [name for name in _NAMES if name in there] + [name for name in there if name not in _NAMES]
    if not names:
        raise UserError("no training curve names its losses; measure again with ricebench run --only all.")
    down, below = -(-len(names) // 3), legend_height(len(read)) - ROW
    with drawing():
        height = below + down * _ROW + 0.1
        figure = canvas(_WIDTH, height)
        grid = figure.subplots(down, 3, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            parts = (
                {step.iteration: step.parts[name] for step in body.curve if name in step.parts}
                for body in read.values()
            )
            _draw(axes, [_curve(part) for part in parts], ticks=4)
            axes.set_title(fitted(_NAMES.get(name, name), 2.3, 9), fontsize=9)
            axes.tick_params(labelsize=7)
        for axes in grid[len(names) :]:
            axes.set_visible(False)
        figure.tight_layout(rect=(0, below / height, 1, 1))
        legend(figure, [], dict.fromkeys(read, ()), left=0.5)
        return encode(figure, format)


def _curve(losses: Mapping[float, float]) -> LossCurve | None:
    """By iteration, from the loss at each; None without any."""
    iteration_S = np.array(sorted(losses))
    return (iteration_S, np.array([max(losses[each], _LEAST) for each in iteration_S.tolist()])) if losses else None


def _draw(axes: Axes, curves: Sequence[LossCurve | None], *, ticks: int) -> list[float]:
    """A line an encoder, on a logarithmic scale around all that is drawn; the last smooth value of each, NaN for none."""
    drawn, last, end = [], [float("nan")] * len(curves), 1.0
    for i, curve in enumerate(curves):
        if curve is None:
            continue
        iteration_S, loss_S = curve
        smooth_S = smoothed(iteration_S, loss_S)
        last[i], end = float(smooth_S[-1]), max(end, float(iteration_S[-1]))
        drawn += [smooth_S, loss_S] if len(curves) <= _RAW else [smooth_S]
        if len(curves) <= _RAW:
            axes.plot(iteration_S, loss_S, color=line_colour(i), linewidth=0.6, alpha=0.22, zorder=2)
        axes.plot(
            iteration_S, smooth_S, color=line_colour(i), linestyle=dashes(i), linewidth=1.3, zorder=3,
            marker="o" if len(loss_S) == 1 else "", markersize=4,
        )  # fmt: skip
    axes.set_xlim(0, 1.02 * end)
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    low, high = min(float(each.min()) for each in drawn), max(float(each.max()) for each in drawn)
    room = max(_NARROW / (high / low), (high / low) ** 0.1) ** 0.5
    low, high = low / room, high * room
    axes.set_ylim(low, high)  # Before the scale: that would choose limits of its own, and warn of some.
    axes.set_yscale("log")
    log_ticks(axes.yaxis, low, high)
    axes.grid(visible=True)
    return last


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
