"""The questions of lmms-eval's tasks, answered: from the journal of what was answered before, else by the model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm.evaluate.journal import Journal
from mllm.evaluate.request import Answerer
from rice_core.errors import UserError, one_line

if TYPE_CHECKING:
    from mllm.llava.speaker import Question, Speaker

_AT_ONCE = 8
"""Batches whose pictures are in memory together: questions of like length are asked at once."""


@dataclass(frozen=True)
class AskedQuestion:
    """One question of a task."""

    task: str
    doc: int
    question: str
    settings: dict[str, Any]
    """The task's `generation_kwargs`."""
    pictures: Callable[[], Sequence[Any]]
    """Decodes them, as images of pillow."""


@dataclass
class Sitting:
    """One model that is asked the questions of some tasks.

    Args:
        journals: by task; a task without one is asked anew.
        most: tokens of an answer, where a task sets no limit.
    """

    speaker: Callable[[], Speaker] | None
    """Opens the model, which takes a while: only where something is left to ask. None: every answer is in the journals, or missing."""
    journals: dict[str, Journal] = field(default_factory=dict)
    most: int = 1024
    tell: Callable[[str, int, int], None] = lambda what, done, total: None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the answers of a task were given under."""
    missing: dict[str, list[int]] = field(default_factory=dict)
    """Documents of a task that have no answer, where nobody can be asked."""
    _speaker: Speaker | None = None

    def answers(self, asked: Sequence[AskedQuestion]) -> list[str]:
        """The answers, in the order of the questions. Only a model answers with nothing.

        Raises:
            UserError: a question that cannot be asked.
        """
        if self.speaker is None:
            return [self._stored(each) for each in asked]
        found = [
            journal.get(each.doc, each.question) if (journal := self.journals.get(each.task)) else None
            for each in asked
        ]
        left = [place for place, answer in enumerate(found) if answer is None]
        tasks = dict.fromkeys(each.task for each in asked)
        for task in tasks:
            if journal := self.journals.get(task):
                self.settings[task] = journal.settings  # what was answered before was asked in this way
            places = [place for place in left if asked[place].task == task]
            for place, answer in zip(places, self._said(task, [asked[place] for place in places]), strict=True):
                found[place] = answer
        return [answer for answer in found if answer is not None]

    def _stored(self, asked: AskedQuestion) -> str:
        answer = self.journals[asked.task].said(asked.doc)
        if answer is None:
            self.missing.setdefault(asked.task, []).append(asked.doc)
        return answer or ""

    def _said(self, task: str, asked: Sequence[AskedQuestion]) -> list[str]:
        said: list[str] = []
        self.tell(task, 0, len(asked))
        while len(said) < len(asked):
            few = asked[len(said) : len(said) + _AT_ONCE * self._open().batch]
            said += self._few(task, few, len(said), len(asked))
        return said

    def _few(self, task: str, asked: Sequence[AskedQuestion], before: int, total: int) -> list[str]:
        """One call of the model."""
        speaker, journal = self._open(), self.journals.get(task)
        most, until = self._allowed(task, asked[0].settings)
        done: dict[int, str] = {}

        def told(place: int, answer: str) -> None:
            done[place] = _until(answer, until)
            if journal:
                journal.put(asked[place].doc, asked[place].question, done[place])
            self.tell(task, before + len(done), total)

        self._note(task, most, until)
        try:
            speaker.answer([_question(each) for each in asked], most, told)
        except UserError as error:
            first, last = asked[0].doc, asked[-1].doc
            raise UserError(f"{task}, documents {first} to {last}: {error}") from error
        self._note(task, most, until)  # the batch may be smaller by now
        return [done[place] for place in range(len(asked))]

    def _note(self, task: str, most: int, until: Sequence[str]) -> None:
        self.settings[task] = {**self._open().settings(most), "until": list(until)}
        if journal := self.journals.get(task):
            journal.note(self.settings[task])

    def _allowed(self, task: str, settings: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
        """Tokens of an answer, and what ends it beside the model's own end.

        Raises:
            UserError: the task wants to draw answers by lot.
        """
        if settings.get("do_sample") or settings.get("temperature") or settings.get("num_beams", 1) != 1:
            raise UserError(
                f"{task} draws answers by lot or from several beams ({settings}), and here an answer is the likeliest; choose another task."
            )
        most = int(settings.get("max_new_tokens", self.most))
        until = settings.get("until", ())
        words = (until,) if isinstance(until, str) else tuple(until)
        ends = tuple(word for word in words if word and word != "\n\n")  # as lmms-eval's own adapters
        return most, ends

    def _open(self) -> Speaker:
        assert self.speaker is not None
        if self._speaker is None:
            self._speaker = self.speaker()
        return self._speaker


def _until(answer: str, ends: Sequence[str]) -> str:
    for end in ends:
        answer = answer.split(end)[0]
    return answer.strip()


def _question(asked: AskedQuestion) -> Question:
    from mllm.llava.speaker import Question

    try:
        return Question.of(asked.question, list(asked.pictures()))
    except Exception as error:  # of any decoder
        raise UserError(
            f"document {asked.doc} has a picture that cannot be read ({one_line(error, 160)}); fetch the data set again."
        ) from error


def speaker_of(model: Answerer) -> Speaker:
    """The model that a training left, on its device.

    Raises:
        UserError: the encoder is another one than it was trained on, or something cannot be loaded.
    """
    from mllm.llava.kept import load_llava
    from rice_core.encoders import load_encoder

    with contextlib.chdir(model.home):
        encoder = load_encoder(model.encoder)
    if encoder.weights_digest() != model.weights:
        raise UserError(
            f"{model.encoder.title} has other weights than the model was trained on; its file has changed since, so run it again."
        )
    return load_llava(Path(model.folder), encoder, device=model.device, batch=model.batch)
