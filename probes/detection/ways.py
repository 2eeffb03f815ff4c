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
    config: TrainingConfig,
    *,
    images: int,
    heads: int,
    side: int,
    budget: Budget,
    kept: int | None = None,
    ranks: int = 1,
) -> Way:
    """The way that costs the least.

    Args:
        images: of the training split. heads: that agree in everything but themselves.
        side: S, pixels that the encoder sees. kept: views that are in the cache already; None is not known.
        ranks: that share the training; what is kept is made by one of them.
    """
    shown = config.iterations * config.batch
    alone = f"{heads * shown:,} training views"
    if config.views is None:
        return Way("alone", heads * shown, f"{alone}, each new to its seed: the recipe has no views= to keep or share")
    views = config.views * images
    missing = views - (kept or 0)
    size = _bytes_of_a_view(side, budget)
    reading = UNKNOWN if not size or not budget.tokens_per_second else size / READ / _seconds(side, budget)
    cost: dict[Literal["alone", "together", "kept"], float] = {"alone": heads * shown / ranks}
    if heads > 1:
        cost["together"] = shown / ranks
    tight = _lacking(size or 0, views, missing, budget)
    if not tight:
        cost["kept"] = missing + reading * heads * shown / ranks
    # The first of equals is the simplest.
    name = min(cost, key=lambda way: cost[way])
    pool = f"{views:,} views ({config.views} of each image" + (f", {_said(size * views)})" if size else ")")
    judged = f"reading one back counts as {reading:.2g} of a pass" + ("" if budget.tokens_per_second else ", assumed")
    if name == "kept":
        done = f", of which {kept:,} are kept already" if kept else ""
        fits = "" if size else "; if they fit, for the encoder's width is not on record yet"
        return Way(
            name, missing, f"{pool} go through the encoder once and are kept{done}, in place of {alone}; {judged}{fits}"
        )
    instead = f"{pool} do not fit into {tight}" if tight else f"keeping {pool} would not pay: {judged}"
    if name == "together":
        return Way(name, shown, f"{shown:,} training views serve {heads} heads at once, in place of {alone}; {instead}")
    return Way(name, heads * shown, f"{alone}; {instead}")


def _lacking(size: int, views: int, missing: int, budget: Budget) -> str:
    """What is too small for the kept views; empty where nothing is."""
    if size * views > budget.cache:
        return f"the cache's {_said(budget.cache)} (--cache-gb)"
    if size * missing > budget.free:
        return f"the {_said(budget.free)} that are free on the store's disk"
    return ""


def _said(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _bytes_of_a_view(side: int, budget: Budget) -> int | None:
    """Half precision; None where the encoder's width is not known yet."""
    return 2 * budget.dim * (side // budget.patch) ** 2 if budget.dim and budget.patch else None


def _seconds(side: int, budget: Budget) -> float:
    """Of a pass."""
    assert budget.patch is not None
    assert budget.tokens_per_second is not None
    return (side // budget.patch) ** 2 / budget.tokens_per_second
