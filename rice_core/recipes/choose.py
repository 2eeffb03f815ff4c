"""How fast and how long each objective is trained: chosen on the objective's own accuracy, no probe is looked at.

What is compared is an objective with itself: the share of examples whose positive beats every negative (`top1` in the metrics
log, the mean over its banks). The loss is no judge: with an angular margin it can fall while accuracy stays at chance.
A rate is chosen on the training's own examples; a length on scenes that are held out, since on examples that come
again and again accuracy rises long after nothing more is learnt. Choosing has scenes and seeds of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rice_core.curate.settings import CurateSettings
from rice_core.recipes.run import Workshop, held_out_of, metrics_of
from rice_core.recipes.study import replicate
from rice_core.train.config import TrainConfig

SEED, HELD_OUT = 90, 91
"""Of the scenes and weights on which settings are chosen, and of the scenes held out; no study has a replicate of these."""

HELD_OUT_SHARE = 2
"""One held-out scene for so many that are trained on: 5,000 for 10,000 give top-1 a standard error of .007 or less."""

WIDER = 3
"""Rates tried beyond those given, at most."""

ENOUGH = 0.02
"""A training twice as long that gains less than this (of 1) in held-out top-1 has converged before."""


_WHERE = "on held-out scenes"


@dataclass(frozen=True)
class Choice:
    """What was tried and what came out."""

    what: str
    skill: dict[float, float]
    """Value tried -> top-1."""
    chosen: float
    settled: bool = True
    """False: the longest tried was chosen, and it may not be long enough."""
    where: str = "in training"

    def __str__(self) -> str:
        tried = ", ".join(f"{value:g}: {skill:.3f}" for value, skill in self.skill.items())
        return f"{self.what} {self.chosen:g} (top-1 {self.where} at {tried})"


def best_rate(
    workshop: Workshop,
    name: str,
    make: Callable[[float], TrainConfig],
    rates: Sequence[float],
    scenes: int,
    curation: CurateSettings,
) -> Choice:
    """The learning rate with the highest top-1 at the end of a training of equal length.

    Where the best one tried is the lowest or the highest, half or twice that is tried as well, up to WIDER times: no
    objective is judged at the edge of what somebody else's rates happened to be.
    """
    data = workshop.data(SEED, scenes, curation)

    def measured(wanted: Sequence[float]) -> dict[float, float]:
        folders = workshop.train([replicate(make(rate), SEED, data) for rate in wanted])
        return {rate: skill_of(folder) for rate, folder in zip(wanted, folders, strict=True)}

    skill = measured(rates)
    for _ in range(WIDER):
        best = max(skill, key=lambda rate: skill[rate])
        if min(skill) < best < max(skill):
            break
        skill |= measured([best / 2 if best == min(skill) else best * 2])
    return Choice(f"{name}: learning rate", dict(sorted(skill.items())), max(skill, key=lambda rate: skill[rate]))


def long_enough(
    workshop: Workshop,
    makes: Mapping[str, Callable[[int], TrainConfig]],
    steps: int,
    scenes: int,
    curation: CurateSettings,
    *,
    doublings: int,
) -> dict[str, Choice]:
    """For each name the first length of which twice as many steps (a whole training anew, with its own schedule) gain
    less than ENOUGH on held-out scenes. The names are trained side by side.
    """
    data = workshop.data(SEED, scenes, curation)
    held_out = workshop.data(HELD_OUT, max(1, scenes // HELD_OUT_SHARE), curation, centers=data)
    skill: dict[str, dict[float, float]] = {name: {} for name in makes}
    chosen: dict[str, Choice] = {}
    for length in (steps << k for k in range(doublings + 1)):
        left = [name for name in makes if name not in chosen]
        configs = [replicate(makes[name](length), SEED, data, held_out) for name in left]
        for name, config, folder in zip(left, configs, workshop.train(configs), strict=True):
            tried = skill[name]
            tried[length] = _top1(held_out_of(folder, config))
            if length > steps and tried[length] - tried[length // 2] < ENOUGH:
                chosen[name] = Choice(f"{name}: steps", dict(tried), length // 2, where=_WHERE)
    for name, tried in skill.items():
        # Whether the longest that was tried has converged is not known, and the table's title says so.
        chosen.setdefault(
            name, Choice(f"{name}: steps (still rising)", dict(tried), max(tried), settled=False, where=_WHERE)
        )
    return chosen


def skill_of(folder: Path) -> float:
    """Top-1 in training, in [0, 1]: the mean over the last tenth of the logged lines and over banks."""
    rows = [row for row in metrics_of(folder) if "loss" in row]
    last = rows[-max(1, len(rows) // 10) :]
    found = [_top1(row) for row in last]
    return sum(found) / len(found) if found else 0.0


def _top1(row: Mapping[str, float | None]) -> float:
    """The mean over banks of a line of the metrics log."""
    found = [float(value) for key, value in row.items() if key.split("/")[-1] == "top1" and value is not None]
    return sum(found) / len(found) if found else 0.0
