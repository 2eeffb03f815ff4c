"""One data set: build the detector, train it on the train split, detect in the val split."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from probes.detection.backend import build_detector
from probes.detection.detect import Found, detect_all
from probes.detection.fill import keep_views, views_kept
from probes.detection.learner import DetectorLearner, trainee
from probes.detection.nouns import Detector
from probes.detection.recipe import Recipe, TrainingConfig, side_of
from probes.detection.train import train
from probes.detection.truth import GroundTruth
from probes.detection.ways import cheapest
from rice_core.errors import NotApplicable, UserError
from rice_core.features import Encoder
from rice_core.record import Skipped
from rice_core.train.learner import Trainee

if TYPE_CHECKING:
    from rice_core.probe import Work


@dataclass(frozen=True)
class Head:
    """What is trained: a recipe's detector, by a backend, from a seed; and where its state is kept."""

    recipe: Recipe
    backend: str
    seed: int
    folder: Path


@dataclass(frozen=True)
class Learnt:
    """What came of it."""

    found: Found
    curve: list[dict[str, float]]
    """Of the training: iteration, rate, each loss and their sum, now and then."""
    masks: bool
    """Whether masks were learnt."""
    backend: str
    """Its name and version."""


def learn(
    encoder: Encoder,
    truth: GroundTruth,
    val: GroundTruth,
    head: Head,
    *,
    masks: str,
    work: Work,
    part: str = "",
    share: float = 1.0,
    others: Sequence[Head] = (),
) -> Learnt | None:
    """Train on `truth`, detect in `val`; what is left out is told to `work`. None in a rank that only helped to train.

    Args:
        masks: as the probe's parameter.
        part: of a suite, for the progress bar. share: of the cache that it may fill.
        others: heads that are to be trained with the same recipe; where one pass of the encoder for all is the cheapest, they
            are trained too, and their state is in their folders.

    Raises:
        UserError: the two splits mean different categories by one id, or training fails.
        NotApplicable: masks are asked for and there are none.
    """
    _check_same_ids(truth, val)
    learns_masks = truth.has_masks and val.has_masks if masks == "auto" else masks == "on"
    if learns_masks and not truth.has_masks:
        raise NotApplicable("masks=on needs masks in the training annotations, and there are none")
    training = head.recipe.training
    name = " / ".join(filter(None, (encoder.spec.title, part)))
    detector, made_by = _detector(encoder, truth, head, masks=learns_masks)
    own = trainee(detector, training, seed=head.seed, folder=head.folder, ranks=work.ranks)
    own.resume()
    # A sibling may have trained it already.
    if own.done < training.iterations:
        _train(encoder, truth, head, own, others, masks=learns_masks, name=name, share=share, work=work)
    if not work.ranks.leads:
        return None
    cast(nn.Module, detector).eval()
    found = detect_all(
        encoder,
        detector,
        val.images,
        truth.categories,
        side=training.side,
        batch=max(1, training.batch // training.accumulate),
        precision=training.precision,
        progress=work.progress,
        what=f"{name}: detecting",
        workers=_workers(encoder, work),
    )
    unread = tuple(Skipped(item=item, reason=reason) for item, reason in own.learner.skipped.items())
    for skip in (*truth.skipped, *val.skipped, *_no_targets(truth), *unread, *found.skipped):
        work.skip(f"{part}/{skip.item}" if part else skip.item, skip.reason)
    return Learnt(found, own.learner.curve, learns_masks, made_by)


def _no_targets(truth: GroundTruth) -> tuple[Skipped, ...]:
    """The crowds, in one line."""
    crowds = sum(thing.crowd for image in truth.images for thing in image.things)
    reason = "are no targets of the training, as in detectron2: what lies there is trained as background"
    return (Skipped(item=f"{truth.name}: {crowds} crowds", reason=reason, times=crowds),) if crowds else ()


def _train(
    encoder: Encoder,
    truth: GroundTruth,
    head: Head,
    own: Trainee[DetectorLearner],
    others: Sequence[Head],
    *,
    masks: bool,
    name: str,
    share: float,
    work: Work,
) -> None:
    """The cheapest way; with it, perhaps, the others."""
    training, workers = head.recipe.training, _workers(encoder, work)
    side = side_of(training.side, encoder.patch)
    way = _way(encoder, truth, training, side, 1 + len(others), share, work)
    kept = None
    if way == "kept":
        kept = keep_views(encoder, truth, training, side=side, what=name, work=work, workers=workers)
    trainees = [own]
    for other in others if way == "together" else ():
        # What is wrong with another is told when its turn comes.
        with contextlib.suppress(UserError):
            detector, _ = _detector(encoder, truth, other, masks=masks)
            trainees.append(trainee(detector, training, seed=other.seed, folder=other.folder, ranks=work.ranks))
    train(
        encoder,
        trainees,
        truth.images,
        training,
        masks=masks,
        seed=head.seed,
        progress=work.progress,
        what=f"{name}: training " + ("the detector" if len(trainees) == 1 else f"{len(trainees)} detectors at once"),
        kept=kept,
        workers=workers,
        ranks=work.ranks,
    )


def _workers(encoder: Encoder, work: Work) -> int:
    """On a CPU the head takes all cores, and processes that decode would only wait for them."""
    return 0 if encoder.device.type == "cpu" else work.workers


def _way(
    encoder: Encoder, truth: GroundTruth, training: TrainingConfig, side: int, heads: int, share: float, work: Work
) -> str:
    """How the views come by their features; the same on every rank."""
    if training.views is None:
        return "alone"
    found = None
    if work.ranks.leads:
        budget = replace(work.budget().shared(share), dim=encoder.dim, patch=encoder.patch)
        kept = views_kept(truth, training, side=side, work=work)
        images, ranks = len(truth.images), work.ranks.size
        found = cheapest(training, images=images, heads=heads, side=side, budget=budget, kept=kept, ranks=ranks).name
    return str(work.ranks.agree(found))


def _detector(encoder: Encoder, truth: GroundTruth, head: Head, *, masks: bool) -> tuple[Detector, str]:
    """On the encoder's device, and who made it."""
    torch.manual_seed(head.seed)
    detector, made_by = build_detector(
        head.recipe.head,
        channels=encoder.dim,
        classes=len(truth.categories),
        patch=encoder.patch,
        masks=masks,
        frequencies=_image_counts(truth) if head.recipe.head.federated else None,
        backend=head.backend,
    )
    cast(nn.Module, detector).to(encoder.device)
    return detector, made_by


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
