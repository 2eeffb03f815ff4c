"""Studies on the miniature world: which objective, and which form of the loss, makes the better encoder there.

    ricebench run mini:encoders      three objectives between floors and a ceiling, at equal compute and at convergence
    ricebench run mini:losses        two forms of the loss x two margins

All arms of a study see the same images, regions and labels through the same trunk. `smoke` is the same in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from rice_core.model.vit import ViTConfig
from rice_core.rice.config import (
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    ObjectiveName,
    OptimizerConfig,
    ResolutionStage,
    TrainConfig,
)
from rice_core.rice.curate.settings import CurateSettings
from rice_core.rice.loss.config import LossConfig
from rice_core.rice.recipes.choose import TunedSetting, best_rate, long_enough
from rice_core.rice.recipes.compute import training_flops
from rice_core.rice.recipes.run import Workshop
from rice_core.rice.recipes.study import NO_DATA, StudyPlan, TrainingArm

PROBES = {
    "mini": ("knn?recipe=mini", "linear?recipe=mini", "linear-seg?grid=12&recipe=mini"),
    "mini-words": ("linear?recipe=mini",),
}
"""Objects: told apart, and found. Words: read."""

RATES = (1e-3, 2e-3)
"""That each objective begins to choose from; see `best_rate`."""


OBJECTIVES: tuple[ObjectiveName, ...] = ("rice", "mlcd", "siglip")


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    scenes: int
    """Training images of a replicate."""
    few: int
    """The same where trainings go on until they gain nothing: with 10,000 scenes that took more than 4,800 steps."""
    held_out: int
    steps: int
    """Of the comparison at equal compute, and the shortest length tried."""
    vit: ViTConfig
    clusters: int
    batch: int = 32
    doublings: int = 1
    """Of the length, while looking for convergence."""


MINI = Scale(
    scenes=10_000,
    few=2_500,
    # Give top-1 a standard error of .007 or less.
    held_out=5_000,
    steps=600,
    vit=ViTConfig(width=64, depth=3, heads=2),
    clusters=300,
    doublings=3,
)
SCALES = {
    "smoke": Scale(
        scenes=64, few=64, held_out=32, steps=6, vit=ViTConfig(width=32, depth=2, heads=2), clusters=24, batch=8
    ),
    "mini": MINI,
    # As many scenes for the second table as for the first, which takes hours of a GPU (docs/log.md).
    "long": replace(MINI, few=10_000, doublings=6),
}


def curation(
    scale: Scale, *, labels: Literal["clusters", "truth"] = "clusters", classes: int | None = None
) -> CurateSettings:
    """Regions where the objects are (proposals are ground truth boxes), labels from clustering what they look like."""
    return CurateSettings(
        proposals="coco",
        text="annotations",
        tokenizer="syllables",
        features="hog",
        labels=labels,
        captions="coco",
        classes=classes or scale.clusters,
        image_classes=scale.clusters,
        min_image=0,
        min_box=0,
        min_text_score=0.0,
        shard_samples=max(2, scale.scenes // 16),
    )


def training(
    scale: Scale, name: str, objective: ObjectiveConfig, *, rate: float = 1e-3, steps: int | None = None
) -> TrainConfig:
    """One training; what is not named here is the same for every objective."""
    resolution = scale.vit.resolution
    return TrainConfig(
        name=name,
        model=ModelConfig(vit=scale.vit, region_layers=scale.vit.depth, start="whitened"),
        objective=objective,
        data=DataConfig(path=NO_DATA, streams=8, crop_scale=(1.0, 1.0), overlap=0.15),
        stages=(ResolutionStage(resolution=resolution, samples=scale.batch * (steps or scale.steps)),),
        batch=scale.batch,
        optimizer=OptimizerConfig(rate=rate, weight_decay=0.05, warm_up=max(1, scale.steps // 12)),
        # The world is light: these put its pixels near zero mean and unit variance.
        mean=(0.8,) * 3,
        std=(0.2,) * 3,
        # A CPU without bfloat16 units emulates it: 8 times slower than float32.
        precision="fp32",
        save_every=200,
        # Each line is one batch; choosing averages the last tenth of them.
        log_every=2,
    )


def objective(name: str, *, loss: LossConfig | None = None) -> ObjectiveConfig:
    """The settings of one objective at miniature size. One loss for rice and mlcd: they differ in what it is asked of."""
    return ObjectiveConfig.model_validate(
        {
            "name": name,
            "loss": loss or LOSS,
            "regions": 6,
            "ocr_share": 1 / 3,
            "ocr_labels": 3,
            "tokenizer": "words",
            "text_width": 96,
            "text_depth": 2,
            "text_heads": 3,
            "text_tokens": 40,
        }
    )


LOSS = LossConfig(form="softmax", margin="cos", m=0.3, s=16.0, rho=0.5)
"""A smaller scale and rho than the paper's, for a few hundred classes instead of a million."""


