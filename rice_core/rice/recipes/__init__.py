"""Recipes: one function a paper table or miniature study; each returns the studies that `run_study` then carries out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rice_core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from rice_core.rice.config import TrainConfig
    from rice_core.rice.recipes.run import Workshop
    from rice_core.rice.recipes.study import StudyPlan

NAMES = {
    "mini:encoders": "rice, mlcd and siglip between random weights and a supervised ceiling, at equal compute and converged",
    "mini:losses": "two forms of the loss x two margins",
    "table:5a": "ablation of N, regions an image",
    "table:5b": "ablation of K, clusters",
    "table:5c": "ablation of rho, the share of negatives sampled",
    "table:5d": "ablation of M, labels of a text region",
}
"""What `ricebench run NAME` takes."""


def recipe(
    name: str, workshop: Workshop, scale: str, seeds: tuple[int, ...], base: TrainConfig | None = None
) -> Iterator[StudyPlan]:
    """The studies of a recipe, in the order to run them; settings that a study chooses are chosen when it is asked for.

    Args:
        scale: "mini" (hours on two cores), "long" (the same, and trainings double in length until nothing rises; for a GPU) or
            "smoke" (minutes; its numbers mean nothing).
        base: of an ablation, in the place of the miniature training; its values are then the paper's.

    Raises:
        UserError: no such recipe or scale.
    """
    # They import torch.
    from rice_core.rice.recipes import ablations, mini

    if name not in NAMES:
        raise UserError(f"There is no recipe {name!r}; {did_you_mean(name, NAMES)}choose from {', '.join(NAMES)}.")
    if scale not in mini.SCALES:
        raise UserError(
            f"There is no scale {scale!r}; {did_you_mean(scale, mini.SCALES)}choose from {', '.join(mini.SCALES)}."
        )
    kind, _, which = name.partition(":")
    if base is not None:
        if kind != "table":
            raise UserError(f"{name} has trainings of its own; --base is for table:5a to table:5d.")
        return iter((ablations.table_5_over(base, seeds, which=which),))
    if kind == "table":
        return ablations.table_5(workshop, scale, seeds, which=which)
    return {"encoders": mini.encoders, "losses": mini.losses}[which](workshop, scale, seeds)
