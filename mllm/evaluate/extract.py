"""Answers as lmms-eval judged them, one by one -> a column of the table: what it is worth, sample by sample, and how sure that is.

lmms-eval's aggregates are no plain means throughout: MME adds up categories and counts pairs, MMStar and LiveXiv are means of means,
MMBench asks each question in several rotations. Here each has one value a sample whose plain mean is the aggregate, so that two
encoders can be paired; a test holds it against lmms-eval's own functions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mllm.evaluate.columns import ScoreColumn
from mllm.evaluate.letters import option_named
from rice_core.errors import UserError

ROTATION = 1_000_000
"""Between the indices of the rotations of a question of MMBench."""


@dataclass(frozen=True)
class AnsweredQuestion:
    """One question of a task, what the model said, and what lmms-eval made of it."""

    task: str
    doc: int
    """Its place in the split."""
    cluster: str
    """Its document or figure."""
    judged: Mapping[str, Any]
    """By metric, what lmms-eval's `process_results` gave."""
    answer: str = ""

    @property
    def id(self) -> str:
        return f"{self.task}/{self.doc:05}"


@dataclass(frozen=True)
class Credited:
    """What counts once in a column: a question, a pair or all rotations of one."""

    id: str
    cluster: str
    value: float
    """In lmms-eval's unit: 0 to 1, of MME's pairs 0 to 200."""
    group: str = ""
    """Mean of means: the mean that it is in."""
    docs: tuple[int, ...] = field(default=(), compare=False)
    """The questions it is made of."""


def judgements(column: ScoreColumn, answered: Sequence[AnsweredQuestion]) -> tuple[Credited, ...]:
    """What counts in a column.

    Args:
        answered: of all its tasks; questions that are in another column's category are left out.

    Raises:
        UserError: a pair is not whole, or none of the questions is of this column.
    """
    own = [each for each in answered if each.task in column.tasks]
    found = tuple(_EXTRACTORS.get(column.key, _plain)(column.metric.split(",")[0], own))
    if not found:
        raise UserError(f"{column.probe} has no answers for {column.key}; leave out --limit.")
    return found


def lmms_aggregate(column: ScoreColumn, task: str, judged: Sequence[Credited]) -> float:
    """What lmms-eval's own aggregate of one task is: what `value_of` is held against.

    Args:
        judged: of that task alone.
    """
    means = [sum(values) / len(values) for values in _groups(judged).values()]
    match column.key:
        case "ocrbench":
            return sum(each.value for each in judged) / 1000
        case "mme_cog" | "mme_per":
            return sum(means)
        case "mmb_en":
            return 100 * means[0]
    return sum(means) / len(means)


def groups_of(judged: Sequence[Credited]) -> int:
    """Over how many means the column is one."""
    return len(_groups(judged))


def _groups(judged: Sequence[Credited]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for each in judged:
        found[each.group].append(each.value)
    return found


Extractor = Callable[[str, Sequence[AnsweredQuestion]], list[Credited]]


def _plain(metric: str, answered: Sequence[AnsweredQuestion]) -> list[Credited]:
    """lmms-eval gives a number a question, or one with its score beside other things."""
    return [
        Credited(
            each.id, each.cluster, float(value["score"] if isinstance(value, Mapping) else value), docs=(each.doc,)
        )
        for each in answered
        if (value := each.judged.get(metric)) is not None
    ]


def _livexiv(metric: str, answered: Sequence[AnsweredQuestion]) -> list[Credited]:
    """The letter that was found, or none; versions weigh alike."""
    return [
        Credited(each.id, each.cluster, float(_alike(each.judged[metric])), each.task, (each.doc,)) for each in answered
    ]


def _alike(judged: Mapping[str, Any]) -> bool:
    found = judged["pred"]
    return isinstance(found, str) and found.lower().strip() == str(judged["answer"]).lower().strip()


def _mmstar(metric: str, answered: Sequence[AnsweredQuestion]) -> list[Credited]:
    """Sub-categories weigh alike."""
    found = [(each, each.judged[metric]) for each in answered]
    return [
        Credited(each.id, each.cluster, float(value["score"]), value["l2_category"], (each.doc,))
        for each, value in found
    ]


def _mme(metric: str, answered: Sequence[AnsweredQuestion]) -> list[Credited]:
    """Pairs: 50 for each right answer, 100 more for both. Categories are added up."""
    pairs: dict[tuple[str, str], list[AnsweredQuestion]] = defaultdict(list)
    for each in answered:
        if (value := each.judged.get(metric)) is not None:
            pairs[value["category"], value["question_id"]].append(each)
    found = []
    for (category, picture), pair in pairs.items():
        if len(pair) != 2:
            raise UserError(f"MME has {len(pair)} answers about {picture} where it needs two; leave out --limit.")
        scores = [each.judged[metric]["score"] for each in pair]
        value = 50 * sum(scores) + 100 * (sum(scores) == 2)
        docs = tuple(each.doc for each in pair)
        found.append(Credited(f"mme/{category}/{picture}", pair[0].cluster, float(value), category, docs))
    return found


def _mmbench(metric: str, answered: Sequence[AnsweredQuestion]) -> list[Credited]:
    """A question is right where all its rotations are. lmms-eval leaves out one whose first form is not there."""
    turns: dict[int, list[AnsweredQuestion]] = defaultdict(list)
    for each in answered:
        turns[int(each.judged[metric]["index"]) % ROTATION].append(each)
    return [
        Credited(
            f"mmbench/{index}",
            asked[0].cluster,
            float(all(_chosen(each.judged[metric]) for each in asked)),
            docs=tuple(each.doc for each in asked),
        )
        for index, asked in turns.items()
        if any(int(each.judged[metric]["index"]) == index for each in asked)
    ]


def _chosen(judged: Mapping[str, Any]) -> bool:
    options = {letter: str(judged[letter]) for letter in "ABCD" if judged.get(letter) is not None}
    return option_named(str(judged["prediction"]), options) == str(judged["answer"])


_EXTRACTORS: dict[str, Extractor] = {
    "livexivqa": _livexiv,
    "mmstar": _mmstar,
    "mme_cog": _mme,
    "mme_per": _mme,
    "mmb_en": _mmbench,
}


def credit_of(column: ScoreColumn, answered: AnsweredQuestion) -> float | None:
    """How right one answer is by itself, 0 to 1; None where it is of another column."""
    metric = column.metric.split(",")[0]
    if (value := answered.judged.get(metric)) is None:
        return None
    match column.key:
        case "mmb_en":
            return float(_chosen(value))
        case "livexivqa":
            return float(_alike(value))
    return float(value["score"] if isinstance(value, Mapping) else value)
