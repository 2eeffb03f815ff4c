"""The lmms-eval that is installed has the files of all tasks of Table 1. lmms-eval 0.7 has none: its wheel leaves them out.

The files are looked up in the distribution's list; importing the evaluator would cost 28 CPU seconds.
"""

from importlib.metadata import PackageNotFoundError, PackagePath, files, version
from pathlib import PurePosixPath

import pytest
import yaml
from packaging.version import Version

# Column of Table 1 -> folder of its tasks, and each task with the metric that its column is read from.
TASKS = {
    "InfoVQA": ("infovqa", {"infovqa_val": "anls"}),
    "DocVQA": ("docvqa", {"docvqa_val": "anls"}),
    "ChartQA": ("chartqa", {"chartqa": "relaxed_overall"}),
    "TextVQA": ("textvqa", {"textvqa_val": "exact_match"}),
    "OCRBench": ("ocrbench", {"ocrbench": "ocrbench_accuracy"}),
    "OCRBenchV2": ("ocrbench_v2", {"ocrbench_v2": "ocrbench_v2_accuracy"}),
    "LiveXivQA": ("livexiv_vqa", {f"livexiv_vqa_v{number}": "livexiv_vqa" for number in range(1, 7)}),
    "AI2D": ("ai2d", {"ai2d": "exact_match"}),
    "MMB-EN": ("mmbench", {"mmbench_en_dev": "gpt_eval_score", "mmbench_en_dev_static": "gpt_eval_score"}),
    "MME": ("mme", {"mme": "mme_cognition_score mme_perception_score"}),
    "POPE": ("pope", {"pope": "pope_accuracy pope_f1_score"}),
    "RealWorldQA": ("realworldqa", {"realworldqa": "exact_match"}),
    "MMStar": ("mmstar", {"mmstar": "average"}),
}


class Loader(yaml.SafeLoader):
    """Reads `!function utils.name` as the text it is."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@pytest.fixture(scope="module")
def held() -> dict[str, PackagePath]:
    """Path inside lmms_eval/tasks -> file."""
    try:
        listed = files("lmms-eval") or []
    except PackageNotFoundError:
        pytest.skip('lmms-eval is not installed: pip install "ricebench[mllm]"')
    tasks = PurePosixPath("lmms_eval/tasks")
    return {str(path.relative_to(tasks)): path for path in listed if path.is_relative_to(tasks)}


def read(held: dict[str, PackagePath], folder: str, name: str) -> dict[str, object]:
    """A task's file on top of the one that it includes."""
    own = yaml.load(held[f"{folder}/{name}"].read_text(encoding="utf-8"), Loader)
    below = own.get("include")
    return {**(read(held, folder, below) if below else {}), **own}


def test_the_evaluator_is_one_whose_wheel_has_task_files(held: dict[str, PackagePath]) -> None:
    assert (0, 7, 3) <= Version(version("lmms-eval")).release < (0, 8)
    assert any(path.endswith(".yaml") for path in held)


@pytest.mark.parametrize("column", TASKS)
def test_the_files_of_a_column_are_there(column: str, held: dict[str, PackagePath]) -> None:
    folder, metrics = TASKS[column]
    for task, wanted in metrics.items():
        body = read(held, folder, f"{task}.yaml")
        assert body["task"] == task
        measured = {each["metric"] for each in body["metric_list"]}  # type: ignore[attr-defined]
        assert set(wanted.split()) <= measured
        # The code that its `!function`s name lies beside it.
        assert any(path.startswith(f"{folder}/") and path.endswith("utils.py") for path in held)
        assert all(held[path].locate().is_file() for path in held if path.startswith(f"{folder}/"))


def test_thirteen_columns() -> None:
    assert len(TASKS) == 13
