"""Results of a detector -> what the record keeps: AP with errors, curves, pictures, and what was assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from probes.detection.evaluate import Evaluation, Judged, score
from probes.detection.pictures import contact_sheet
from probes.detection.recipe import RECIPES, Recipe, rate_at, side_of
from probes.detection.results import write_results
from probes.detection.trained import Learnt
from probes.detection.truth import GroundTruth
from rice_core.encoders.normed import NORMS
from rice_core.record import Outcome, Skipped
from rice_core.spec import Param

if TYPE_CHECKING:
    from rice_core.features import Encoder
    from rice_core.probe import Work


def outcome_of(
    work: Work,
    encoder: Encoder,
    truth: GroundTruth,
    learnt: Learnt,
    recipe: Recipe,
    *,
    name: str,
    seed: int,
) -> Outcome:
    """Judge what was found and keep its figures.

    Images that could not be read are not judged: nothing can be found in them, by any encoder.
    """
    truth = without(truth, learnt.found.skipped)
    found = exported(work, name, encoder, truth, recipe, learnt)
    scored = score(truth, found, masks=learnt.masks, seed=seed)
    return Outcome(
        metrics=scored.metrics(),
        scores=scored.scores(),
        artifacts=(
            work.artifact_png(
                f"{name}.png",
                contact_sheet(truth.images, found, truth.categories),
                figure="wide-image",
                title="Objects that were found",
                caption="Best, median and worst images: the truth is on the left of each pair, what was found on the right. Lines are solid where"
                " a box is right at IoU 0.5, or was found, and dashed where it is not; F1 counts these. Images are chosen for each encoder by its"
                " own F1, so they differ from encoder to encoder.",
            ),
            work.artifact_json(
                f"{name}-training.json", {"backend": learnt.backend, "curve": learnt.curve}, figure="detector-loss"
            ),
            work.artifact_json(
                f"{name}-ap.json",
                {"kinds": {kind: _figures(truth, judged) for kind, judged in scored.kinds.items()}},
                figure="detection-ap",
            ),
            work.artifact_json(
                f"{name}-errors.json",
                _lost(scored),
                figure="bars",
                title="What AP50 is lost to",
                caption="How much AP50 would rise without one kind of errors (TIDE; IoU 0.1 and 0.5): a right category in a wrong place, a wrong"
                " category in the right place, both wrong, the same object found twice, nothing there, and objects that nothing is near. The"
                " bars do not add up.",
            ),
        ),
        assumptions=(
            *assumptions(recipe, encoder, learnt),
            *length(recipe, [learnt.training.iterations]),
            *([] if learnt.choice is None else [learnt.choice.sentence]),
            *learnt.notes,
        ),
        used=used_of(recipe, encoder, learnt),
    )


def exported(
    work: Work, name: str, encoder: Encoder, truth: GroundTruth, recipe: Recipe, learnt: Learnt
) -> list[dict[str, Any]]:
    """Write the results in COCO's format, with what they were made from; what is judged is what is written."""
    found = [_rounded(row) for row in learnt.found.results]
    about = {
        "cell": work.exports.name,
        "encoder": encoder.spec.told().shorthand,
        "weights": encoder.weights_digest(),
        "annotations": truth.sha256,
        "recipe": recipe.model_dump_json(),
        "backend": learnt.backend,
    }
    write_results(work.exports / f"{name}.json", found, about)
    return found


def without(truth: GroundTruth, skipped: tuple[Skipped, ...]) -> GroundTruth:
    """The truth of the images that were looked at."""
    names = {skip.item for skip in skipped}
    images = tuple(image for image in truth.images if image.sample.id not in names)
    if len(images) == len(truth.images):
        return truth
    keys = {image.key for image in images}
    body = dict(truth.body)
    body["images"] = [entry for entry in body["images"] if entry["id"] in keys]
    body["annotations"] = [entry for entry in body["annotations"] if entry["image_id"] in keys]
    return replace(truth, images=images, body=body)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Hundredths of a pixel and seven digits of the score: a third of the file's size."""
    return row | {"bbox": [round(value, 2) for value in row["bbox"]], "score": float(f"{row['score']:.7g}")}


def _figures(truth: GroundTruth, judged: Judged) -> dict[str, Any]:
    """Precision by recall, and AP by category with its number of objects. Percent."""
    objects = truth.objects
    return {
        # 101 recalls, 0 to 1; what is not defined is left out.
        "precision": {iou: [_number(value) for value in curve] for iou, curve in judged.curves.items()},
        "categories": [
            {"name": category.name, "frequency": category.frequency, "ap": _number(ap), "objects": objects[category.id]}
            for category, ap in zip(truth.categories, judged.category_ap_K, strict=True)
            if category.id in objects
        ],
    }


