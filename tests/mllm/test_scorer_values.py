"""What lmms-eval's scorers make of answers that people stumble over: values that are kept as they are, since they are what is compared with.

If one of these fails, lmms-eval came to score otherwise, and numbers of before and after are not comparable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lmms_tasks import aggregate, judged, lmms_task

from rice_core.world.layouts.questions import question_jobs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("questions")
    for job in question_jobs(0, 12, 48):
        job.write(out)
    return out


def score(folder: Path, task: str, said: str, metric: str, **doc: Any) -> float:
    value = judged(lmms_task(task, folder), doc, said)[metric]
    return value["score"] if isinstance(value, dict) else value


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [("Yes", "yes", 1), ("Yes.", "yes", 0), ("yes", "no", 0), (" no ", "no", 1), ("no, there is none", "no", 0)],
)
def test_pope_compares_the_whole_answer(folder: Path, answer: str, gold: str, value: float) -> None:
    assert score(folder, "pope", answer, "pope_accuracy", answer=gold, question_id="1") == value


def test_the_yes_ratio_of_pope_is_that_of_the_truth(folder: Path, tmp_path: Path) -> None:
    task = lmms_task("pope", folder)
    said = [
        judged(task, {"answer": gold, "question_id": str(k)}, "yes")
        for k, gold in enumerate(("yes", "yes", "no", "no"))
    ]
    expected = {
        "pope_accuracy": 0.5,
        "pope_precision": 0.5,
        "pope_recall": 1,
        "pope_f1_score": 2 / 3,
        "pope_yes_ratio": 0.5,
    }
    for metric, value in expected.items():
        assert aggregate(task, metric, [each[metric] for each in said], tmp_path) == pytest.approx(value)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        *(("Not sure", "no"), ("Know", "no"), ("nope", "no"), ("Yes, it is.", "yes"), ("y", "yes"), ("N", "no")),
        *(("Unknown", None), ("The answer is yes", None), ("", None), ("x", None)),
    ],
)
def test_mme_reads_four_characters(folder: Path, answer: str, read: str | None) -> None:
    for gold in ("Yes", "No"):
        doc = {"answer": gold, "category": "count", "question_id": "1"}
        assert score(folder, "mme", answer, "mme_perception_score", **doc) == (read == gold.lower())


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        *(
            ("105", "100", 1),
            ("105.01", "100", 0),
            ("2050", "2010", 1),
            ("0.0", "0", 0),
            ("5%", "5", 0),
            ("0.05", "5%", 1),
        ),
        *(("1,000", "1000", 0), ("Yes.", "Yes", 0), ("12.", "12", 1), ("yes", "Yes", 1)),
    ],
)
def test_chartqa_forgives_a_twentieth_and_no_full_stop(folder: Path, answer: str, gold: str, value: float) -> None:
    assert score(folder, "chartqa", answer, "relaxed_overall", type="human_test", answer=gold) == value


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        *(("abcd", "abxx", 0.5), ("abcd", "axxx", 0), ("1990", "1991", 0.75), ("", "abcd", 0)),
        *(("coca  cola ", "Coca Cola", 1), ("COCA COLA", "coca cola", 1)),
    ],
)
def test_anls_keeps_exactly_a_half(folder: Path, answer: str, gold: str, value: float) -> None:
    for task in ("docvqa_val", "infovqa_val"):
        assert score(folder, task, answer, "anls", answers=[gold]) == pytest.approx(value)


@pytest.mark.parametrize(("agree", "value"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_textvqa_counts_people_that_agree(folder: Path, agree: int, value: float) -> None:
    answers = ["boko"] * agree + [f"other{k}" for k in range(10 - agree)]
    assert score(folder, "textvqa_val", "Boko", "exact_match", answers=answers, question_id=1) == pytest.approx(value)


def test_textvqa_asks_in_small_letters_but_for_the_first_and_shows_no_text_that_was_read(folder: Path) -> None:
    asked = lmms_task("textvqa_val", folder).doc_to_text(
        {"question": "What does the NASA sign say?", "ocr_tokens": ["NASA"]}
    )
    assert asked.startswith("What does the nasa sign say?\nAnswer")


@pytest.mark.parametrize(
    ("answer", "value"),
    [("B", 1), ("B.", 1), ("B. cat", 1), ("(B)", 1), ("b", 1), ("B) cat", 0), ("It is B.", 0), ("A.", 0)],
)
def test_ai2d_takes_a_letter_with_a_full_stop_in_front(folder: Path, answer: str, value: float) -> None:
    doc = {"question": "?", "options": ["dog", "cat", "cow", "hen"], "answer": "1"}
    assert score(folder, "ai2d", answer, "exact_match", **doc) == value


@pytest.mark.parametrize(
    ("answer", "source", "gold", "value"),
    [
        *(("BOKO", "IIIT5K", "boko", 1), ("ｂｏｋｏ", "IIIT5K", "boko", 1), ("it says boko!", "IIIT5K", "boko", 1)),
        *(("bo ko", "IIIT5K", "boko", 0), ("x ^ 2", "HME100k", "x^2", 1), ("X^2", "HME100k", "x^2", 0)),
    ],
)
def test_ocrbench_looks_for_the_truth_within_the_answer(
    folder: Path, answer: str, source: str, gold: str, value: float
) -> None:
    doc = {"dataset": source, "answer": [gold], "question_type": "Regular Text Recognition"}
    assert score(folder, "ocrbench", answer, "ocrbench_accuracy", **doc) == value


@pytest.mark.parametrize("task", ["realworldqa", "mmstar"])
@pytest.mark.parametrize(
    ("answer", "value"), [("B", 1), ("The answer is (B).", 1), ("B or A", 1), ("cat", 0), ("b", 0)]
)
def test_a_letter_is_looked_for_where_options_are_in_the_question(
    folder: Path, task: str, answer: str, value: float
) -> None:
    doc = {"answer": "B", "category": "math", "l2_category": "geometry", "index": 0}
    metric = "exact_match" if task == "realworldqa" else "average"
    assert score(folder, task, answer, metric, **doc) == value


@pytest.mark.parametrize(("answer", "value"), [("3", 1), ("3.", 1), ("three", 0), ("3 cars", 0)])
def test_realworldqa_compares_whole_numbers(folder: Path, answer: str, value: float) -> None:
    assert score(folder, "realworldqa", answer, "exact_match", answer="3") == value


def test_a_scorer_gives_the_same_the_second_time_but_for_those_that_change_what_they_are_given(folder: Path) -> None:
    """TextVQA's writes into the document; OCRBench's aggregate adds up over calls, which is why ours are hits over those that were asked."""
    task = lmms_task("textvqa_val", folder)
    doc = {"answers": ["the Boko."] * 10, "question_id": 1}
    first, second = (judged(task, doc, "boko")["exact_match"] for _ in range(2))
    assert (first, second) == (1, 1)
    assert doc["answers"] == ["boko"] * 10
