"""Forest plot: one mean with its 95 % interval a row, on one scale. Drawn as SVG by the page, so it follows its colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from reports.board import PARTIAL, marked
from reports.judge import Judge, Standing
from reports.render.text import shown
from reports.table import Column, Value

_TICKS = 5


@dataclass(frozen=True)
class ForestRow:
    """Positions are percent of the width, as SVG takes them."""

    label: str
    number: str
    low: str
    middle: str
    high: str
    yardstick: bool


@dataclass(frozen=True)
class Forest:
    """Rows best first, those that lack seeds last; chance as a dashed line through all of them."""

    caption: str
    rows: tuple[ForestRow, ...]
    ticks: tuple[tuple[str, str], ...]
    """(position, words)."""
    chance: str
    """Position, or empty where there is none."""


def forest(judge: Judge, column: Column) -> Forest | None:
    """The plot of one metric; None where nothing has finished."""
    standings = judge.ranking(column)
    if not standings:
        return None
    chances = {metric.chance for at in standings for metric in at.entry.metrics(column)} - {None}
    chance = next(iter(chances)) if len(chances) == 1 else None
    ends = [end for at in standings for end in _interval(at)] + ([chance] if chance is not None else [])
    step = _step(min(ends), max(ends))
    margin = 0.04 * (max(ends) - min(ends)) or step
    low, high = min(ends) - margin, max(ends) + margin

    def place(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    ticks = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    digits = max(0, -math.floor(math.log10(step)))
    unit = f" ({column.unit})" if column.unit else ""
    dashed = ", dashed: chance" if chance is not None else ""
    partial = f" {PARTIAL} Not all seeds: no place in the order." if any(at.partial for at in standings) else ""
    return Forest(
        caption=f"{judge.group.probe.name}, {column.label}{unit}: mean over seeds and its 95 % interval{dashed}.{partial}",
        rows=tuple(_row(at, column, place) for at in standings),
        ticks=tuple((place(tick), f"{tick:z.{digits}f}") for tick in ticks),
        chance="" if chance is None else place(chance),
    )


def _row(at: Standing, column: Column, place: Callable[[float], str]) -> ForestRow:
    low, high = _interval(at)
    words = shown(Value(value=at.estimate.value, stderr=at.estimate.stderr), column)
    return ForestRow(
        label=f"{marked(at.entry)} {PARTIAL}" if at.partial else marked(at.entry),
        number=words.number + words.error,
        low=place(low),
        middle=place(at.estimate.value),
        high=place(high),
        yardstick=at.entry.yardstick,
    )


def _interval(at: Standing) -> tuple[float, float]:
    return at.estimate.ci95 or (at.estimate.value, at.estimate.value)


def _step(low: float, high: float) -> float:
    """1, 2 or 5 times a power of ten, so that about five steps cover the range."""
    rough = (high - low) / _TICKS or abs(high) / _TICKS or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
