"""Stored generations are read in each form that people have, and what is not surely an answer to a question is refused or counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mllm.evaluate.rescored import _compared, _core
from mllm.evaluate.stored import StoredAnswer, StoredTask, read_stored
from rice_core.errors import UserError

OURS = [
    {"doc": 1, "question": "B?\nShort.", "answer": "", "target": ["b"], "judged": {"anls": 0.0}},
    {"doc": 0, "question": "A?\nShort.", "answer": "a", "target": ["a"], "judged": {"anls": 1.0}},
]
LOGGED = [
    # As EvaluationTracker.save_results_samples of lmms-eval 0.7.3 leaves them.
    {"doc_id": 0, "target": "['a']", "filtered_resps": "a", "input": "A?\nShort.", "anls": 1.0, "doc_hash": "7"},
    {"doc_id": 1, "target": "['b']", "filtered_resps": "B", "resps": ["B. no"], "input": "B?\nShort.", "doc_hash": "7"},
    {"doc_id": 2, "target": "['c']", "filtered_resps": "", "resps": [[""]], "input": "C?\nShort.", "doc_hash": "7"},
]


def write(path: Path, rows: list[dict[str, Any]], **told: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    if told:
        (path.parent / "told.json").write_text(json.dumps(told))
    return path


def test_ours_alone_and_in_a_folder_of_several(tmp_path: Path) -> None:
    file = write(tmp_path / "2" / "answers.jsonl", OURS, task="docvqa_val", lmms_eval="0.7.3")
    write(tmp_path / "1" / "answers.jsonl", OURS, task="mme", lmms_eval="0.7.3")
    for place in (file, file.parent):
        (found,) = read_stored(place)
        assert (found.task, found.made_with, found.skipped) == ("docvqa_val", "0.7.3", ())
        assert found.answers == (
            StoredAnswer(0, "A?\nShort.", "a", "['a']"),
            StoredAnswer(1, "B?\nShort.", "", "['b']"),
        )
    assert [each.task for each in read_stored(tmp_path)] == ["docvqa_val", "mme"]
    assert [each.task for each in read_stored(tmp_path, "mme")] == ["mme"]


def test_of_lmms_eval(tmp_path: Path) -> None:
    write(tmp_path / "Qwen__Qwen2.5" / "20260101_120000_samples_docvqa_val.jsonl", LOGGED)
    (tmp_path / "Qwen__Qwen2.5" / "20260101_120000_results.json").write_text("{}")
    (found,) = read_stored(tmp_path)
    # The model's own words, not what a filter made of them.
    assert [each.answer for each in found.answers] == ["a", "B. no", ""]
    assert [each.target for each in found.answers] == ["['a']", "['b']", "['c']"]
    assert found.made_with == ""


def test_a_file_that_does_not_say_its_task(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", OURS)
    with pytest.raises(UserError, match="does not say which task it answers; write task="):
        read_stored(file)
    assert [each.task for each in read_stored(file, "ai2d")] == ["ai2d"]
    with pytest.raises(UserError, match="docvqa is no task of a column; did you mean docvqa_val"):
        read_stored(file, "docvqa")


def test_a_question_answered_twice_is_counted_and_not_chosen_from(tmp_path: Path) -> None:
    rows = [*OURS, {**OURS[0]}, {**OURS[1], "answer": "other"}, {**OURS[1], "answer": "third"}]
    (found,) = read_stored(write(tmp_path / "answers.jsonl", rows, task="docvqa_val"))
    assert [each.doc for each in found.answers] == [1]
    assert [(skip.item, skip.reason) for skip in found.skipped] == [
        ("docvqa_val/00000", "is answered 3 times, and otherwise each time")
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"doc": 0, "question": "?"}], "line 1, holds no answer .*KeyError"),
        ([{"doc": 0, "question": "?", "answer": None}], "an answer is text, not None"),
        ([{"doc_id": 0, "input": "?", "filtered_resps": "a", "resps": ["a", "b"]}], "holds no answer"),
        ([{"doc_id": 0, "input": "?", "target": "a"}], "holds no answer"),
    ],
)
def test_what_is_no_answer_is_refused(rows: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        read_stored(write(tmp_path / "x_samples_docvqa_val.jsonl", rows))


def test_two_runs_of_one_task_are_not_chosen_from(tmp_path: Path) -> None:
    for date in ("20260101", "20260102"):
        write(tmp_path / f"{date}_samples_mme.jsonl", LOGGED)
    with pytest.raises(UserError, match=r"20260101_samples_mme.jsonl and .*20260102_samples_mme.jsonl both answer mme"):
        read_stored(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        read_stored(tmp_path / "none")
    with pytest.raises(UserError, match="has no answers;"):
        read_stored(tmp_path)


JUDGED = [
    {"doc": k, "question": f"Question: {word}?\nShort.", "answer": "x", "target": [word], "judged": {"anls": 1.0}}
    for k, word in enumerate(("apple", "banana", "cherry"))
]


def compared(tmp_path: Path, *answers: StoredAnswer, missing: tuple[int, ...] = (), prompt: Any = "same") -> Any:
    docs = {each.doc for each in answers}
    told = {"aggregated": {"anls,none": 0.5}, "lmms_eval": "0.7.3"}
    write(tmp_path / "answers.jsonl", [row for row in JUDGED if row["doc"] in docs], **told)
    stored = StoredTask("docvqa_val", tmp_path, answers)
    return _compared(stored, tmp_path, list(missing), 3, prompt)


def test_the_same_questions_count(tmp_path: Path) -> None:
    found = compared(tmp_path, *(StoredAnswer(row["doc"], row["question"], "x", str(row["target"])) for row in JUDGED))
    assert [row["doc"] for row in found.rows] == [0, 1, 2]
    assert (found.skipped, found.reworded, found.told["aggregated"]) == ((), 0, {"anls,none": 0.5})


def test_other_words_around_the_same_question_are_noted(tmp_path: Path) -> None:
    words = ("apple", "banana", "cherry")
    found = compared(tmp_path, *(StoredAnswer(k, f"{word}? Answer:", "x", None) for k, word in enumerate(words)))
    assert (len(found.rows), found.skipped, found.reworded) == (3, (), 3)


def test_answers_to_another_version_of_the_data_are_left_out_and_counted(tmp_path: Path) -> None:
    answers = (
        StoredAnswer(0, "Question: apple?\nShort.", "x", "['pear']"),
        StoredAnswer(1, "Question: melon?\nShort.", "x", "['banana']"),
        StoredAnswer(7, "Question: fig?\nShort.", "x", "['fig']"),
    )
    found = compared(tmp_path, *answers, missing=(2,))
    assert found.rows == ()
    assert [(skip.item[-1], skip.reason, skip.times) for skip in found.skipped] == [
        ("7", "is no question of the data set, which has 3", 1),
        ("2", "has no answer", 1),
        ("0", """was right as "['pear']", and the data set now has "['apple']\"""", 1),
        ("1", "answers 'Question: melon? Short.', and the data set asks 'Question: banana? Short.'", 1),
    ]
    # Of some answers alone lmms-eval's own aggregate says nothing.
    assert found.told["aggregated"] == {}
    found = compared(tmp_path, *answers, missing=(2,), prompt="any")
    assert [row["doc"] for row in found.rows] == [1]


def test_where_a_question_stands_in_its_prompt() -> None:
    assert [text[_core([row["question"] for row in JUDGED])] for text in ("Question: apple?\nShort.",)] == ["apple"]
    one = "A lone question"
    assert one[_core([one])] == ""
