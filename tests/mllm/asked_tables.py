"""Small tables of questions in the schemas of the hub's repositories, and a child whose model says what a test wants."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mllm.evaluate.request import Answerer, AnswerRequest, AskedTask
from mllm.llava.speaker import Question
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec

DOCVQA = [
    ("What is the brand?", ["Coca Cola"], "a"),
    ("What is the year?", ["1991"], "a"),
    ("What is the word?", ["abxx"], "b"),
    ("What is the total?", ["17"], "c"),
]
"""Question, answers, document."""
ANSWERS = {
    "What is the brand?": "coca  cola ",
    "What is the year?": "1990",
    "What is the word?": "zzzz",
    "What is the total?": "",
}
ANLS = (1.0, 0.75, 0.0, 0.0)
MME = [("Is it red?", "Yes", "1"), ("Is it blue?", "No", "1"), ("Is it one?", "Yes", "2"), ("Is it two?", "No", "2")]


def docvqa(folder: Path, rows: Sequence[tuple[str, list[str], str]] = DOCVQA) -> Path:
    from datasets import Dataset, Features, Value
    from datasets import Image as Picture
    from datasets import Sequence as Many

    features = Features(
        questionId=Value("string"), question=Value("string"), image=Picture(), answers=Many(Value("string"))
    )
    features |= {"ucsf_document_id": Value("string"), "question_types": Many(Value("string"))}
    columns = {
        "questionId": [str(k) for k in range(len(rows))],
        "question": [row[0] for row in rows],
        "image": [Image.new("RGB", (40, 30), (k, 0, 0)) for k in range(len(rows))],
        "answers": [row[1] for row in rows],
        "ucsf_document_id": [row[2] for row in rows],
        "question_types": [["free_text", "layout"]] * len(rows),
    }
    return _parquet(
        Dataset.from_dict(columns, features),
        folder / "lmms-lab-encoder/DocVQA/DocVQA/validation-00000-of-00001.parquet",
    )


def mme(folder: Path) -> Path:
    from datasets import Dataset, Features, Value
    from datasets import Image as Picture

    features = Features(
        {name: Value("string") for name in ("question_id", "question", "answer", "category")} | {"image": Picture()}
    )
    columns = {
        "question_id": [row[2] for row in MME],
        "question": [f"{row[0]} Please answer yes or no." for row in MME],
        "answer": [row[1] for row in MME],
        "category": ["color"] * len(MME),
        "image": [Image.new("RGB", (30, 30))] * len(MME),
    }
    return _parquet(
        Dataset.from_dict(columns, features), folder / "lmms-lab-encoder/MME/data/test-00000-of-00001.parquet"
    )


def _parquet(table: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path)
    return path


def task(folder: Path, name: str, path: Path, rows: int) -> AskedTask:
    return AskedTask(
        name=name,
        files=(str(path),),
        documents=tuple(range(rows)),
        out=str(folder / "out" / name),
        journal=str(folder / "journals" / f"{name}.jsonl"),
    )


def request(*tasks: AskedTask, key: str = "key", **behaviour: Any) -> dict[str, Any]:
    """Of a child of this module. behaviour: see `Scripted`."""
    encoder = EncoderSpec.parse("synthetic:noise")
    model = Answerer(encoder=encoder, weights="", folder=json.dumps(behaviour), device="cpu", batch=2)
    asked = AnswerRequest(tasks=tasks, model=model, key=key, about={"encoder": encoder.title})
    return asked.model_dump(mode="json")


class Scripted:
    """A speaker that says what it was told to.

    Args:
        answers: by what the question begins with. other: what it says else. crash, kill: at which question it fails, or ends its process. call: a host that it tries
            to reach, as a scorer might that does without where it cannot.
    """

    def __init__(
        self,
        answers: dict[str, str] | None = None,
        other: str = "Yes",
        crash: int | None = None,
        kill: int | None = None,
        call: str = "",
    ) -> None:
        self.batch, self._asked, self._call = 2, 0, call
        self._answers, self._other, self._crash, self._kill = answers or {}, other, crash, kill

    def settings(self, most: int) -> dict[str, Any]:
        return {"most": most, "greedy": True}

    def answer(
        self, questions: Sequence[Question], most: int, told: Callable[[int, str], object] | None = None
    ) -> list[str]:
        if self._call:
            with contextlib.suppress(OSError):
                socket.create_connection((self._call, 80), timeout=1)
        found = []
        for place, question in enumerate(questions):
            self._asked += 1
            if self._asked == self._crash:
                raise UserError("memory is full; use a device with more memory.")
            if self._asked == self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            (turn,) = question.turns
            (picture,) = question.pictures
            assert picture.mode == "RGB"
            text = turn.text.removeprefix("<image>\n")
            found.append(next((said for begins, said in self._answers.items() if text.startswith(begins)), self._other))
            if told:
                told(place, found[-1].strip())
        with Path("asked.txt").open("a") as file:
            file.write(f"{len(questions)} {most}\n")
        return found


def main(request: Any, tell: Any) -> Any:
    """In a child: lmms-eval with a scripted model."""
    from mllm.evaluate import child

    child.speaker_of = lambda model: Scripted(**json.loads(model.folder))  # type: ignore[assignment]
    return child.main(request, tell)
