"""Judged answers -> what the record keeps: the columns with errors, a value a sample, example questions, and what was assumed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mllm.answered import AnsweredTask
from mllm.assumed import assumptions
from mllm.evaluate.columns import BENCHMARKS, IMAGE, ScoreColumn, columns_of
from mllm.evaluate.extract import AnsweredQuestion, Credited, credit_of, groups_of, judgements
from mllm.evaluate.shown import ShownQuestion, examples_artifact, kinds_artifact
from mllm.evaluate.tables import picture_bytes
from mllm.llava.recipe import LlavaRecipe
from rice_core.figures import training_lines
from rice_core.record import Artifact, Metric, Outcome, Scores
from rice_core.stats.estimates import bootstrap, metric_of
from rice_core.stats.ratios import mean_of_ratios

if TYPE_CHECKING:
    from PIL import Image

    from rice_core.probe import Work
    from rice_core.stage import Ready

_PAIR = 200.0
"""Points of a category of MME."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ColumnMeasure:
    """A mean, or a mean of means, of what counts once."""

    name: str
    credited: tuple[Credited, ...]
    unit: str = "%"
    best: float = 100.0
    chance: float | None = None
    points: bool = False
    """Means are added up, as MME's: `best` is then of all that there are."""

    def valued(self) -> tuple[Floats, float]:
        """A value for each, in the unit, whose plain mean is the measure; and the best that there is."""
        values_N = np.array([each.value for each in self.credited])
        groups = groups_of(self.credited)
        if groups > 1:
            _, values_N = mean_of_ratios(
                values_N,
                np.ones(len(values_N)),
                group_E=[each.group for each in self.credited],
                row_E=range(len(values_N)),
                cluster_E=[each.cluster for each in self.credited],
            )
        return (values_N * groups, _PAIR * groups) if self.points else (values_N * self.best, self.best)


def outcome_of(work: Work, name: str, recipe: LlavaRecipe, tasks: Sequence[AnsweredTask], trained: Ready) -> Outcome:
    """What a probe returns.

    Args:
        name: of the probe. trained: the training that answered.

    Raises:
        UserError: lmms-eval's aggregate is another than what its judgements come to, or no question is of a column.
    """
    columns = columns_of(name)
    for task in tasks:
        for column in columns:
            task.check(column)
    answered = [each for task in tasks for each in task.answered]
    measures = [each for column in columns for each in _measures(column, answered)]
    metrics = [each for column in columns for each in metrics_of(column, answered)]
    return Outcome(
        metrics=tuple(metrics),
        scores=_scores(measures),
        artifacts=(*_pictured(work, name, columns, tasks), _training(work, name, trained)),
        assumptions=assumptions(recipe, columns, tasks),
    )


def metrics_of(column: ScoreColumn, answered: Sequence[AnsweredQuestion]) -> list[Metric]:
    """The numbers of one column, and what stands beside it.

    Raises:
        UserError: no question is of the column, or a pair is not whole.
    """
    cluster = BENCHMARKS[column.tasks[0]].cluster
    by = "image" if cluster in (IMAGE, "image_id", "image_path", "image_source") else "document"
    metrics = [_metric(each, by) for each in _measures(column, answered)]
    return [*metrics, _f1(answered)] if column.key == "pope" else metrics


def _measures(column: ScoreColumn, answered: Sequence[AnsweredQuestion]) -> Iterator[ColumnMeasure]:
    """The column, then what it is often taken for."""
    credited = judgements(column, answered)
    alone = tuple(replace(each, group="") for each in credited)
    points = column.key in ("mme_cog", "mme_per")
    yield ColumnMeasure(column.key, credited, column.unit, column.best, column.chance, points)
    match column.key:
        case "mmstar" | "livexivqa" if groups_of(credited) > 1:
            yield ColumnMeasure(f"{column.key}_samples", alone, chance=column.chance)
        case "ocrbench_v2":
            kinds = {each.id: each.judged["ocrbench_v2_accuracy"]["question_type"] for each in answered}
            for language in ("en", "cn"):
                if some := tuple(each for each in alone if kinds[each.id].endswith(f" {language}")):
                    yield ColumnMeasure(f"ocrbench_v2_{language}", some)


