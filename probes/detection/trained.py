"""A detector that has been trained, and what it finds in the images it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from probes.detection.choice import RateChoice, read_choice
from probes.detection.detect import Detecting, SplitResults
from probes.detection.recipe import Recipe, TrainingConfig
from probes.detection.training import DetectorTraining, workers_of
from probes.detection.truth import GroundTruth, TruthImage
from rice_core.errors import NotApplicable, UserError
from rice_core.features import Encoder, Informed
from rice_core.record import Skipped
from rice_core.stage import Ready

if TYPE_CHECKING:
    from rice_core.probe import Work


@dataclass(frozen=True)
class Learnt:
    """What came of it."""

    found: SplitResults
    curve: list[dict[str, Any]]
    """Of the training: iteration, rate, each loss and their sum, now and then."""
    masks: bool
    """Whether masks were learnt."""
    backend: str
    """Its name and version."""
    training: TrainingConfig
    """What was made of the recipe's for a train split of this size."""
    passes: float
    """Over the train images that this came to."""
    notes: tuple[str, ...]
    """What has to be known of the annotations, of train and of val."""
    choice: RateChoice | None = None
    """Of its rate; None where it was the recipe's."""


def check_splits(truth: GroundTruth, val: GroundTruth, masks: str) -> None:
    """Before a training of days: that it can be judged.

    Args:
        masks: as the probe's parameter.

    Raises:
        UserError: the two splits mean different categories by one id, or one category by two: a detector speaks in the ids of what
            it learnt from.
        NotApplicable: masks are asked for and there are none.
    """
    learnt = {category.id: category.name for category in truth.categories}
    other = [c for c in val.categories if learnt.get(c.id, c.name) != c.name]
    if other:
        raise UserError(
            f"category {other[0].id} is {learnt[other[0].id]!r} in {truth.name} and {other[0].name!r} in {val.name}; "
            "export both splits together."
        )
    ids = {name: key for key, name in learnt.items()}
    if moved := [c for c in val.categories if c.id not in learnt and c.name in ids]:
        raise UserError(
            f"category {moved[0].name!r} is {ids[moved[0].name]!r} in {truth.name} and {moved[0].id!r} in {val.name}; export both "
            "splits together."
        )
    if masks == "on" and not truth.has_masks:
        raise NotApplicable("masks=on needs masks in the training annotations, and there are none")


def found_in(
    encoder: Encoder,
    truth: GroundTruth,
    val: GroundTruth,
    stage: DetectorTraining,
    ready: Ready,
    recipe: Recipe,
    *,
    work: Work,
) -> Learnt:
    """Detect in `val`; what was left out, there and in the training, is told to `work`.

    Args:
        truth: what was trained on. recipe: with what judging asks of the head.
    """
    part = stage.part
    detecting = Detecting(
        head=recipe.head,  # a detector takes what it judges by (its threshold) from the head that it is built with
        backend=stage.backend_for(truth),
        masks=stage.masks,
        frequencies=stage.frequencies(truth),
        folder=ready.folder,
        categories=truth.categories,
        images=_told(val.images, encoder),
        training=recipe.training,
        what=f"{' / '.join(filter(None, (encoder.spec.title, part)))}: detecting",
        workers=workers_of(encoder, work.workers),
    )
    found: SplitResults = work.share(detecting)
    for skip in (*truth.skipped, *val.skipped, *_no_targets(truth), *found.skipped):
        work.skip(f"{part}/{skip.item}" if part else skip.item, skip.reason)
    curve = [dict(point) for point in ready.trained.curve]
    passes = stage.training.iterations * stage.training.batch / max(1, len(stage.dataset.splits["train"]))
    choice = read_choice(ready.folder)
    return Learnt(found, curve, stage.masks, found.made_by, stage.training, passes, _notes(truth, val), choice)


def _told(images: Sequence[TruthImage], encoder: Encoder) -> tuple[TruthImage, ...]:
    """What the ranks and those who decode for them need to know of the images: their objects only where an encoder asks."""
    return (
        tuple(images)
        if isinstance(encoder, Informed)
        else tuple(replace(image, things=(), ignored=()) for image in images)
    )


def _notes(truth: GroundTruth, val: GroundTruth) -> tuple[str, ...]:
    """What was decided about both files, and what the detector is not shown."""
    said = [*truth.notes, *val.notes]
    empty = sum(not any(not thing.crowd for thing in image.things) for image in truth.images)
    if empty:
        said.append(
            f"{empty} of {len(truth.images)} training images of {truth.name} have no object and are learnt from as background; detectron2 leaves "
            "them out by default."
        )
    learnt = {truth.categories[thing.label].name for image in truth.images for thing in image.things if not thing.crowd}
    judged = [category.name for category in val.categories if val.objects[category.id]]
    missing = [name for name in judged if name not in learnt]
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        said.append(
            f"{len(missing)} of the {len(judged)} categories that {val.name} judges have no object in the training images, so nothing "
            f"right can be found of them: {names}."
        )
    return tuple(dict.fromkeys(said))


def _no_targets(truth: GroundTruth) -> tuple[Skipped, ...]:
    """The crowds, in one line."""
    crowds = sum(thing.crowd for image in truth.images for thing in image.things)
    reason = "are no targets of the training, as in detectron2: what lies there is trained as background"
    return (Skipped(item=f"{truth.name}: {crowds} crowds", reason=reason, times=crowds),) if crowds else ()