def _lost(scored: Evaluation) -> dict[str, Any]:
    return {
        "x": {"label": "kind of error"},
        "y": {"label": "AP50 lost", "unit": "%"},
        "categories": list(scored.box.faults),
        "series": [
            {
                "label": {"box": "boxes", "mask": "masks"}[kind],
                "values": [fault.lost for fault in judged.faults.values()],
            }
            for kind, judged in scored.kinds.items()
        ],
    }


def _number(value: float) -> float | None:
    return None if value != value else round(float(value), 4)


def used_of(recipe: Recipe, encoder: Encoder, learnt: Learnt) -> dict[str, Param]:
    """What the recipe's settings came to: a side that the patch divides, what "auto" chose, and a rate never reached in the warm-up."""
    training = learnt.training
    used: dict[str, Param] = {"backend": learnt.backend.split()[0], "masks": "on" if learnt.masks else "off"}
    asked = recipe.epochs is not None and recipe.epochs != RECIPES[recipe.name].epochs
    if asked and training.iterations == recipe.training.iterations:
        used["epochs"] = round(learnt.passes, 1)  # cut short by the most steps of the recipe
    if (side := side_of(training.side, encoder.patch)) != training.side:
        used["side"] = side
    # After the warm-up it only falls.
    highest = max(rate_at(training, step) for step in range(min(training.iterations, training.warm_up + 1)))
    if learnt.choice is not None:
        used["rate"] = highest * learnt.choice.factor
    elif highest < training.rate:
        used["rate"] = highest
    return used


def assumptions(recipe: Recipe, encoder: Encoder, learnt: Learnt) -> tuple[str, ...]:
    """What the paper does not say and was decided."""
    head, training = recipe.head, recipe.training
    side = side_of(training.side, encoder.patch)
    width = "the encoder's width" if head.projection is None else f"{head.projection} channels by a 1x1 convolution"
    used, most = used_of(recipe, encoder, learnt), "" if recipe.epochs is None else "at most "
    said = [
        f"The detector is trained by {learnt.backend}.",
        *([recipe.reading] if recipe.reading else []),
        "The paper states no schedule, rate, augmentation or head; "
        f"here AdamW at {training.rate:g}, decay {training.weight_decay:g}, {most}{training.iterations} steps of {training.batch} "
        f"images, a tenth of the rate at {', '.join(f'{share:.0%}' for share in training.drops)} of them, "
        f"{head.box_head} box heads.",
        f"Images are {side} pixels square: large-scale jitter {training.jitter[0]:g} to {training.jitter[1]:g} in training, whole and "
        "padded with gray below and to the right in test.",
        f"The pyramid is five levels of the last map at {width}: max pooling and {head.unpool} unpooling, "
        "which the paper does not define.",
        f"A token is 16 x 16 pixels to the detector whatever the encoder's patch ({encoder.patch}), so anchors of "
        f"{', '.join(f'{side:g}' for side in head.anchors)} pixels are {encoder.patch / 16:g} times their size in pixels of the image.",
    ]
    said.append(NORMS[training.norm])
    if "rate" in used and learnt.choice is None:
        said.append(
            f"The training ends in its warm-up: the highest rate is {used['rate']:g} in place of {training.rate:g}."
        )
    if "side" in used:
        said.append(f"{side} pixels are in place of {training.side}, which a patch of {encoder.patch} does not divide.")
    if training.views is not None:
        said.append(
            f"Each image has {training.views} views, the same and in the same order for every seed, read in half precision: "
            "the error over seeds is the head's alone."
        )
    if head.federated:
        said.append("Federated sigmoid loss, repeat-factor sampling at 0.001, 300 detections above .02.")
    if not learnt.masks:
        said.append("Boxes alone: no mask is learnt or judged.")
    return tuple(said)


def length(recipe: Recipe, steps: Sequence[int]) -> tuple[str, ...]:
    """How long it was trained, where that depends on a data set's size.

    Args:
        steps: of each data set.
    """
    if recipe.epochs is None or not steps:
        return ()
    came = f"{min(steps):,}" if min(steps) == max(steps) else f"{min(steps):,} to {max(steps):,}"
    return (
        f"A data set is trained for {recipe.epochs} passes over its train images (RF100's own baselines: 100) and for "
        f"{recipe.training.iterations:,} steps at most, warm-up and drops in proportion; the paper does not say for how long. "
        f"That came to {came} steps.",
    )
