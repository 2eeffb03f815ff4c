"""Stored answers judged again by the lmms-eval that is installed, question by question against the data set that is given now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from mllm.evaluate import child
from mllm.evaluate.answers import read_answers
from mllm.evaluate.journal import Journal
from mllm.evaluate.request import TOLD, AnswerRequest, AskedTask
from mllm.evaluate.stored import StoredAnswer, StoredTask
from mllm.evaluate.tables import TableQuestions
from rice_core.echo import visible
from rice_core.errors import UserError
from rice_core.measure.child import run_child
from rice_core.record import Skipped

Prompt = Literal["same", "any"]
_KEY = "stored"


@dataclass(frozen=True)
class RescoredTask:
    """One task's answers, as they are judged now."""

    stored: StoredTask
    rows: tuple[dict[str, Any], ...]
    """Of those answers that are surely to the data set's questions: as in answers.jsonl."""
    skipped: tuple[Skipped, ...]
    told: dict[str, Any]
    """As in told.json; lmms-eval's aggregates are there where every question counts."""
    reworded: int
    """Questions that were put in other words around the same question."""

    @property
    def task(self) -> str:
        return self.stored.task


def rescored(stored: Sequence[StoredTask], tables: dict[str, TableQuestions], prompt: Prompt) -> list[RescoredTask]:
    """One child process judges them all; no model is asked.

    Args:
        prompt: any: an answer counts whatever question it says it was given to, where what is right is the same.

    Raises:
        UserError: lmms-eval failed.
    """
    with TemporaryDirectory(prefix="ricebench-answers-") as name:
        place = Path(name)
        tasks = [_asked(each, tables[each.task], place) for each in stored]
        request = AnswerRequest(tasks=tuple(tasks), model=None, key=_KEY)
        said = run_child(child, request.model_dump(mode="json"), cwd=place / "own", timeout=None, say=lambda line: None)
        if said["failed"]:
            raise UserError(next(iter(said["failed"].values())))
        return [
            _compared(each, Path(task.out), said["missing"].get(each.task, []), len(task.documents), prompt)
            for each, task in zip(stored, tasks, strict=True)
        ]


def _asked(stored: StoredTask, table: TableQuestions, place: Path) -> AskedTask:
    path = place / f"{stored.task}.jsonl"
    journal = Journal(path, _KEY)
    for each in stored.answers:
        journal.put(each.doc, each.question, each.answer)
    files = tuple(str(file.absolute()) for file in table.files)
    return AskedTask(
        name=stored.task, files=files, documents=tuple(table.rows), out=str(place / stored.task), journal=str(path)
    )


def _compared(stored: StoredTask, out: Path, missing: list[int], questions: int, prompt: Prompt) -> RescoredTask:
    """What of the answers is surely to the questions that were judged."""
    told = json.loads((out / TOLD).read_text(encoding="utf-8"))
    rows, skipped, reworded = [], list(stored.skipped), 0
    skipped += [
        Skipped(item=f"{stored.task}/{each.doc:05}", reason=f"is no question of the data set, which has {questions}")
        for each in stored.answers
        if each.doc >= questions
    ]
    twice = {skip.item for skip in stored.skipped}
    unanswered = [doc for doc in missing if f"{stored.task}/{doc:05}" not in twice]
    if unanswered:
        first = f"{stored.task}/{unanswered[0]:05}"
        skipped.append(Skipped(item=first, reason="has no answer", times=len(unanswered)))
    given = {each.doc: each for each in stored.answers}
    judged = list(read_answers(out))
    core = _core([str(row["question"]) for row in judged])
    for row in judged:
        each = given[row["doc"]]
        if reason := _another(each, row, core, prompt):
            skipped.append(Skipped(item=f"{stored.task}/{each.doc:05}", reason=reason))
            continue
        reworded += bool(each.question) and each.question != row["question"]
        rows.append(row)
    if skipped:
        told["aggregated"] = {}
    return RescoredTask(stored, tuple(rows), tuple(skipped), told, reworded)


def _another(given: StoredAnswer, row: dict[str, Any], core: slice, prompt: Prompt) -> str:
    """Why an answer may be to another question than it was judged for; empty where it is not."""
    if given.target is not None and given.target != str(row["target"]):
        return f"was right as {_short(given.target)}, and the data set now has {_short(str(row['target']))}"
    own = str(row["question"])
    if prompt == "any" or not given.question or given.question == own:
        return ""
    asked = own[core]
    if asked.strip() and asked.strip().casefold() in given.question.casefold():
        return ""
    return f"answers {_short(given.question)}, and the data set asks {_short(own)}"


def _core(questions: list[str]) -> slice:
    """Where of a prompt its own question stands: all prompts of a task have the same words before and after it."""
    before = _alike(questions)
    after = _alike([question[before:][::-1] for question in questions])
    return slice(before, -after or None)


def _alike(texts: list[str]) -> int:
    """Letters that all begin with."""
    return next(
        (k for k, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1), min(map(len, texts))
    )


def _short(text: str) -> str:
    text = visible(" ".join(text.split()))
    return f"{text[:60]!r}{'...' * (len(text) > 60)}"
