"""The ablations of the paper's Table 5: regions N, clusters K, negative rate rho, token labels M, one at a time.

    ricebench run table:5a           on the miniature world, with values that mean something there
    ricebench run table:5a --base CONFIG    the paper's values over a training of one's own

Each arm changes one number of a base training. The paper's probes are detection (a to c) and document questions (d).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rice_core.recipes.mini import PROBES, SCALES, Scale, curation, objective, training
from rice_core.recipes.run import Workshop
from rice_core.recipes.study import Arm, Study
from rice_core.train.config import ObjectiveConfig, TrainConfig

Values = tuple[float, ...]


@dataclass(frozen=True)
class Ablation:
    """One of the four."""

    axis: str
    paper: Values
    """The values of Table 5, bold row first in mind: N = 10, K = 1M, rho = 0.1, M = 10."""
    default: float
    mini: Values
    mini_default: float
    change: Callable[[ObjectiveConfig, float], ObjectiveConfig] | None
    """None: the number is curation's."""


def _regions(config: ObjectiveConfig, n: float) -> ObjectiveConfig:
    return config.model_copy(update={"regions": int(n)})


def _rho(config: ObjectiveConfig, rho: float) -> ObjectiveConfig:
    return config.model_copy(update={"loss": config.loss.model_copy(update={"rho": rho})})


def _labels(config: ObjectiveConfig, m: float) -> ObjectiveConfig:
    return config.model_copy(update={"ocr_labels": int(m)})


ABLATIONS = {
    "5a": Ablation("N", (1, 5, 10, 20), 10, (1, 2, 4, 6, 10), 6, _regions),
    "5b": Ablation("K", (200_000, 500_000, 1_000_000, 2_000_000), 1_000_000, (30, 100, 300, 1000), 300, None),
    "5c": Ablation("rho", (0.05, 0.1, 0.2, 0.5), 0.1, (0.05, 0.1, 0.2, 0.5, 1.0), 0.5, _rho),
    "5d": Ablation("M", (3, 5, 10, 20), 10, (1, 2, 3), 3, _labels),
}


def table_5(workshop: Workshop, scale: str, seeds: tuple[int, ...], *, which: str) -> Iterator[Study]:
    """One ablation on the miniature world. Its images hold 4 objects and 1 or 2 words of 2 or 3 syllables."""
    ablation, size = ABLATIONS[which], SCALES[scale]
    base = training(size, f"table-{which}", objective("rice"))
    values = ablation.mini if scale == "mini" else ablation.mini[:2]
    arms = tuple(_arm(ablation, base, size, value, values) for value in values)
    yield Study(
        f"table:{which}", arms, seeds, size.scenes, PROBES, axis=ablation.axis, control="equal steps", scale=scale
    )


def _arm(ablation: Ablation, base: TrainConfig, size: Scale, value: float, values: Values) -> Arm:
    config, labels = base, curation(size)
    if ablation.change is None:
        labels = curation(size, classes=min(int(value), size.scenes))
    else:
        config = base.model_copy(update={"objective": ablation.change(base.objective, value)})
    default = ablation.mini_default if ablation.mini_default in values else values[-1]
    return Arm(f"{ablation.axis} = {value:g}", config, labels, value=value, reference=value == default)
