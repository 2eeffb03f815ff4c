"""The whole path on a CPU, without a network: two trainings, answers by lmms-eval in one child, records with the table's columns."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mllm.evaluate import child
from mllm.evaluate.columns import COLUMNS, columns_of
from mllm.evaluate.requirements import requirements_of
from rice_core.cli import main
from rice_core.measure import training_work
from rice_core.measure.trained import all_trained
from rice_core.record import Record
from rice_core.store import Store
from rice_core.world.mini import World, draw

pytest.importorskip("lmms_eval")
PROBES = tuple(dict.fromkeys(column.probe for column in COLUMNS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(name="mini-llava", seed=0, train=12, val=6, size=48, layout="llava")
    return draw(world, tmp_path_factory.mktemp("worlds"))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Requests of the child processes that were started."""
    seen: list[Any] = []
    run = training_work.run_child

    def counted(module: Any, request: Any, **settings: Any) -> Any:
        assert module is child
        seen.append(request)
        return run(module, request, **settings)

    monkeypatch.setattr(training_work, "run_child", counted)
    return seen


def measured(folder: Path, store: Path, probes: str, *encoders: str) -> dict[str, Record]:
    """By probe, of the last encoder."""
    words = ["run", "-e", ",".join(encoders), "-p", probes, "--data", str(folder), "--store", str(store), "--quiet"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code in (0, None, 3)  # 3: a scorer may lack something here
    records = [each for each in Store(store).records() if each.cell.encoder.title == encoders[-1]]
    return {each.cell.probe.name: each for each in records}


def check(store: Path, record: Record) -> None:
    """The record's columns are lmms-eval's own numbers, and the plain means of its samples."""
    assert record.status == "done", record.error
    assert record.evidence is not None
    names = Counter(stage.name for stage in record.evidence.stages)
    columns = columns_of(record.cell.probe.name)
    assert names == {"llava-align": 1, "llava-instruct": 1, "llava-answers": len(columns[0].tasks)}
    scores = Store(store).scores(record)
    told = [
        json.loads((store / "stages" / stage.id / "told.json").read_text())
        for stage in record.evidence.stages
        if stage.name == "llava-answers"
    ]
    assert {each["task"] for each in told} == set(columns[0].tasks)
    for column in columns:
        metric = record.metric(column.key)
        assert metric is not None
        assert sum(scores.values[column.key]) / len(scores.sample) == pytest.approx(metric.value)
        theirs = column.scale * sum(each["aggregated"][column.metric] for each in told) / len(told)
        # Of OCRBench lmms-eval knows hits of a thousand, and six were asked.
        assert metric.value == pytest.approx(theirs * (1000 / told[0]["n"] if column.key == "ocrbench" else 1))


def test_two_benchmarks_are_answered_by_one_model_in_one_child_and_found_again(
    folder: Path, tmp_path: Path, children: list[Any]
) -> None:
    probes = "docvqa?recipe=smoke,mme?recipe=smoke"
    records = measured(folder, tmp_path, probes, "random-weights")
    assert set(records) == {"docvqa", "mme"}
    for record in records.values():
        check(tmp_path, record)
    assert [[task["name"] for task in each["tasks"]] for each in children] == [["docvqa_val", "mme"]]
    again = measured(folder, tmp_path, probes, "random-weights")
    assert {name: record.created for name, record in again.items()} == {
        name: record.created for name, record in records.items()
    }
    assert len(children) == 1


@pytest.mark.slow
def test_llava_next_is_thirteen_cells_of_two_trainings_and_one_child(
    folder: Path, tmp_path: Path, children: list[Any]
) -> None:
    records = measured(folder, tmp_path, "llava-next?recipe=smoke", "random-weights")
    assert set(records) == set(PROBES)
    without = {column.probe for column in COLUMNS for task in column.tasks if requirements_of(task)}
    for name, record in records.items():
        if name in without:
            assert record.status == "failed"
            assert "scorer of" in (record.error or "")
            assert "pip install" in (record.error or "")
        else:
            check(tmp_path, record)
    assert len(children) == 1
    stages = Counter(each.request.stage.name for each in all_trained(Store(tmp_path)))
    assert (stages["llava-align"], stages["llava-instruct"]) == (1, 1)
    assert stages["llava-answers"] == 18 - len(without)
