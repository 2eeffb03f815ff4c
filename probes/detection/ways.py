"""Three ways to the same number, by what they cost: the views of each head alone, of several heads together, or kept.

They differ in how often an image goes through the frozen encoder. A recipe with `views` shows every seed and head the same
views in the same order, so one pass may serve several heads, or be kept for the next epoch; without it each training draws
views of its own, and there is nothing to share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from probes.detection.recipe import TrainingConfig
from rice_core.budget import Budget

READ = 1e9
"""Bytes a second of a kept feature, from a solid-state disk or memory to the head: an assumption, which `why` names."""
UNKNOWN = 0.1
"""A kept view counts as this much of a pass where the encoder's speed is not known."""


@dataclass(frozen=True)
class Way:
    """How the training views of some heads come by their features."""

    name: Literal["alone", "together", "kept"]
    images: int
    """Through the encoder, for all heads."""
    why: str


def cheapest(
    config: TrainingConfig, *, images: int, heads: int, side: int, budget: Budget, kept: int | None = None
) -> Way:
    """The way that costs the least.

    Args:
        images: of the training split. heads: that agree in everything but themselves.
        side: S, pixels that the encoder sees. kept: views that are in the cache already; None is not known.
    """
    shown = config.iterations * config.batch
    alone = f"{heads * shown:,} training views"
    if config.views is None:
        return Way("alone", heads * shown, f"{alone}, each new to its seed: the recipe has no views= to keep or share")
    views = config.views * images
    missing = views - (kept or 0)
    size = _bytes_of_a_view(side, budget)
    reading = UNKNOWN if not size or not budget.tokens_per_second else size / READ / _seconds(side, budget)
    cost: dict[Literal["alone", "together", "kept"], float] = {"alone": float(heads * shown)}
    if heads > 1:
        cost["together"] = float(shown)
    fits = size is None or size * views <= budget.room
    if fits:
        cost["kept"] = missing + reading * heads * shown
    # The first of equals is the simplest.
    name = min(cost, key=lambda way: cost[way])
    kept_gb = "" if size is None else f", {size * views / 1e9:.1f} GB"
    pool = f"{views:,} views ({config.views} of each image{kept_gb})"
    judged = f"reading one back counts as {reading:.2g} of a pass" + ("" if budget.tokens_per_second else ", assumed")
    if name == "kept":
        done = f", of which {kept:,} are kept already" if kept else ""
        return Way(
            name, missing, f"{pool} go through the encoder once and are kept{done}, in place of {alone}; {judged}"
        )
    instead = (
        f"keeping {pool} would not pay: {judged}"
        if fits
        else f"{pool} do not fit into the cache's {budget.room / 1e9:.1f} GB (--cache-gb)"
    )
    if name == "together":
        return Way(name, shown, f"{shown:,} training views serve {heads} heads at once, in place of {alone}; {instead}")
    return Way(name, heads * shown, f"{alone}; {instead}")


def _bytes_of_a_view(side: int, budget: Budget) -> int | None:
    """Half precision; None where the encoder's width is not known yet."""
    return 2 * budget.dim * (side // budget.patch) ** 2 if budget.dim and budget.patch else None


def _seconds(side: int, budget: Budget) -> float:
    """Of a pass."""
    assert budget.patch is not None
    assert budget.tokens_per_second is not None
    return (side // budget.patch) ** 2 / budget.tokens_per_second
