"""Which stage a step belongs to, and its learning rate: functions of the configuration and the step, so resuming needs no state."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rice_core.rice.config import Stage, TrainConfig


@dataclass(frozen=True)
class Leg:
    """A stage with its place in the whole training; steps count from 0."""

    index: int
    stage: Stage
    first: int
    """Its first step."""
    end: int
    """The step after its last one."""


def legs(config: TrainConfig) -> tuple[Leg, ...]:
    """The stages one after the other."""
    out, first = [], 0
    for index, (stage, steps) in enumerate(zip(config.stages, config.steps, strict=True)):
        out.append(Leg(index, stage, first, first + steps))
        first += steps
    return tuple(out)


def rate_at(config: TrainConfig, leg: Leg, step: int) -> float:
    """The trunk's learning rate at a step: linear warm-up at the start of the first stage, then cosine to zero over each.

    peak = optimizer.rate * stage.rate; with n steps of which w warm up, and i the step within the stage:
    peak * (i + 1) / w for i < w, else peak * (1 + cos(pi * (i - w) / (n - w))) / 2.
    """
    peak = config.optimizer.rate * leg.stage.rate
    i, n = step - leg.first, leg.end - leg.first
    w = config.optimizer.warm_up if leg.index == 0 else 0
    if i < w:
        return peak * (i + 1) / w
    return peak * 0.5 * (1 + math.cos(math.pi * (i - w) / (n - w)))
