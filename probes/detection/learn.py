"""One data set: build the detector, train it on the train split, detect in the val split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from probes.detection.annotations import GroundTruth
from probes.detection.backend import build_detector
from probes.detection.detect import Found, detect_all
from probes.detection.recipe import Recipe
from probes.detection.train import Trained, train
from rice_core.errors import NotApplicable, UserError
from rice_core.features import Encoder

if TYPE_CHECKING:
    from rice_core.probe import Work


@dataclass(frozen=True)
class Learnt:
    """What came of it."""

    found: Found
    trained: Trained
    masks: bool
    """Whether masks were learnt."""
    backend: str
    """Its name and version."""


def learn(
    encoder: Encoder,
    truth: GroundTruth,
    val: GroundTruth,
    recipe: Recipe,
    *,
    backend: str,
    masks: str,
    seed: int,
    folder: Path,
    work: Work,
    part: str = "",
) -> Learnt | None:
    """Train on `truth`, detect in `val`; what is left out is told to `work`. None in a rank that only helped to train.

    Args:
        backend, masks: as the probe's parameters.
        folder: for the checkpoint.
        part: of a suite, for the progress bar.

    Raises:
        UserError: the two splits mean different categories by one id, or training fails.
        NotApplicable: masks are asked for and there are none.
    """
    _check_same_ids(truth, val)
    learns_masks = truth.has_masks and val.has_masks if masks == "auto" else masks == "on"
    if learns_masks and not truth.has_masks:
        raise NotApplicable("masks=on needs masks in the training annotations, and there are none")
    torch.manual_seed(seed)
    detector, made_by = build_detector(
        recipe.head,
        channels=encoder.dim,
        classes=len(truth.categories),
        patch=encoder.patch,
        masks=learns_masks,
        frequencies=_image_counts(truth) if recipe.head.federated else None,
        backend=backend,
    )
    cast(nn.Module, detector).to(encoder.device)
    # On a CPU the head takes all cores, and processes that decode would only wait for them.
    workers = 0 if encoder.device.type == "cpu" else work.workers
    name = " / ".join(filter(None, (encoder.spec.title, part)))
    trained = train(
        encoder,
        detector,
        truth.images,
        recipe.training,
        masks=learns_masks,
        seed=seed,
        folder=folder,
        progress=work.progress,
        what=f"{name}: training the detector",
        workers=workers,
        world=work.world,
    )
    if not work.world.leads:
        return None
    found = detect_all(
        encoder,
        detector,
        val.images,
        truth.categories,
        side=recipe.training.side,
        batch=max(1, recipe.training.batch // recipe.training.accumulate),
        precision=recipe.training.precision,
        progress=work.progress,
        what=f"{name}: detecting",
        workers=workers,
    )
    for skip in (*truth.skipped, *val.skipped, *trained.skipped, *found.skipped):
        work.skip(f"{part}/{skip.item}" if part else skip.item, skip.reason)
    return Learnt(found, trained, learns_masks, made_by)


def _image_counts(truth: GroundTruth) -> list[float]:
    """Training images that show each category: as LVIS's file says, else as they are counted here."""
    counted = Counter(label for image in truth.images for label in {thing.label for thing in image.things})
    return [
        float(counted[label] if category.image_count is None else category.image_count)
        for label, category in enumerate(truth.categories)
    ]


def _check_same_ids(train: GroundTruth, val: GroundTruth) -> None:
    """A detector speaks in the ids of the file that it learnt from."""
    learnt = {category.id: category.name for category in train.categories}
    other = [c for c in val.categories if learnt.get(c.id, c.name) != c.name]
    if other:
        raise UserError(
            f"category {other[0].id} is {learnt[other[0].id]!r} in {train.name} and {other[0].name!r} in {val.name}; "
            "export both splits together."
        )
