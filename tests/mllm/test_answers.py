"""The stage of answers and what it is made with, without lmms-eval: a child that a test plays."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import asked_tables
import pytest

from mllm.evaluate import child, requirements
from mllm.evaluate.answers import Answers, read_answers
from mllm.evaluate.journal import Journal
from mllm.evaluate.request import AnswerRequest
from mllm.evaluate.requirements import check_requirements, requirements_of
from mllm.evaluate.sitting import AskedQuestion, Sitting
from rice_core.datasets.nouns import Conversation, Dataset
from rice_core.encoders import load_encoder
from rice_core.errors import MissingExtra, UserError
from rice_core.spec import DatasetSpec, EncoderSpec
from rice_core.stage import Companion, Stage, StageSpec

NOISE = EncoderSpec.parse("synthetic:noise")


@dataclass(frozen=True)
class Trained(Stage):
    """Stands for the training."""

    rate: float = 1.0

    @property
    def spec(self) -> StageSpec:
        return StageSpec(name="instruct", params={"rate": self.rate})


def questions(folder: Path, task: str, *documents: int) -> Dataset:
    file = folder / f"{task}.parquet"
    file.write_bytes(b"rows")
    items = tuple(Conversation(id=f"{task}/{k:05}", turns=(), images=(file,)) for k in documents)
    spec = DatasetSpec(name="mini", layout="llava", fingerprint=task)
    return Dataset(spec=spec, classes=(), splits={task: items}, provides=frozenset({"questions"}))


def stage(folder: Path, task: str = "docvqa_val", *documents: int, **other: Any) -> Answers:
    return Answers(task, questions(folder, task, *(documents or (0, 1))), **{"trained": Trained(), **other})


class Work:
    """Of a training, with a child that notes what it is asked and answers it."""

    def __init__(self, folder: Path, *companions: Companion) -> None:
        self.folder, self.companions, self.requests = folder, companions, []

    def child(self, module: ModuleType, request: Any, *, cwd: Path) -> Any:
        assert module is child
        cwd.mkdir(parents=True)
        (cwd / "submissions").mkdir()
        asked = AnswerRequest.model_validate(json.loads(json.dumps(request)))
        self.requests: list[AnswerRequest]
        self.requests.append(asked)
        for task in asked.tasks:
            out = Path(task.out)
            out.mkdir(parents=True, exist_ok=True)
            lines = [
                {"doc": k, "question": "?", "answer": task.name, "target": "", "judged": {}} for k in task.documents
            ]
            (out / "answers.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            (out / "told.json").write_text(json.dumps({"key": asked.key, "task": task.name}))
        return {"failed": {}, "missing": {}}


@pytest.fixture
def start(tmp_path: Path) -> Path:
    folder = tmp_path / "start"
    folder.mkdir()
    (folder / "stage.json").write_text("{}")
    return folder


def train(one: Answers, work: Work, start: Path, out: Path) -> None:
    out.mkdir()
    assert one.train(load_encoder(NOISE), start, out, seed=0, work=work) == []  # type: ignore[arg-type]


def test_one_child_for_all_tasks_of_a_model(tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mllm.evaluate.answers.requirements_of", lambda task: ("jieba",) if task == "ocrbench_v2" else ()
    )
    monkeypatch.setattr("mllm.evaluate.answers.check_requirements", lambda task: None)
    first, second, third = (stage(tmp_path, task, 4, 2) for task in ("docvqa_val", "mme", "ocrbench_v2"))
    others = [Companion(each, 0, tmp_path / each.task) for each in (second, third)]
    work = Work(tmp_path / "docvqa_val", *others)
    train(first, work, start, tmp_path / "1")
    (asked,) = work.requests
    # What cannot be judged is not asked: in its turn it says what is missing.
    assert [(task.name, task.documents, Path(task.files[0]).name) for task in asked.tasks] == [
        ("docvqa_val", (4, 2), "docvqa_val.parquet"),
        ("mme", (4, 2), "mme.parquet"),
    ]
    assert asked.model is not None
    assert (asked.model.encoder, asked.model.folder, asked.model.batch) == (load_encoder(NOISE).spec, str(start), 8)
    assert asked.about == {"encoder": "synthetic:noise?res=96", "weights": asked.model.weights, "trained": "start"}
    assert not (tmp_path / "docvqa_val" / "child").exists()
    assert {path.name for path in (tmp_path / "1").iterdir()} == {"answers.jsonl", "told.json"}
    assert [row["doc"] for row in read_answers(tmp_path / "1")] == [4, 2]
    alone = Work(tmp_path / "mme")
    train(second, alone, start, tmp_path / "2")
    assert alone.requests == []
    assert [row["answer"] for row in read_answers(tmp_path / "2")] == ["mme", "mme"]


def test_answers_of_another_training_are_not_taken(tmp_path: Path, start: Path) -> None:
    pytest.importorskip("lmms_eval")
    work = Work(tmp_path / "work")
    train(stage(tmp_path), work, start, tmp_path / "1")
    train(stage(tmp_path), work, start, tmp_path / "2")
    assert len(work.requests) == 1
    (start / "stage.json").write_text('{"trained": "again"}')
    train(stage(tmp_path), work, start, tmp_path / "3")
    train(stage(tmp_path, batch=2), work, start, tmp_path / "4")
    assert len({request.key for request in work.requests}) == 3


def test_whose_answers_can_be_given_together(tmp_path: Path) -> None:
    one = stage(tmp_path)
    assert one.shares_with(stage(tmp_path, "mme"))
    assert not one.shares_with(stage(tmp_path, "mme", batch=4))
    assert not one.shares_with(stage(tmp_path, "mme", most=7))
    assert not one.shares_with(stage(tmp_path, "mme", trained=Trained(rate=2.0)))
    assert not one.shares_with(Trained())
    assert one.alone
    assert not one.trained.alone
    assert one.spec != stage(tmp_path, "mme").spec


def test_a_module_of_a_session_is_refused(tmp_path: Path, start: Path) -> None:
    pytest.importorskip("lmms_eval")
    encoder: Any = SimpleNamespace(
        spec=NOISE.model_copy(update={"source": "own"}), weights_digest=lambda: "w", device="cpu"
    )
    with pytest.raises(UserError, match="is a module of this Python session"):
        stage(tmp_path).train(encoder, start, tmp_path, seed=0, work=Work(tmp_path / "w"))  # type: ignore[arg-type]


def test_a_journal_gives_back_what_was_answered_and_nothing_of_another_key(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.jsonl"
    first = Journal(path, "a")
    first.put(3, "Why?", "Since\nso \u2028 it is")
    first.put(4, "Who?", "")
    with path.open("a") as file:
        file.write('{"doc": 5, "question": "Wh')
    again = Journal(path, "a")
    assert again.get(3, "Why?") == "Since\nso \u2028 it is"
    assert again.get(4, "Who?") == ""
    assert again.get(3, "Who?") is again.get(5, "Wh") is None
    again.put(5, "When?", "now")
    assert Journal(path, "a").get(5, "When?") == "now"
    assert Journal(path, "b").get(3, "Why?") is None
    assert Journal(path, "a").get(3, "Why?") is None


class Echo:
    """Says what it was asked, and notes how."""

    batch = 2

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def settings(self, most: int) -> dict[str, Any]:
        return {"most": most}

    def answer(self, asked: Any, most: int, told: Any) -> list[str]:
        self.calls.append((len(asked), most))
        for place in reversed(range(len(asked))):
            told(place, f"{asked[place].turns[0].text}STOP more")
        return []


def asked(task: str, doc: int, **settings: Any) -> AskedQuestion:
    return AskedQuestion(task, doc, f"{task}{doc}", settings, list)


def test_answers_come_in_order_whoever_gave_them(tmp_path: Path) -> None:
    echo, shown = Echo(), []
    journal = Journal(tmp_path / "j", "k")
    journal.put(1, "a1", "kept")
    speaker: Any = lambda: echo  # noqa: E731
    sitting = Sitting(speaker, {"a": journal}, most=99, tell=lambda *each: shown.append(each))
    found = sitting.answers(
        [
            asked("a", 0, max_new_tokens=5),
            asked("b", 0, until=["STOP", "\n\n"]),
            asked("a", 1),
            asked("a", 2, max_new_tokens=5),
        ]
    )
    assert found == ["a0STOP more", "b0", "kept", "a2STOP more"]
    assert echo.calls == [(2, 5), (1, 99)]
    assert sitting.settings == {"a": {"most": 5, "until": []}, "b": {"most": 99, "until": ["STOP"]}}
    assert shown == [("a", 0, 2), ("a", 1, 2), ("a", 2, 2), ("b", 0, 1), ("b", 1, 1)]
    assert Journal(tmp_path / "j", "k").get(2, "a2") == "a2STOP more"


def test_how_answers_were_given_is_known_when_nothing_is_left_to_ask(tmp_path: Path) -> None:
    """A kill between the last answer and its judge: the record would say nothing of how the model was asked."""
    speaker: Any = Echo
    Sitting(speaker, {"a": Journal(tmp_path / "j", "k")}).answers([asked("a", 0, max_new_tokens=5)])
    again = Sitting(lambda: pytest.fail("opened"), {"a": Journal(tmp_path / "j", "k")})
    assert again.answers([asked("a", 0, max_new_tokens=5)]) == ["a0STOP more"]
    assert again.settings == {"a": {"most": 5, "until": []}}


def test_the_batch_that_memory_has_left_is_noted(tmp_path: Path) -> None:
    class Smaller(Echo):
        def settings(self, most: int) -> dict[str, Any]:
            return {"most": most, "batch": self.batch}

        def answer(self, questions: Any, most: int, told: Any) -> list[str]:
            self.batch = 1
            return super().answer(questions, most, told)

    speaker: Any = Smaller
    sitting = Sitting(speaker, {"a": Journal(tmp_path / "j", "k")})
    sitting.answers([asked("a", 0, max_new_tokens=5)])
    assert sitting.settings["a"]["batch"] == 1
    assert Journal(tmp_path / "j", "k").settings["batch"] == 1


@pytest.mark.parametrize("torn", [b"", b"\x00\x00", b'{"key": "k"}\n{"doc": 1, "question": "a1", "answ\n{"doc": 2}\n'])
def test_a_journal_that_is_torn_begins_where_it_is_whole(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "j").write_bytes(torn)
    journal = Journal(tmp_path / "j", "k")
    assert (journal.said(1), journal.said(2)) == (None, None)
    journal.put(1, "a1", "kept")
    assert Journal(tmp_path / "j", "k").get(1, "a1") == "kept"


def test_few_pictures_are_in_memory_at_once() -> None:
    echo = Echo()
    speaker: Any = lambda: echo  # noqa: E731
    Sitting(speaker).answers([asked("a", k) for k in range(40)])
    assert [n for n, _ in echo.calls] == [16, 16, 8]


def test_what_nobody_can_be_asked_is_missing_and_a_stored_answer_counts_however_it_was_asked(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "k")
    journal.put(4, "in other words", "kept")
    sitting = Sitting(None, {"a": journal})
    assert sitting.answers([asked("a", 3), asked("a", 4), asked("a", 5)]) == ["", "kept", ""]
    assert sitting.missing == {"a": [3, 5]}


@pytest.mark.parametrize("settings", [{"do_sample": True}, {"temperature": 0.7}, {"num_beams": 5}])
def test_answers_drawn_by_lot_are_refused(settings: dict[str, Any]) -> None:
    speaker: Any = Echo
    with pytest.raises(UserError, match="here an answer is the likeliest"):
        Sitting(speaker).answers([asked("a", 3, **settings)])


def test_a_picture_that_cannot_be_read_fails_and_is_named() -> None:
    def damaged() -> list[Any]:
        raise OSError("image file is truncated")

    speaker: Any = Echo
    with pytest.raises(UserError, match=r"document 7 has a picture that cannot be read .*truncated"):
        Sitting(speaker).answers([replace(asked("a", 7), pictures=damaged)])


def test_what_a_scorer_needs_is_named_before(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"lmms_eval", "nltk", "jieba", "lxml", "zss"}
    monkeypatch.setattr(requirements, "find_spec", lambda name: name if name in there else None)
    monkeypatch.setattr(requirements, "_has_wordnet", lambda: False)
    assert requirements_of("docvqa_val") == ()
    missing = ("apted", "distance", "editdistance", "levenshtein")
    assert requirements_of("ocrbench_v2") == (*missing, "nltk's wordnet")
    commands = f"pip install {' '.join(missing)} && python -m nltk.downloader wordnet$"
    with pytest.raises(UserError, match=commands):
        check_requirements("ocrbench_v2")
    there.remove("lmms_eval")
    with pytest.raises(MissingExtra, match=r"ricebench\[mllm\]"):
        requirements_of("docvqa_val")


def test_task_files_for_any_model_of_lmms_eval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lmms_eval")
    pytest.importorskip("datasets")
    import yaml

    from mllm.cli import lmms_tasks

    file = asked_tables.docvqa(tmp_path / "data")
    lmms_tasks(tmp_path / "data", tmp_path / "tasks")
    (written,) = (tmp_path / "tasks").iterdir()
    body = yaml.safe_load(written.read_text())
    # Under another name: of two of one name lmms-eval takes its own.
    assert (written.name, body["task"]) == ("local_docvqa_val.yaml", "local_docvqa_val")
    assert Path(body["include"]).parts[-3:] == ("tasks", "docvqa", "docvqa_val.yaml")
    assert (body["dataset_path"], body["dataset_name"]) == ("parquet", None)
    assert body["dataset_kwargs"] == {"data_files": {"validation": [str(file)]}}
    assert "--tasks local_docvqa_val --log_samples" in capsys.readouterr().out
    with pytest.raises(UserError, match="has no table of questions"):
        lmms_tasks(tmp_path / "tasks", tmp_path / "more")