def encoders(workshop: Workshop, scale: str, seeds: tuple[int, ...]) -> Iterator[StudyPlan]:
    """The three objectives between untrained weights and a supervised ceiling: at equal compute, then, on fewer scenes,
    trained to convergence.

    Each objective has the learning rate that its own training curves ask for, and for the second table the length that is
    best on scenes that are held out.
    """
    size = SCALES[scale]
    rates = {name: _rate(workshop, size, name) for name in OBJECTIVES}
    # One step of each costs the same trunk; what heads add is counted and taken off the number of steps.
    flops = {name: training_flops(training(size, name, objective(name)), curation(size)) for name in OBJECTIVES}
    steps = {name: round(size.steps * flops["rice"] / flops[name]) for name in OBJECTIVES}
    yield _encoders(size, scale, seeds, rates, steps, "equal compute")
    few = replace(size, scenes=size.few)
    makes: dict[str, partial[TrainConfig]] = {
        name: partial(training, few, name, objective(name), rate=rates[name]) for name in OBJECTIVES
    }
    found = long_enough(workshop, makes, few.steps, few.scenes, few.held_out, curation(few), doublings=few.doublings)
    lengths = {name: int(_say(workshop, found[name])) for name in OBJECTIVES}
    yield _encoders(few, scale, seeds, rates, lengths, _converged(found, few.scenes))


def losses(workshop: Workshop, scale: str, seeds: tuple[int, ...]) -> Iterator[StudyPlan]:
    """Both forms of the loss with both margins: the same rho, s, m and steps, each with its own learning rate."""
    size = SCALES[scale]
    arms = []
    for form in ("two_sided", "softmax"):
        for margin in ("arc", "cos"):
            loss = LOSS.model_copy(update={"form": form, "margin": margin})
            what = objective("rice", loss=loss)
            make = partial(training, size, f"{form}-{margin}", what)
            rate = _say(workshop, best_rate(workshop, f"{form}, {margin}", make, RATES, size.scenes, curation(size)))
            arms.append(
                TrainingArm(
                    f"{form}, {margin}",
                    make(rate=rate),
                    curation(size),
                    reference=(form, margin) == ("two_sided", "arc"),
                )
            )
    yield StudyPlan("mini:losses", tuple(arms), seeds, size.scenes, PROBES, control="equal steps", scale=scale)


def _converged(found: Mapping[str, TunedSetting], scenes: int) -> str:
    """What may be said of the second table: an objective that was still rising at its longest training is named."""
    rising = [name for name, choice in found.items() if not choice.settled]
    if rising:
        return f"longest training on {scenes:,} scenes, {' and '.join(rising)} still rising"
    return f"converged on {scenes:,} scenes"


def _encoders(
    size: Scale,
    scale: str,
    seeds: tuple[int, ...],
    rates: Mapping[ObjectiveName, float],
    steps: Mapping[ObjectiveName, int],
    control: str,
) -> StudyPlan:
    labels = curation(size)
    arms = [
        TrainingArm(
            name,
            training(size, name, objective(name), rate=rates[name], steps=steps[name]),
            labels,
            reference=name == "rice",
        )
        for name in OBJECTIVES
    ]
    # Two floors: a plain random trunk, and the trunk that every arm started from.
    drawn = training(size, "random", objective("rice"))
    plain = drawn.model_copy(update={"model": drawn.model.model_copy(update={"start": "plain"})})
    floors = (
        TrainingArm("random weights", plain, labels, trained=False, yardstick=True),
        TrainingArm("untrained start", drawn, labels, trained=False, yardstick=True),
    )
    # The ceiling is rice's training with the true categories in place of clusters.
    ceiling = TrainingArm("rice, told the categories", arms[0].config, curation(size, labels="truth"), yardstick=True)
    return StudyPlan(
        "mini:encoders", (*arms, *floors, ceiling), seeds, size.scenes, PROBES, control=control, scale=scale
    )


def _rate(workshop: Workshop, size: Scale, name: str) -> float:
    make = partial(training, size, name, objective(name))
    return _say(workshop, best_rate(workshop, name, make, RATES, size.scenes, curation(size)))


def _say(workshop: Workshop, choice: TunedSetting) -> float:
    workshop.progress.say(str(choice))
    return choice.chosen
