"""Answers to the miniature benchmarks as a child process leaves them, judged by rules of a line each instead of lmms-eval."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mllm.answered import AnsweredTask
from mllm.evaluate.columns import COLUMNS
from mllm.evaluate.extract import AnsweredQuestion, judgements, lmms_aggregate
from mllm.evaluate.tables import TableQuestions, find_tables

Right = Callable[[int], bool]
"""Whether the answer to a question is right, by its row."""
_COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


def rows_of(questions: TableQuestions) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [row for file in questions.files for row in pq.read_table(file).to_pylist()]


def judged_by_rule(task: str, row: dict[str, Any], right: bool) -> dict[str, Any]:
    """In the form of lmms-eval's `process_results`."""
    score = float(right)
    if task == "mme":
        part = "cognition" if row["category"] in _COGNITION else "perception"
        return {f"mme_{part}_score": {"question_id": row["question_id"], "category": row["category"], "score": score}}
    if task == "pope":
        said = row["answer"] if right else {"yes": "no", "no": "yes"}[row["answer"]]
        value = {"question_id": row["question_id"], "score": score, "prediction": said, "ground_truth": row["answer"]}
        return {"pope_accuracy": value, "pope_f1_score": value}
    if task == "mmstar":
        return {"average": {"question_id": row["index"], "l2_category": row["l2_category"], "score": score}}
    if task.startswith("livexiv"):
        return {"livexiv_vqa": {"pred": row["gt"] if right else "E", "answer": row["gt"]}}
    if task == "mmbench_en_dev_static":
        kept = ("index", "question", "answer", "A", "B", "C", "D", "category")
        return {"gpt_eval_score": {**{name: row[name] for name in kept}, "prediction": row["answer"] if right else "?"}}
    if task == "ocrbench_v2":
        return {"ocrbench_v2_accuracy": {"question_type": row["type"], "score": score}}
    if task == "ocrbench":
        return {"ocrbench_accuracy": {"question_type": row["question_type"], "score": score}}
    return {
        {"chartqa": "relaxed_overall"}.get(
            task, "anls" if task.endswith("vqa_val") and task != "textvqa_val" else "exact_match"
        ): score
    }


def leave_answers(folder: Path, task: str, questions: TableQuestions, right: Right, **told: Any) -> Path:
    """answers.jsonl and told.json."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "doc": k,
            "question": row["question"],
            "answer": "right" if right(k) else "wrong",
            "target": "the truth",
            "judged": judged_by_rule(task, row, right(k)),
        }
        for k, row in enumerate(rows_of(questions))
        if k in questions.rows
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    answered = [AnsweredQuestion(task, line["doc"], "", line["judged"]) for line in lines]
    aggregated = {
        column.metric: lmms_aggregate(column, task, judgements(column, answered))
        for column in COLUMNS
        if task in column.tasks
    }
    body = {
        "task": task,
        "lmms_eval": "0.7.3",
        "generation": {"most": 32},
        "aggregated": aggregated,
        "n": len(lines),
    } | told
    (folder / "told.json").write_text(json.dumps(body))
    return folder


def answered_task(drawn: Path, folder: Path, task: str, right: Right, **told: Any) -> AnsweredTask:
    """Read back as the probe reads it."""
    questions = TableQuestions.of(task, find_tables(drawn)[task])
    place = leave_answers(folder / task, task, questions, right, **told)
    return AnsweredTask.read(task, place, list(questions))
