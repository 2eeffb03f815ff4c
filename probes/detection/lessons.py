"""A step in parts: what each part learns from, so that in however many parts it is made, it learns the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from probes.detection.box_head import BoxPredictor
from probes.detection.nouns import Target
from probes.detection.rpn import Anchors
from probes.detection.stages import Regions, masked


@dataclass(frozen=True)
class Lesson:
    """Of one part."""

    anchors: Anchors
    regions: Regions
    """Of the first stage."""
    categories: Sequence[torch.Tensor | None]
    """Of each stage, what all parts learn of; None is all."""
    shares: Mapping[str, float]
    """Of each loss, what the part's is of the step's: of so many things as they are means over."""


def lessons_of(
    anchors: Sequence[Anchors],
    stages: Sequence[Sequence[Regions]],
    truths: Sequence[Sequence[Target]],
    predictors: Iterable[BoxPredictor],
    generator: torch.Generator,
) -> list[Lesson]:
    """Of each part, from what was drawn for it, and the regions of each of its stages.

    Args:
        generator: draws the categories, after anchors and regions of all parts.
    """
    categories = [
        predictor.categories(torch.cat([regions.label_R for regions in of_parts]), generator)
        for predictor, of_parts in zip(predictors, zip(*stages, strict=True), strict=True)
    ]
    counts = [_counts(every, images) for every, images in zip(stages, truths, strict=True)]
    totals = {name: sum(part[name] for part in counts) for name in counts[0]}
    return [
        Lesson(drawn, every[0], categories, {name: n / max(totals[name], 1) for name, n in part.items()})
        for drawn, every, part in zip(anchors, stages, counts, strict=True)
    ]


def _counts(every: Sequence[Regions], truths: Sequence[Target]) -> dict[str, int]:
    """How many things each loss of a part is a mean over."""
    found = dict.fromkeys(("loss_rpn_cls", "loss_rpn_loc"), len(truths))
    for stage, regions in enumerate(every):
        found |= dict.fromkeys((f"loss_cls_stage{stage}", f"loss_box_reg_stage{stage}"), len(regions.label_R))
    return found | {"loss_mask": len(masked(every[0], truths)[0])}
