"""lmms-eval in one child process: what it leaves, what it takes up again, what it refuses. Each child costs ten CPU seconds."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import asked_tables as tables
import pytest

from rice_core.errors import UserError
from rice_core.measure.child import run_child

pytest.importorskip("lmms_eval", reason='lmms-eval is not installed: pip install "ricebench[mllm]"')


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    return {"docvqa_val": tables.docvqa(folder), "mme": tables.mme(folder)}


def ask(folder: Path, *tasks: Any, shown: list[Any] | None = None, **other: Any) -> Any:
    def track(sequence: Any, what: str) -> Any:
        for each in sequence:
            yield each
            if shown is not None:
                shown.append((what, each + 1, len(sequence)))

    module = importlib.import_module("asked_tables")
    request = tables.request(*tasks, **other)
    return run_child(module, request, cwd=folder / "own", timeout=300, say=lambda line: None, track=track)


def rows(folder: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / task / "answers.jsonl").read_text().splitlines()]


def told(folder: Path, task: str) -> dict[str, Any]:
    return json.loads((folder / "out" / task / "told.json").read_text())  # type: ignore[no-any-return]


def test_one_child_answers_and_judges_two_tasks(data: dict[str, Path], tmp_path: Path) -> None:
    shown: list[Any] = []
    tasks = [tables.task(tmp_path, name, path, 4) for name, path in data.items()]
    assert ask(tmp_path, *tasks, shown=shown, answers=tables.ANSWERS) == {"failed": {}, "missing": {}}
    found = rows(tmp_path, "docvqa_val")
    after = "\nAnswer the question using a single word or phrase."
    assert [row["question"] for row in found] == [question + after for question, *_ in tables.DOCVQA]
    assert [row["answer"] for row in found] == [said.strip() for said in tables.ANSWERS.values()]
    assert [row["target"] for row in found] == [answers for _, answers, _ in tables.DOCVQA]
    # Trap 28: exactly half counts, blanks and case do not.
    assert [row["judged"] for row in found] == [{"anls": value} for value in tables.ANLS]
    said = told(tmp_path, "docvqa_val")
    assert said["aggregated"] == {"anls,none": sum(tables.ANLS) / 4}
    assert (said["task"], said["split"], said["n"], said["key"]) == ("docvqa_val", "validation", 4, "key")
    assert said["generation"]["most"] == 32
    assert said["model"] == {"encoder": "synthetic:noise"}
    assert said["lmms_eval"].startswith("0.7.")
    # Of MME's two images one question each is right: the accuracy over questions and over pairs.
    assert told(tmp_path, "mme")["aggregated"] == {"mme_perception_score,none": 50.0}
    assert [row["judged"]["mme_perception_score"]["score"] for row in rows(tmp_path, "mme")] == [1, 0, 1, 0]
    # What it writes elsewhere than it is told lies in its own folder.
    assert {path.name for path in tmp_path.iterdir()} == {"own", "out", "journals"}
    assert shown == [(name, k, 4) for name in ("docvqa_val", "mme") for k in range(1, 5)]


@pytest.mark.slow
def test_a_killed_child_goes_on_with_the_answers_that_are_there(data: dict[str, Path], tmp_path: Path) -> None:
    tasks = [tables.task(tmp_path, name, path, 4) for name, path in data.items()]
    with pytest.raises(UserError, match="was killed by signal 9"):
        ask(tmp_path, *tasks, kill=4, answers=tables.ANSWERS)
    journal = Path(tasks[0].journal)
    assert len(journal.read_text().splitlines()) == 2 + 3  # a key, and how the answers were given
    with journal.open("a") as file:
        file.write('{"doc": 3, "ques')  # a kill in the middle of a line
    assert not (tmp_path / "out").exists()
    # What is answered anew is answered otherwise, so that it can be told apart.
    assert ask(tmp_path, *tasks, other="new")["failed"] == {}
    assert [row["answer"] for row in rows(tmp_path, "docvqa_val")] == ["coca  cola", "1990", "zzzz", "new"]
    assert (tmp_path / "own" / "asked.txt").read_text() == "1 32\n4 16\n"
    # Of another model: nothing of it.
    assert ask(tmp_path, *tasks, key="another", other="other")["failed"] == {}
    assert {row["answer"] for task in data for row in rows(tmp_path, task)} == {"other"}


@pytest.mark.slow
def test_a_crash_is_no_empty_answer(data: dict[str, Path], tmp_path: Path) -> None:
    tasks = [tables.task(tmp_path, name, path, 4) for name, path in data.items()]
    with pytest.raises(UserError, match="docvqa_val, documents 0 to 3: memory is full"):
        ask(tmp_path, *tasks, crash=2)
    assert not (tmp_path / "out").exists()
    # Of a companion it is no loss of the first.
    assert "memory is full" in ask(tmp_path, *tasks, crash=6)["failed"]["mme"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"docvqa_val"}


@pytest.mark.slow
def test_a_task_that_calls_a_service_has_no_score(data: dict[str, Path], tmp_path: Path) -> None:
    tasks = [tables.task(tmp_path, name, path, 4) for name, path in data.items()]
    with pytest.raises(UserError, match=r"^docvqa_val tried to reach service\.example"):
        ask(tmp_path, *tasks, call="service.example")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_some_documents_of_a_table(data: dict[str, Path], tmp_path: Path) -> None:
    task = tables.task(tmp_path, "docvqa_val", data["docvqa_val"], 4)
    ask(tmp_path, task.model_copy(update={"documents": (1, 3)}), answers=tables.ANSWERS)
    assert [(row["doc"], row["answer"]) for row in rows(tmp_path, "docvqa_val")] == [(1, "1990"), (3, "")]
    with pytest.raises(UserError, match="has 4 questions, and question 4 is asked"):
        ask(tmp_path, task.model_copy(update={"documents": (1, 4)}))