def _metric(measure: ColumnMeasure, by: str) -> Metric:
    values_N, best = measure.valued()
    credited = measure.credited
    scores = Scores(
        sample=tuple(each.id for each in credited),
        cluster=tuple(each.cluster for each in credited),
        values={measure.name: tuple(values_N.tolist())},
    )
    return metric_of(
        scores,
        measure.name,
        unit=measure.unit,
        better="higher",
        chance=None if measure.chance is None else measure.chance * best / measure.best,
        ceiling=best,
        bounds=(0.0, best),
        by=by,
    )


def _scores(measures: Sequence[ColumnMeasure]) -> Scores:
    """All measures over one list of samples. One that is of another measure has that measure's mean, and its own are further from it in turn,
    so that means and errors are what they are without it."""
    clusters = {each.id: each.cluster for measure in measures for each in measure.credited}
    values = {}
    for measure in measures:
        own_N, _ = measure.valued()
        mean, share = float(own_N.mean()), len(clusters) / len(own_N)
        moved_N = own_N if share == 1 else mean + share * (own_N - mean)
        of_id = dict(zip((each.id for each in measure.credited), moved_N.tolist(), strict=True))
        values[measure.name] = tuple(of_id.get(name, mean) for name in clusters)
    return Scores(sample=tuple(clusters), cluster=tuple(clusters.values()), values=values)


def _f1(answered: Sequence[AnsweredQuestion]) -> Metric:
    """POPE's F1 of yes, as lmms-eval counts: an answer that is neither yes nor no misses nothing."""
    names = list(dict.fromkeys(each.cluster for each in answered))
    sums_G3 = np.zeros((len(names), 3))
    for each in answered:
        said = each.judged["pope_f1_score"]
        kind = {("yes", "yes"): 0, ("yes", "no"): 1, ("no", "yes"): 2}.get((said["prediction"], said["ground_truth"]))
        if kind is not None:
            sums_G3[names.index(each.cluster), kind] += 1

    def f1(sums_R3: Floats) -> Floats:
        hits, false, missed = sums_R3.T
        found_R: Floats = 200 * hits / np.maximum(2 * hits + false + missed, 1)
        return found_R

    found = bootstrap(f1, sums_G3, bounds=(0.0, 100.0))
    return Metric(
        name="pope_f1",
        value=found.value,
        unit="%",
        n=len(answered),
        stderr=found.stderr,
        ci95=found.ci95,
        method=found.method.replace("clusters", "images"),
        ceiling=100.0,
        bounds=(0.0, 100.0),
    )


def _pictured(
    work: Work, name: str, columns: Sequence[ScoreColumn], tasks: Sequence[AnsweredTask]
) -> Iterator[Artifact]:
    """Example questions with their pictures, and how many are right by kind."""
    by_id = {each.id: (task, each) for task in tasks for each in task.answered}

    def picture(shown: ShownQuestion) -> Image.Image | None:
        from PIL import Image, UnidentifiedImageError

        task, each = by_id[shown.id]
        try:
            return Image.open(io.BytesIO(picture_bytes(task.questions, each.doc)))
        except (OSError, UnidentifiedImageError):
            return None

    shown = [
        each
        for task in tasks
        for column in columns
        for each, asked in zip(task.shown(column), task.answered, strict=True)
        if credit_of(column, asked) is not None
    ]
    yield examples_artifact(work, name, shown, picture)
    if (kinds := kinds_artifact(work, name, shown)) is not None:
        yield kinds


def _training(work: Work, name: str, trained: Ready) -> Artifact:
    """The loss of the training whose model was asked."""
    curve = trained.trained.curve
    losses = [key for key in (curve[0] if curve else {}) if "loss" in key]
    body = training_lines(curve, "loss a label", losses)
    return work.artifact_json(f"{name}-training.json", body, figure="lines", title="Training of the language model")
