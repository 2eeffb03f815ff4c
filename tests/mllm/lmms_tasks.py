"""lmms-eval's own tasks over a folder of ours, in this process: what our numbers are held against."""

from __future__ import annotations

import importlib.util
import inspect
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mllm.evaluate.columns import BENCHMARKS

if (_FOUND := importlib.util.find_spec("lmms_eval")) is None:
    pytest.skip('lmms-eval is not installed: pip install "ricebench[mllm]"', allow_module_level=True)
TASK_FILES = Path(str(_FOUND.submodule_search_locations[0])) / "tasks"  # type: ignore[index]


def task_file(task: str) -> Path:
    (found,) = [path for path in TASK_FILES.rglob(f"{task}.yaml") if path.stem == task]
    return found


@cache
def lmms_task(task: str, folder: Path) -> Any:
    """The task as lmms-eval makes it, reading the snapshot in a folder.

    It skips where what its scorer needs is not installed.
    """
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    # A task finds its metrics in a registry that this fills.
    import lmms_eval.api.metrics  # noqa: F401
    from lmms_eval import utils
    from lmms_eval.api.task import ConfigurableTask

    try:
        config = utils.load_yaml_config(str(task_file(task)), mode="full")
    except ModuleNotFoundError as error:
        pytest.skip(f"{task}'s scorer needs {error.name}")
    local = {"dataset_path": str(folder / BENCHMARKS[task].repository), "dataset_kwargs": {}}
    return ConfigurableTask(config=config | local, model_name="ours")


def judged(task: Any, doc: dict[str, Any], answer: str) -> dict[str, Any]:
    """What lmms-eval makes of one answer, its filter included."""
    asked = SimpleNamespace(resps=[answer], filtered_resps={})
    (ensemble,) = task._filters
    ensemble.apply([asked], [doc])
    return task.process_results(doc, [asked.filtered_resps[ensemble.name]])


def aggregate(task: Any, metric: str, values: list[Any], out: Path) -> float:
    """Of a metric's values over the docs; files that it writes go to `out`."""
    function = task.aggregation()[metric]
    if "args" in inspect.signature(function).parameters:
        return function(values, args=SimpleNamespace(output_path=str(out)))
    return function(values)


def right_answer(name: str, doc: dict[str, Any]) -> str:
    """What lmms-eval takes for right."""
    if name in ("infovqa_val", "docvqa_val", "ocrbench", "ocrbench_v2"):
        listed = doc["answer" if name == "ocrbench" else "answers"]
        if doc.get("type") == "text grounding en":
            return f"[{', '.join(listed)}]"
        if doc.get("type") == "VQA with position en":
            return str({"answer": listed[0], "bbox": str(doc["bbox"])})
        return str(listed[0])
    if name == "textvqa_val":
        return max(doc["answers"], key=doc["answers"].count)
    if name.startswith("livexiv"):
        return doc["gt"]
    if name == "ai2d":
        return "ABCD"[int(doc["answer"])]
    return doc["answer"]
