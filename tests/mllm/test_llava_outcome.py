"""What a record keeps of answers: columns in the table's units with clustered errors, a value a sample, figures and assumptions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from judged_tables import Right, answered_task

from mllm.evaluate.columns import BENCHMARKS, COLUMNS, columns_of, tasks_of
from mllm.llava.recipe import RECIPES
from mllm.outcome import metrics_of, outcome_of
from rice_core.digest import canonical_json
from rice_core.errors import UserError
from rice_core.figures import check
from rice_core.record import Artifact, Outcome
from rice_core.stats.estimates import paired
from rice_core.world.layouts.questions import question_jobs

pytest.importorskip("pyarrow")
PROBES = tuple(dict.fromkeys(column.probe for column in COLUMNS))
TRAINED = SimpleNamespace(
    trained=SimpleNamespace(curve=({"step": 1, "loss": 3.0, "rate": 0.1}, {"step": 2, "loss": 2.0, "rate": 0.1}))
)


class Keeping:
    """A `Work` of which only artifacts are asked."""

    def __init__(self) -> None:
        self.bodies: dict[str, Any] = {}

    def artifact_json(self, name: str, body: Any, **told: Any) -> Artifact:
        self.bodies[name] = body
        return Artifact(name=name, sha256="0" * 64, kind="json", **told)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tables")
    for job in question_jobs(0, 30, 48):
        job.write(out)
    return out


def outcome(drawn: Path, folder: Path, probe: str, right: Right, work: Any = None) -> Outcome:
    tasks = [answered_task(drawn, folder, task, right) for task in tasks_of(columns_of(probe))]
    return outcome_of(work or Keeping(), probe, RECIPES["mini"], tasks, TRAINED)  # type: ignore[arg-type]


@pytest.mark.parametrize("probe", PROBES)
def test_a_perfect_model_has_the_best_of_each_column_and_one_that_is_always_wrong_nothing(
    drawn: Path, tmp_path: Path, probe: str
) -> None:
    best = outcome(drawn, tmp_path / "best", probe, lambda k: True)
    worst = outcome(drawn, tmp_path / "worst", probe, lambda k: False)
    for column in columns_of(probe):
        found, lost = best.metrics, worst.metrics
        (high,), (low,) = ([each for each in some if each.name == column.key] for some in (found, lost))
        assert (high.value, high.ceiling, high.unit) == (
            pytest.approx(column.best),
            pytest.approx(column.best),
            column.unit,
        )
        assert low.value == 0
        assert (high.stderr, low.stderr) == (0, 0)
        assert high.ci95 is not None
        assert high.ci95[0] < column.best  # so few questions are no certainty


@pytest.mark.parametrize("probe", PROBES)
def test_every_column_is_the_plain_mean_of_its_samples_in_its_unit(drawn: Path, tmp_path: Path, probe: str) -> None:
    found = outcome(drawn, tmp_path, probe, lambda k: k % 5 != 1)
    assert found.scores is not None
    for metric in found.metrics:
        if metric.name in found.scores.values:
            assert np.mean(found.scores.values[metric.name]) == pytest.approx(metric.value)
        assert metric.stderr is not None
        assert metric.stderr > 0
    assert [metric.name for metric in found.metrics][: len(columns_of(probe))] == [
        each.key for each in columns_of(probe)
    ]


def test_mme_is_two_columns_over_one_list_of_pairs_and_the_other_column_changes_no_error(
    drawn: Path, tmp_path: Path
) -> None:
    found = outcome(drawn, tmp_path / "a", "mme", lambda k: k % 3 != 1)
    other = outcome(drawn, tmp_path / "b", "mme", lambda k: k % 5 != 1)
    assert found.scores is not None
    assert other.scores is not None
    cognition, perception = found.metrics
    assert (cognition.n, perception.n) == (4, 11)
    assert len(found.scores.sample) == 15
    for metric in found.metrics:
        alone = paired(
            found.scores,
            found.scores.model_copy(update={"values": {metric.name: (0.0,) * 15}}),
            metric.name,
            better="higher",
        )
        assert alone.value == pytest.approx(metric.value)
        assert alone.stderr == pytest.approx(metric.stderr, rel=0.2)  # of 15 clusters instead of its own
    assert paired(found.scores, other.scores, "mme_per", better="higher").value == pytest.approx(
        perception.value - other.metrics[1].value
    )


def test_chance_and_ceiling_of_mme_are_those_of_the_categories_that_are_here(drawn: Path, tmp_path: Path) -> None:
    whole = answered_task(drawn, tmp_path, "mme", lambda k: True)
    few = replace(whole, rows=[row for row in whole.rows if "count" in str(row) or "code" in str(row)])
    cognition, perception = (metrics_of(column, few.answered)[0] for column in columns_of("mme"))
    assert (cognition.value, cognition.ceiling, cognition.chance) == (200, 200, 75)
    assert (perception.value, perception.ceiling, perception.chance) == (200, 200, 75)


def test_questions_about_one_document_are_one_cluster(drawn: Path, tmp_path: Path) -> None:
    documents = outcome(drawn, tmp_path, "docvqa", lambda k: (k // 3) % 2 == 0)  # all three of a document alike
    (metric,) = documents.metrics
    assert metric.method.startswith("clustered by document (10)")
    values = np.array(documents.scores.values["docvqa"])  # type: ignore[union-attr]
    assert metric.stderr == pytest.approx(values.std() / np.sqrt(9))  # of ten documents, not of thirty questions


def test_a_rotation_of_mmbench_that_is_wrong_makes_its_question_wrong(drawn: Path, tmp_path: Path) -> None:
    found = outcome(drawn, tmp_path, "mmb-en", lambda k: k != 0)
    (metric,) = found.metrics
    assert metric.value == pytest.approx(100 * (1 - 1 / metric.n))


def test_what_a_column_is_often_taken_for_stands_beside_it(drawn: Path, tmp_path: Path) -> None:
    star = {each.name: each.value for each in outcome(drawn, tmp_path / "star", "mmstar", lambda k: k < 5).metrics}
    assert star["mmstar_samples"] == pytest.approx(100 * 5 / 30)
    assert star["mmstar"] == pytest.approx(100 * 5 / 2 / 18)  # the first five sub-categories have two questions
    names = [each.name for each in outcome(drawn, tmp_path / "v2", "ocrbench_v2", lambda k: True).metrics]
    assert names == ["ocrbench_v2", "ocrbench_v2_en", "ocrbench_v2_cn"]
    xiv = {each.name: each for each in outcome(drawn, tmp_path / "xiv", "livexivqa", lambda k: k < 1).metrics}
    assert xiv["livexivqa"].value == pytest.approx(xiv["livexivqa_samples"].value)  # versions of one size
    assert xiv["livexivqa"].chance == 25


def test_the_f1_of_pope_is_that_of_yes(drawn: Path, tmp_path: Path) -> None:
    found = outcome(drawn, tmp_path, "pope", lambda k: k % 4 != 1)  # of each second picture the No becomes a Yes
    f1 = next(each for each in found.metrics if each.name == "pope_f1")
    assert found.metrics[0].value == pytest.approx(100 * 22 / 30)
    assert f1.value == pytest.approx(100 * 2 * 15 / (2 * 15 + 8))
    assert f1.stderr is not None
    assert 0 < f1.stderr < 10


def test_a_sum_that_is_not_lmms_evals_is_refused(drawn: Path, tmp_path: Path) -> None:
    tasks = [answered_task(drawn, tmp_path, "docvqa_val", lambda k: True, aggregated={"anls,none": 0.99})]
    with pytest.raises(
        UserError, match=r"docvqa_val: lmms-eval 0.7.3 gives 0.99 as anls,none, and the answers one by one come to 1.0"
    ):
        outcome_of(Keeping(), "docvqa", RECIPES["mini"], tasks, TRAINED)  # type: ignore[arg-type]


@pytest.mark.parametrize("probe", PROBES)
def test_figures_have_the_bodies_that_reports_draw(drawn: Path, tmp_path: Path, probe: str) -> None:
    work = Keeping()
    found = outcome(drawn, tmp_path, probe, lambda k: k % 2 == 0, work)
    for artifact in found.artifacts:
        check(artifact, canonical_json(work.bodies[artifact.name]).encode())
    examples = work.bodies[f"{probe}-examples.json"]["questions"]
    assert examples
    assert all(each["picture"] and each["question"] and each["target"] for each in examples)
    assert (f"{probe}-kinds.json" in work.bodies) == (BENCHMARKS[tasks_of(columns_of(probe))[0]].kind is not None)
    assert work.bodies[f"{probe}-training.json"]["series"] == [{"label": "loss", "x": [1, 2], "y": [3.0, 2.0]}]


@pytest.mark.parametrize("probe", PROBES)
def test_assumptions_name_the_scorer_the_prompt_and_no_machine(drawn: Path, tmp_path: Path, probe: str) -> None:
    said = outcome(drawn, tmp_path, probe, lambda k: True).assumptions
    assert any("lmms-eval 0.7.3" in each for each in said)
    assert json.dumps(said).count("cpu") == 0
    words = {
        "mme": "by 8 (its caption) or by 6",
        "mmb-en": "without a service",
        "ocrbench": "in thousandths",
        "textvqa": "without the words",
    }
    assert words.get(probe, "") in " ".join(said)
