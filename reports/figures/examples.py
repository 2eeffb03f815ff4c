"""Examples: questions about pictures with the answers of several encoders side by side, those that they disagree about first."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reports.figures.bodies import read_all
from rice_core.figures import Examples, ShownAnswer

Mark = Literal["right", "wrong", "partly", "unknown"]
_HALF = 0.5
"""From here on an answer counts as right, where encoders are held against each other."""


@dataclass(frozen=True)
class GivenAnswer:
    """What one encoder's model said."""

    title: str
    lines: tuple[str, ...]
    mark: Mark
    value: float | None


@dataclass(frozen=True)
class JoinedQuestion:
    """One question with all answers to it, in the order of the encoders."""

    id: str
    kind: str
    question: tuple[str, ...]
    target: tuple[str, ...]
    picture: bytes
    """WebP; empty for none."""
    answers: tuple[GivenAnswer, ...]


@dataclass(frozen=True)
class ExamplePart:
    """Questions that came out alike."""

    title: str
    questions: tuple[JoinedQuestion, ...]


@dataclass(frozen=True)
class ExampleSheet:
    """All questions: those that encoders disagree about, then what is wrong, then what is right."""

    parts: tuple[ExamplePart, ...]

    @property
    def questions(self) -> tuple[JoinedQuestion, ...]:
        return tuple(question for part in self.parts for question in part.questions)


def examples(bodies: Mapping[str, Any]) -> ExampleSheet:
    """The answers to the same questions side by side.

    Args:
        bodies: title of an encoder -> a body of `rice_core.figures.Examples`.

    Raises:
        UserError: a body that is none.
        ValueError: nothing given.
    """
    read = read_all(bodies, Examples, "the examples")
    by_id: dict[str, dict[str, ShownAnswer]] = {}
    for title, body in read.items():
        for each in body.questions:
            by_id.setdefault(each.id, {})[title] = each
    joined = [_joined(found) for found in by_id.values()]
    many = len(read) > 1
    titles = {
        "disagree": "The encoders disagree",
        "wrong": "Wrong for all" if many else "Wrong",
        "right": "Right for all" if many else "Right",
        "unknown": "Not judged one by one",
    }
    parts = [
        ExamplePart(title, tuple(sorted((each for each in joined if _class(each) == name), key=_spread)))
        for name, title in titles.items()
    ]
    return ExampleSheet(tuple(part for part in parts if part.questions))


def _joined(found: Mapping[str, ShownAnswer]) -> JoinedQuestion:
    first = next(iter(found.values()))
    picture = next((each.picture for each in found.values() if each.picture), "")
    return JoinedQuestion(
        id=first.id,
        kind=first.kind,
        question=_lines(first.question),
        target=_lines(first.target),
        picture=base64.b64decode(picture),
        answers=tuple(GivenAnswer(title, _lines(e.answer), _mark(e.value), e.value) for title, e in found.items()),
    )


def _mark(value: float | None) -> Mark:
    if value is None:
        return "unknown"
    return "right" if value >= 1 else "wrong" if value <= 0 else "partly"


def _class(question: JoinedQuestion) -> str:
    values = [each.value for each in question.answers if each.value is not None]
    if not values:
        return "unknown"
    if min(values) < _HALF <= max(values):
        return "disagree"
    return "right" if min(values) >= _HALF else "wrong"


def _spread(question: JoinedQuestion) -> tuple[float, str]:
    """Those first whose answers are furthest apart."""
    values = [each.value for each in question.answers if each.value is not None]
    return min(values, default=0.0) - max(values, default=0.0), question.id


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line for line in text.strip().splitlines() if line.strip())
