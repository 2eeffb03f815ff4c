"""The ablations of the paper's Table 5: regions N, clusters K, negative rate rho, token labels M, one at a time.

    ricebench run table:5a                    on the miniature world, with values that mean something there
    ricebench run table:5a --base CONFIG      the paper's values over a training of one's own

Each arm changes one number of a base training. The paper's probes are detection (a to c) and document questions (d); those
here are the ones that the base names under `probe`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rice_core.errors import UserError
from rice_core.rice.config import ObjectiveConfig, TrainConfig
from rice_core.rice.recipes.mini import PROBES, SCALES, Scale, curation, objective, training
from rice_core.rice.recipes.run import Workshop
from rice_core.rice.recipes.study import StudyPlan, TrainingArm

Values = tuple[float, ...]


@dataclass(frozen=True)
class Ablation:
    """One of the four."""

    axis: str
    paper: Values
    """The rows of the table."""
    default: float
    mini: Values
    mini_default: float
    change: Callable[[ObjectiveConfig, float], dict[str, object]] | None
    """What the number replaces in an objective; None: it is curation's."""

    def over(self, base: TrainConfig, value: float) -> TrainConfig:
        """The base training with this one number changed."""
        if self.change is None:
            return base
        update = self.change(base.objective, value)
        return base.model_copy(update={"objective": base.objective.model_copy(update=update)})


ABLATIONS = {
    "5a": Ablation("N", (1, 5, 10, 20), 10, (1, 2, 4, 6, 10), 6, lambda _, n: {"regions": int(n)}),
    "5b": Ablation("K", (200_000, 500_000, 1_000_000, 2_000_000), 1_000_000, (30, 100, 300, 1000), 300, None),
    "5c": Ablation(
        "rho",
        (0.05, 0.1, 0.2, 0.5),
        0.1,
        (0.05, 0.1, 0.2, 0.5, 1.0),
        0.5,
        lambda old, rho: {"loss": old.loss.model_copy(update={"rho": rho})},
    ),
    "5d": Ablation("M", (3, 5, 10, 20), 10, (1, 2, 3), 3, lambda _, m: {"ocr_labels": int(m)}),
}


def table_5(workshop: Workshop, scale: str, seeds: tuple[int, ...], *, which: str) -> Iterator[StudyPlan]:
    """One ablation on the miniature world. Its images hold 4 objects and 1 or 2 words of 2 or 3 syllables."""
    ablation, size = ABLATIONS[which], SCALES[scale]
    base = training(size, f"table-{which}", objective("rice"))
    values = ablation.mini[:2] if scale == "smoke" else ablation.mini
    arms = tuple(_arm(ablation, base, size, value, values) for value in values)
    yield StudyPlan(
        f"table:{which}", arms, seeds, size.scenes, PROBES, axis=ablation.axis, control="equal steps", scale=scale
    )


def table_5_over(base: TrainConfig, seeds: tuple[int, ...], *, which: str) -> StudyPlan:
    """One ablation with the paper's values over a base training, which is curated already.

    For K the base's data path names a folder for each value, as in regions-{K}.

    Raises:
        UserError: the base has no `probe`, or its path no {K}.
    """
    ablation = ABLATIONS[which]
    if base.probe is None:
        raise UserError(f"{base.name} has no probe: say there how the encoders are judged (data, probes).")
    if ablation.change is None and "{K}" not in str(base.data.path):
        raise UserError(
            f"table:{which} compares curated folders: write data.path with {{K}} in it, as in regions-{{K}}."
        )
    arms = []
    for value in ablation.paper:
        path = Path(str(base.data.path).replace("{K}", f"{value:g}" if value < 1 else str(int(value))))
        config = ablation.over(base.model_copy(update={"data": base.data.model_copy(update={"path": path})}), value)
        arms.append(
            TrainingArm(f"{ablation.axis} = {value:g}", config, None, value=value, reference=value == ablation.default)
        )
    probes = {base.probe.data: base.probe.probes}
    return StudyPlan(
        f"table:{which}", tuple(arms), seeds, 0, probes, axis=ablation.axis, control="equal steps", scale=base.name
    )


def _arm(ablation: Ablation, base: TrainConfig, size: Scale, value: float, values: Values) -> TrainingArm:
    labels = curation(size, classes=min(int(value), size.scenes) if ablation.change is None else None)
    default = ablation.mini_default if ablation.mini_default in values else values[-1]
    label, config = f"{ablation.axis} = {value:g}", ablation.over(base, value)
    return TrainingArm(label, config, labels, value=value, reference=value == default)
