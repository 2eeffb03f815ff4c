"""Answers that a model gave before, ours or any of lmms-eval's: read, and refused where it is not sure which question they are for.

answers.jsonl with told.json beside              of a stage of ours (`stages/<id>`), or a folder with several of them
<date>_samples_<task>.jsonl                      what lmms-eval's --log_samples leaves, one file or the folder of its --output_path
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllm.evaluate.columns import BENCHMARKS
from mllm.evaluate.local_task import LOCAL
from mllm.evaluate.request import ANSWERS, TOLD
from rice_core.digest import file_digest
from rice_core.disk.sealed import Damaged, Unsealed
from rice_core.errors import UserError, did_you_mean
from rice_core.measure.trained import read_trained
from rice_core.record import Skipped
from rice_core.stage import STAGE_JSON

_LOGGED = re.compile(r".*_samples_(?P<task>.+)\.jsonl")


@dataclass(frozen=True)
class StoredAnswer:
    """What a model said to one question."""

    doc: int
    """The question's place in its split."""
    question: str
    """As it was put; empty where that is not known."""
    answer: str
    target: str | None
    """What counted as right, as text; None where that is not known."""


@dataclass(frozen=True)
class StoredTask:
    """All answers to one task."""

    task: str
    file: Path
    answers: tuple[StoredAnswer, ...]
    """One a question, by its place."""
    skipped: tuple[Skipped, ...] = ()
    made_with: str = ""
    """The lmms-eval that judged them, where it is told."""
    logged: bool = False
    """By lmms-eval's own --log_samples."""


def read_stored(results: Path, task: str = "") -> list[StoredTask]:
    """The answers below a path, a value a task, in the order of the table.

    Args:
        task: of a file that does not say so itself; or the one of several that is meant.

    Raises:
        UserError: nothing is there, a file is damaged, a task is there twice, or nothing says which task it is.
    """
    found: dict[str, Path] = {}
    for file in _files(results):
        name = _task_of(file) or task
        if not name:
            raise UserError(f"{file.name} does not say which task it answers; write task=docvqa_val, say.")
        if task and name != task:
            continue
        if name in found:
            raise UserError(f"{found[name]} and {file} both answer {name}; give one of them.")
        found[name] = file
    unknown = next((name for name in found if name not in BENCHMARKS), None)
    if unknown is not None:
        near = did_you_mean(unknown, BENCHMARKS)
        raise UserError(
            f"{found[unknown].name}: {unknown} is no task of a column; {near}they are {', '.join(BENCHMARKS)}."
        )
    if not found:
        raise UserError(
            f"{results} has no answers{f' to {task}' * bool(task)}; give a folder with {ANSWERS}, or what lmms-eval's --log_samples left."
        )
    return [_read(name, found[name]) for name in BENCHMARKS if name in found]


def _files(results: Path) -> Iterator[Path]:
    if results.is_file():
        yield results
        return
    if not results.is_dir():
        raise UserError(f"{results} is not there; give a file or a folder of answers.")
    yield from sorted(results.rglob(ANSWERS))
    yield from (path for path in sorted(results.rglob("*.jsonl")) if _LOGGED.fullmatch(path.name))


def _check_unchanged(file: Path) -> None:
    """
    Raises:
        UserError: it lies in a stage, and is not what that was finished with.
    """
    path = file.parent / STAGE_JSON
    if not path.is_file():
        return
    try:
        kept = read_trained(path).files.get(file.name)
    except (Damaged, Unsealed) as error:
        raise UserError(
            f"{path} is damaged ({error}); run the cell again, or copy {file.name} to another folder."
        ) from None
    if kept != file_digest(file):
        raise UserError(f"{file} has been changed since it was made; run the cell again, or copy it to another folder.")


def _task_of(file: Path) -> str:
    if logged := _LOGGED.fullmatch(file.name):
        return logged["task"].removeprefix(LOCAL)
    return str(_told(file).get("task", ""))


def _told(file: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((file.parent / TOLD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told


def _read(task: str, file: Path) -> StoredTask:
    _check_unchanged(file)
    found: dict[int, StoredAnswer] = {}
    twice: dict[int, int] = {}
    for number, line in enumerate(_lines(file), start=1):
        try:
            answer = _answer(json.loads(line))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"{file.name}, line {number}, holds no answer ({type(error).__name__}: {error}); give {ANSWERS} of a stage, or lmms-eval's samples."
            ) from None
        # Once for each filter of lmms-eval: the same again is no contradiction.
        if answer.doc in found and found[answer.doc] != answer:
            twice[answer.doc] = twice.get(answer.doc, 1) + 1
        found[answer.doc] = answer
    skipped = tuple(
        Skipped(item=f"{task}/{doc:05}", reason=f"is answered {times} times, and otherwise each time")
        for doc, times in sorted(twice.items())
    )
    answers = tuple(answer for doc, answer in sorted(found.items()) if doc not in twice)
    return StoredTask(
        task, file, answers, skipped, str(_told(file).get("lmms_eval", "")), bool(_LOGGED.fullmatch(file.name))
    )


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8") as lines:
            yield from (line for line in lines if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}); give another one.") from None


def _answer(row: dict[str, Any]) -> StoredAnswer:
    if "doc_id" not in row:
        return StoredAnswer(int(row["doc"]), str(row["question"]), _text(row["answer"]), _as_text(row.get("target")))
    # lmms-eval leaves `resps` away where its filter changed nothing.
    said = row.get("resps", row.get("filtered_resps"))
    while isinstance(said, list):
        (said,) = said  # of several answers to one question none is the answer
    question = row["input"] if "input" in row else row["arguments"][0]
    return StoredAnswer(int(row["doc_id"]), str(question), _text(said), _as_text(row.get("target")))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"an answer is text, not {value!r}")
    return value


def _as_text(target: Any) -> str | None:
    """As lmms-eval writes it into its log."""
    return None if target is None else str(target)
