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

from rice_core.rice.config import TrainConfig
from rice_core.rice.curate.settings import CurateSettings
from rice_core.rice.recipes.run import Workshop, held_out_of
from rice_core.rice.recipes.study import replicate
from rice_core.train.metrics import MetricsLog

SEED, HELD_OUT = 90, 91
"""Of the scenes and weights on which settings are chosen, and of the scenes held out; no study has a replicate of these."""

WIDER = 3
"""Rates tried beyond those given, at most."""

ENOUGH = 0.02
"""Of top-1, which is at most 1: what gains less has gained nothing."""


@dataclass(frozen=True)
class TunedSetting:
    """What was tried and what came out."""

    what: str
    skill: dict[float, float]
    """Value tried -> top-1."""
    chosen: float
    settled: bool = True
    """False: the longest tried still gained, and may not be long enough."""
    where: str = "in training"

    def __str__(self) -> str:
        tried = ", ".join(f"{value:g}: {skill:.3f}" for value, skill in self.skill.items())
        return f"{self.what} {self.chosen:g} (top-1 {self.where} at {tried})"


def best_rate(
    workshop: Workshop,
    name: str,
    make: Callable[..., TrainConfig],
    rates: Sequence[float],
    scenes: int,
    curation: CurateSettings,
) -> TunedSetting:
    """The learning rate with the highest top-1 at the end of a training of equal length.

    Where the best one tried is the lowest or the highest, half or twice that is tried as well, up to WIDER times: no
    objective is judged at the edge of what somebody else's rates happened to be.

    Args:
        make: (rate=) -> the training.
    """
    data = workshop.data(SEED, scenes, curation)

    def measured(wanted: Sequence[float]) -> dict[float, float]:
        folders = workshop.train([replicate(make(rate=rate), SEED, data) for rate in wanted])
        return {rate: skill_of(folder) for rate, folder in zip(wanted, folders, strict=True)}

    skill = measured(rates)
    for _ in range(WIDER):
        best = max(skill, key=lambda rate: skill[rate])
        if min(skill) < best < max(skill):
            break
        skill |= measured([best / 2 if best == min(skill) else best * 2])
    return TunedSetting(f"{name}: learning rate", dict(sorted(skill.items())), max(skill, key=lambda rate: skill[rate]))


def long_enough(
    workshop: Workshop,
    makes: Mapping[str, Callable[..., TrainConfig]],
    steps: int,
    scenes: int,
    held_out: int,
    curation: CurateSettings,
    *,
    doublings: int,
) -> dict[str, TunedSetting]:
    """For each name the length with the best top-1 on held-out scenes.

    Every length is a whole training anew, with its own schedule. All names are tried at the same lengths, doubled until a
    doubling gains less than ENOUGH for every one of them: an objective on a plateau is not given up while another still learns.

    Args:
        makes: by name, (steps=) -> the training.
    """
    data = workshop.data(SEED, scenes, curation)
    judge = workshop.data(HELD_OUT, held_out, curation, centers=data)
    skill: dict[str, dict[float, float]] = {name: {} for name in makes}
    for length in (steps << k for k in range(doublings + 1)):
        configs = [replicate(make(steps=length), SEED, data, judge) for make in makes.values()]
        for name, config, folder in zip(makes, configs, workshop.train(configs), strict=True):
            skill[name][length] = _top1(held_out_of(folder, config))
        if length > steps and not any(_rises(tried) for tried in skill.values()):
            break
    return {name: _best(name, tried) for name, tried in skill.items()}


def _rises(tried: Mapping[float, float]) -> bool:
    """Whether the last doubling still gained something."""
    last = max(tried)
    return tried[last] - tried.get(last / 2, 0.0) >= ENOUGH


def _best(name: str, tried: dict[float, float]) -> TunedSetting:
    rises = _rises(tried)
    # Whether the longest that was tried has converged is then not known, and the table's title says so.
    what = f"{name}: steps (still rising)" if rises else f"{name}: steps"
    best = max(tried, key=lambda length: tried[length])
    return TunedSetting(what, tried, best, settled=not rises, where="on held-out scenes")


def skill_of(folder: Path) -> float:
    """Top-1 in training, in [0, 1]: the mean over the last tenth of the logged lines and over banks."""
    rows = [row for row in MetricsLog(folder).rows() if "loss" in row]
    last = rows[-max(1, len(rows) // 10) :]
    found = [_top1(row) for row in last]
    return sum(found) / len(found) if found else 0.0


def _top1(row: Mapping[str, float | None]) -> float:
    """The mean over banks of a line of the metrics log."""
    found = [float(value) for key, value in row.items() if key.split("/")[-1] == "top1" and value is not None]
    return sum(found) / len(found) if found else 0.0
