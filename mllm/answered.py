"""The answers to one task as a training left them, beside what its table says of each question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mllm.evaluate.answers import read_answers
from mllm.evaluate.columns import ScoreColumn
from mllm.evaluate.extract import AnsweredQuestion, Credited, credit_of, judgements, lmms_aggregate
from mllm.evaluate.request import TOLD
from mllm.evaluate.shown import ShownQuestion
from mllm.evaluate.tables import AskedRow, TableQuestions, asked_rows
from rice_core.datasets.nouns import Conversation
from rice_core.errors import UserError

_CLOSE = 1e-9
"""Of two ways to add up the same numbers."""


@dataclass(frozen=True)
class AnsweredTask:
    """What was asked, answered and judged."""

    task: str
    questions: TableQuestions
    asked: Sequence[AskedRow]
    """By the row of the table."""
    rows: Sequence[dict[str, Any]]
    """Of answers.jsonl."""
    told: dict[str, Any]

    @classmethod
    def read(cls, task: str, folder: Path, asked: Sequence[Conversation]) -> AnsweredTask:
        """
        Args:
            folder: where the answers are. asked: the questions.

        Raises:
            UserError: the table cannot be read.
        """
        questions = TableQuestions.of(task, asked[0].files)
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
        return cls(task, questions, asked_rows(questions), list(read_answers(folder)), told)

    @cached_property
    def answered(self) -> tuple[AnsweredQuestion, ...]:
        return tuple(
            AnsweredQuestion(self.task, row["doc"], self.asked[row["doc"]].cluster, row["judged"], row["answer"])
            for row in self.rows
        )

    def check(self, column: ScoreColumn) -> None:
        """Our sum against lmms-eval's own.

        Raises:
            UserError: they differ.
        """
        own: Sequence[Credited] = judgements(column, self.answered)
        ours, theirs = lmms_aggregate(column, self.task, own), self.told["aggregated"].get(column.metric)
        if theirs is None or abs(ours - theirs) > _CLOSE * max(1, abs(theirs)):
            raise UserError(
                f"{self.task}: lmms-eval {self.told['lmms_eval']} gives {theirs} as {column.metric}, and the answers one by one come to {ours}; "
                "its scorer has changed, so install the version that ricebench's constraints name."
            )

    def shown(self, column: ScoreColumn) -> list[ShownQuestion]:
        """For people."""
        return [
            ShownQuestion(
                id=each.id,
                question=row["question"],
                target=_target(row),
                answer=each.answer,
                value=credit_of(column, each),
                kind=self.asked[each.doc].kind,
                cluster=each.cluster,
            )
            for each, row in zip(self.answered, self.rows, strict=True)
        ]


def _target(row: dict[str, Any]) -> str:
    """What counts as right; LiveXiv's task names a column that its table does not have."""
    told = row["judged"].get("livexiv_vqa", {}).get("answer", row["target"])
    return " | ".join(dict.fromkeys(map(str, told))) if isinstance(told, list) else str(told)
