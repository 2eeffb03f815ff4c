"""What the paper does not say of a column and was decided, in a record's words."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mllm.answered import AnsweredTask
from mllm.evaluate.columns import ScoreColumn
from mllm.llava.language_model import identity
from mllm.llava.recipe import CrocLearning, LlavaRecipe

_OF_COLUMN = {
    "mme_cog": (
        "MME's own questions end in 'Please answer yes or no.', which lmms-eval replaces by 'Answer the question using a single word or phrase.'",
        "The table's average takes MME-Cog by 8 (its caption) or by 6 (what its rows come to); a report prints both.",
    ),
    "mmb_en": (
        "MMBench is judged without a service: an answer that names no option is wrong, where lmms-eval with a key asks a language model, and "
        "without one draws an option by lot.",
    ),
    "livexivqa": (
        "LiveXiv's column is the mean of the accuracies of its versions, each alike; pooled, it is livexivqa_samples.",
    ),
    "mmstar": (
        "MMStar's column is the mean over its sub-categories, each alike; over its questions it is mmstar_samples.",
    ),
    "ocrbench": (
        "OCRBench's column is hits of the questions that were asked, in thousandths: lmms-eval divides by 1000 however many there are.",
    ),
    "ocrbench_v2": (
        "OCRBench v2's column is the mean over all its questions, English and Chinese; other releases weigh kinds alike.",
    ),
    "textvqa": ("TextVQA is asked without the words that a reader of text found in the picture.",),
    "ai2d": ("AI2D is the version with masked labels; without masks it is another benchmark.",),
    "pope": ("POPE compares whole answers: 'Yes.' is wrong, as in lmms-eval.",),
}

_CUT = {
    "2x2": "the base tile and a grid of up to four, or three in a row,",
    "6x6": "the base tile and a grid of up to six by six, whose tokens are thinned to those of nine,",
    "one": "one square tile",
}
_TOLD = ("most", "until", "repetition_penalty", "padding", "system", "weights")
"""Effective settings that do not depend on the machine."""


def assumptions(recipe: LlavaRecipe, columns: Sequence[ScoreColumn], tasks: Sequence[AnsweredTask]) -> tuple[str, ...]:
    """One sentence each."""
    model, align, instruct = recipe.model, recipe.align, recipe.instruct
    versions = sorted({task.told["lmms_eval"] for task in tasks})
    cut = _CUT[model.tiles]
    labels = {
        "published": "the assistant's turns with their headers, and newlines and markers of all turns",
        "answer": "answers and their ends alone",
    }[instruct.labels]
    said = [
        *([recipe.reading] if recipe.reading else []),
        f"{identity(model.lm)} reads patch tokens of block {model.layer} of the encoder through two layers; a picture is {cut} of the encoder's own size.",
        f"The projector learns from captions ({align.epochs} epoch{'s' * (align.epochs != 1)} at {align.projector_rate:g}), then everything from "
        f"conversations ({instruct.epochs} at {instruct.lm_rate or 0:g}, the encoder at {instruct.tower_rate or 0:g}), {instruct.batch} samples a "
        f"step in {instruct.precision}; learnt are {labels}.",
        *([f"Between the two lies Croc's stage: {_croc(recipe.croc)}."] if recipe.croc else []),
        f"Answers are judged by lmms-eval {' and '.join(versions)}, whose scorers change between releases: numbers of another one are not "
        "comparable, and the kept answers can be judged again.",
        f"Answers are the likeliest, token by token, {recipe.asking.at_once} questions at once: {_settings(tasks)}.",
    ]
    said += [sentence for column in columns for sentence in _OF_COLUMN.get(column.key, ())]
    if len(tasks) > 1 or columns[0].tasks != tuple(task.task for task in tasks):
        said.append(
            f"Of its {len(columns[0].tasks)} versions these are here: {', '.join(task.task for task in tasks)}."
        )
    return tuple(said)


def _croc(croc: CrocLearning) -> str:
    return (
        f"{croc.replaced:.0%} of a picture's tokens are replaced from a pool of {croc.pool}, matched by {croc.match}, and told again beside the "
        "caption"
    )


def _settings(tasks: Sequence[AnsweredTask]) -> str:
    """Each way in which a task was asked, as the model itself told it."""
    told = [{name: task.told["generation"].get(name) for name in _TOLD} for task in tasks]
    return "; ".join(dict.fromkeys(json.dumps(each) for each in told))
