"""`ricebench evaluate answers`: stored generations, ours or any lmms-eval model's, judged again offline by the lmms-eval that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from rice_core.errors import UserError
from rice_core.record import Skipped
from rice_core.scorer import Checked, Rated, Scorecard

if TYPE_CHECKING:
    from mllm.evaluate.rescored import RescoredTask
    from mllm.evaluate.stored import StoredTask
    from mllm.evaluate.tables import TableQuestions
    from rice_core.record import Metric
    from rice_core.stats.estimates import Estimate


@dataclass(frozen=True)
class AnswersScorer:
    """Answers to benchmarks of language models that see; its fields are its settings."""

    task: str = ""
    """lmms-eval's name, where the results do not say it, or hold several: docvqa_val, mme ..."""
    partial: bool = False
    """Judge the questions that have answers, where some have none, or one that is surely to another question."""
    prompt: Literal["same", "any"] = "same"
    """any: an answer counts whatever question it says it was given to, where what is right is the same."""

    summary: ClassVar[str] = (
        "answers of a model to the benchmarks of Table 1, ours or lmms-eval's --log_samples (each column)"
    )

    def score(self, results: Path, data: Path) -> Scorecard:
        """See `rice_core.scorer.Scorer`."""
        found, tables, absent = self._rescored(results, data)
        skipped = [skip for each in found for skip in each.skipped]
        lost = sum(skip.times for skip in skipped)
        if lost and not self.partial:
            raise UserError(
                f"{lost} answers cannot be judged ({skipped[0].item} {skipped[0].reason}), and a mean over the others is another number; "
                "mend them, or write partial=yes."
            )
        checked = _checked(results, data, found, [*absent, *skipped])
        if not checked.usable:
            return Scorecard(checked, ())
        judged = _judged(found, tables)
        return Scorecard(replace(checked, notes=(*checked.notes, *judged.notes)), judged.rows)

    def validate(self, results: Path, data: Path) -> Checked:
        """See `rice_core.scorer.Scorer`."""
        found, _, absent = self._rescored(results, data)
        return _checked(results, data, found, [*absent, *(skip for each in found for skip in each.skipped)])

    def _rescored(
        self, results: Path, data: Path
    ) -> tuple[list[RescoredTask], dict[str, TableQuestions], list[Skipped]]:
        """What of the results is judged, the tables that it is judged by, and what has none."""
        from mllm.evaluate.requirements import check_requirements
        from mllm.evaluate.rescored import rescored
        from mllm.evaluate.stored import read_stored
        from mllm.evaluate.tables import TableQuestions, find_tables

        stored = read_stored(results, self.task)
        _, given, folder = str(data).partition("=")
        if given and not data.is_dir():  # as `run` has it: llava=FOLDER
            data = Path(folder)
        if not data.is_dir():
            raise UserError(f"{data} is no folder; give the one that holds the benchmarks' repositories.")
        files = find_tables(data)
        known = [each for each in stored if each.task in files]
        absent = [
            Skipped(
                item=each.task, reason=f"has {len(each.answers)} answers, and {data.name} has no table of its questions"
            )
            for each in stored
            if each.task not in files
        ]
        if not known:
            raise UserError(_no_table(stored, data))
        for each in known:
            check_requirements(each.task)
        tables = {each.task: TableQuestions.of(each.task, files[each.task]) for each in known}
        return rescored(known, tables, self.prompt), tables, absent


def _no_table(stored: Sequence[StoredTask], data: Path) -> str:
    from mllm.evaluate.columns import BENCHMARKS

    repository = BENCHMARKS[stored[0].task].repository
    return (
        f"{data} has no table of questions of {', '.join(each.task for each in stored)}; fetch it with hf download --repo-type dataset "
        f"{repository} --local-dir {data.name}/{repository}"
    )


@dataclass(frozen=True)
class _Judged:
    """What is printed."""

    rows: tuple[Rated, ...]
    notes: tuple[str, ...]
    """Columns that cannot be judged, with the reason."""


def _judged(found: Sequence[RescoredTask], tables: dict[str, TableQuestions]) -> _Judged:
    """A row a number of the table, and as details lmms-eval's own aggregates.

    Raises:
        UserError: no column can be judged, or lmms-eval's aggregate is another than what its judgements come to.
    """
    from mllm.answered import AnsweredTask
    from mllm.evaluate.columns import COLUMNS
    from mllm.evaluate.tables import asked_rows
    from mllm.outcome import metrics_of

    rows, notes = [], []
    tasks = [
        AnsweredTask(each.task, tables[each.task], asked_rows(tables[each.task]), each.rows, each.told)
        for each in found
        if each.rows
    ]
    for column in COLUMNS:
        own = [task for task in tasks if task.task in column.tasks]
        if not own:
            continue
        try:
            metrics = metrics_of(column, [each for task in own for each in task.answered])
        except UserError as error:
            notes.append(f"{column.key}: {error}")
            continue
        for task in own:
            if column.metric in task.told["aggregated"]:  # lmms-eval's is of all questions
                task.check(column)
        labels = [{"metric": metric.name} for metric in metrics]
        rows += [Rated(each, m.value, m.n, m.unit, _error(m)) for each, m in zip(labels, metrics, strict=True)]
    if not rows:
        raise UserError(notes[-1])
    for task in tasks:
        for name, value in task.told["aggregated"].items():
            rows.append(Rated({"metric": f"{task.task} {name} (lmms-eval)"}, value, len(task.rows), detail=True))
    return _Judged(tuple(rows), tuple(notes))


def _error(metric: Metric) -> Estimate:
    from rice_core.stats.estimates import Estimate

    # As in a record, which keeps no number of clusters.
    return Estimate(metric.value, metric.stderr, metric.ci95, metric.n, metric.n, metric.method)


def _checked(results: Path, data: Path, found: Sequence[RescoredTask], skipped: Sequence[Skipped]) -> Checked:
    usable = sum(len(each.rows) for each in found)
    facts = {
        "results": results.name,
        "data": data.name,
        "questions": usable,
        "lmms-eval": found[0].told["lmms_eval"],
    }
    notes = [
        f"{each.task}: {each.reworded} of {len(each.rows)} questions were put to the model in other words around the same question."
        for each in found
        if each.reworded
    ]
    notes += [
        f"{each.task}: answered and first judged under lmms-eval {each.stored.made_with}, judged now by {each.told['lmms_eval']}, whose scorers may differ."
        for each in found
        if each.stored.made_with not in ("", each.told["lmms_eval"])
    ]
    empty = [(each, sum(not row["answer"] for row in each.rows)) for each in found]
    notes += [
        f"{each.task}: {n} answers are empty{', which models of lmms-eval leave where a generation crashed too' * each.stored.logged}."
        for each, n in empty
        if n
    ]
    return Checked(facts, usable, tuple(skipped), tuple(notes))
