"""The map from the table's columns to lmms-eval's tasks, held against the task files that are installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from mllm.evaluate.columns import BENCHMARKS, COLUMNS, columns_of, tasks_of

if (_FOUND := importlib.util.find_spec("lmms_eval")) is None:
    pytest.skip('lmms-eval is not installed: pip install "ricebench[mllm]"', allow_module_level=True)
TASKS = Path(_FOUND.submodule_search_locations[0]) / "tasks"


class _Loader(yaml.SafeLoader):
    """Functions are left as their names: nothing of lmms-eval is imported."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def task_file(task: str) -> dict[str, Any]:
    """The task's YAML with what it includes."""
    found = [path for path in TASKS.rglob(f"{task}.yaml") if path.stem == task]
    assert len(found) == 1, (task, found)
    return _with_included(found[0])


def _with_included(path: Path) -> dict[str, Any]:
    body = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    base = body.pop("include", None)
    return body if base is None else _with_included(path.parent / base) | body


@pytest.mark.parametrize("task", BENCHMARKS)
def test_a_benchmark_is_where_lmms_eval_reads_it(task: str) -> None:
    body, benchmark = task_file(task), BENCHMARKS[task]
    assert body["task"] == task
    assert body["dataset_path"] == benchmark.repository
    assert body.get("dataset_name") == benchmark.config
    assert body["test_split"] == benchmark.split


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.key)
def test_a_columns_metric_is_one_that_its_tasks_have(column) -> None:
    for task in column.tasks:
        body = task_file(task)
        filters = [each["name"] for each in body.get("filter_list", [])] or ["none"]
        keys = {f"{each['metric']},{name}" for each in body["metric_list"] for name in filters}
        assert column.metric in keys


def test_the_columns_are_those_of_table_1() -> None:
    table = yaml.safe_load((Path(__file__).parents[2] / "reports/reference/table1.yaml").read_text(encoding="utf-8"))
    paper = {each["key"]: each["unit"] for each in table[0]["columns"] if not each["key"].endswith("_avg")}
    assert {column.key: column.unit for column in COLUMNS} == paper
    assert [column.key for column in COLUMNS] == list(paper)
    assert all(column.unit in ("%", f"of {column.best:g}") for column in COLUMNS)


def test_thirteen_probes_measure_fourteen_columns_by_every_task() -> None:
    probes = list(dict.fromkeys(column.probe for column in COLUMNS))
    assert (len(probes), len(COLUMNS)) == (13, 14)
    assert [column.key for column in columns_of("mme")] == ["mme_cog", "mme_per"]
    assert tasks_of(columns_of("mme")) == ("mme",)
    assert tasks_of(COLUMNS) == tuple(BENCHMARKS)
