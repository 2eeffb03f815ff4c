"""What the paper does not say and was decided, in a record's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from rice_core.datasets import Dataset, Video
from rice_core.encoders.normed import NORMS
from rice_core.features import Encoder
from tracking.dialects import DIALECTS, PUBLISHED
from tracking.recipe import TrackingRecipe
from tracking.split import FollowedSplit


def judged_on(split: FollowedSplit) -> str:
    """Of which videos a number is, and by whose arithmetic."""
    n = len(split.followed)
    missing, published = len(split.videos) - n, PUBLISHED.get((split.layout, split.split))
    # The data may be a drawn world in that layout: what it is part of is for the reader to say.
    return (
        f"Judged on {n} videos of {split.split}"
        + (f", where the published {split.layout} has {published}" if published else "")
        + (f", {missing} of those here left out" if missing else "")
        + f", in the dialect {split.dialect}: {DIALECTS[split.dialect].says}."
    )


def assumptions(encoder: Encoder, recipe: TrackingRecipe, learnt_from: Sequence[Dataset]) -> tuple[str, ...]:
    """One sentence each."""
    tracker, learning, patch = recipe.tracker, recipe.learning, encoder.patch
    shares = ", ".join(f"{share:.0%}" for share in learning.drops)
    width = (
        f"the encoder's {encoder.dim} channels"
        if tracker.width is None
        else f"{tracker.width} channels by a projection"
    )
    said = [
        *([recipe.reading] if recipe.reading else []),
        f"The search crop is {tracker.search_grid * patch} pixels, {tracker.search_grid} x {tracker.search_grid} tokens of {patch}, over "
        f"{tracker.search_factor:g} sides of the object, the template {tracker.template_grid * patch} pixels over {tracker.template_factor:g}; "
        "each passes the frozen encoder by itself.",
        f"{tracker.blocks} block{'s' * (tracker.blocks != 1)} of {width} {'lie' if tracker.blocks != 1 else 'lies'} between encoder and head; "
        + (
            "template tokens are told whether they show the object."
            if tracker.foreground
            else "no template token is told whether it shows the object."
        ),
        "Weights start by Xavier's rule, keys equal to queries, and type embeddings as long as normed tokens.",
        NORMS[tracker.norm],
        f"The tracker learns from {_named(learnt_from)}: AdamW at {learning.rate:g}, decay {learning.weight_decay:g}, {learning.steps:,} "
        f"steps of {learning.batch} pairs, a tenth of the rate at {shares} of them; the paper gives the number of epochs alone.",
        f"Template and search frame are at most {learning.gap} frames apart; both crops are mirrored in {learning.flip:.0%} of the pairs and "
        f"each for itself in {learning.flip_each:.0%}; batch norm is over {learning.part} pairs, whatever the number of GPUs.",
        "The last step's weights are judged; nothing is chosen on what is judged.",
        f"Scores are multiplied by {'a Hann window' if tracker.window == 1 else f'{tracker.window:g} of a Hann window'}, boxes stay {tracker.margin} "
        "pixels within the frame, and the template is the first frame's for ever.",
    ]
    if tracker.geometry == "ostrack":
        said.append("Boxes lose half a search pixel on their way into the crop and back, as in OSTrack.")
    return tuple(said)


def _named(datasets: Sequence[Dataset]) -> str:
    """Each data set with how much of it."""
    parts = []
    for dataset in datasets:
        items = cast(Sequence[Any], dataset.splits.get("train", ()))
        kind = "videos" if items and isinstance(items[0], Video) else "images"
        parts.append(f"{len(items):,} {kind} of {dataset.spec.name}")
    shares = ", each as often" if len(parts) > 1 else ""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) + shares
