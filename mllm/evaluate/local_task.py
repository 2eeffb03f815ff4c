"""A task of lmms-eval on a table of this machine: its own YAML, with another place for the data.

Imports lmms-eval inside its functions: a child process calls them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllm.evaluate.request import AskedTask
from rice_core.errors import UserError

LOCAL = "local_"
"""Before the name of a task that stands beside lmms-eval's own, which would win under one name."""
_BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}


@dataclass(frozen=True)
class LocalTask:
    """A task, opened."""

    task: Any
    """lmms-eval's `ConfigurableTask`."""
    split: str
    version: str
    """Of lmms-eval."""


def write_task(folder: Path, task: str, files: Sequence[str], *, cache: Path | None = None, name: str = "") -> Path:
    """A folder for lmms-eval's `include_path`, with the task's YAML.

    Only the files of the split are read: lmms-eval itself would make Arrow files of all splits.

    Args:
        task: lmms-eval's name. files: of its table, absolute. cache: where Arrow files are made; None: in the cache of `datasets`.
        name: of the task, if it is to stand beside the built-in one.

    Raises:
        UserError: lmms-eval has no such task, or the files are of an unknown kind.
    """
    import yaml
    from lmms_eval import utils

    built_in = built_in_yaml(task)
    own = utils.load_yaml_config(str(built_in), mode="simple")
    builder = _BUILDERS.get(Path(files[0]).suffix)
    if builder is None:
        raise UserError(f"{Path(files[0]).name} is neither Parquet nor Arrow; fetch the data set as it is on the hub.")
    body = {
        "include": str(built_in),
        "task": name or task,
        "dataset_path": builder,
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split_of(own): list(files)}} | ({"cache_dir": str(cache)} if cache else {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name or task}.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    return folder


def opened_task(manager: Any, asked: AskedTask) -> LocalTask:
    """The task with its data, cut to the documents that are asked.

    Raises:
        UserError: the files have fewer rows than they had when they were listed.
    """
    from importlib.metadata import version

    from lmms_eval.tasks import get_task_dict

    task = get_task_dict([asked.name], manager)[asked.name]
    split = task.config.test_split or task.config.validation_split
    rows = len(task.dataset[split])
    if max(asked.documents) >= rows:
        raise UserError(
            f"{asked.name} has {rows} questions, and question {max(asked.documents)} is asked; its files have changed, so run it again."
        )
    if asked.documents != tuple(range(rows)):
        # One and the same where a scorer looks at pictures.
        for table in {id(each): each for each in (task.dataset, task.dataset_no_image)}.values():
            table[split] = table[split].select(asked.documents)
    return LocalTask(task, split, version("lmms-eval"))


def built_in_yaml(task: str) -> Path:
    """Raises UserError where lmms-eval has no such task."""
    from importlib.util import find_spec

    spec = find_spec("lmms_eval")
    assert spec is not None
    assert spec.origin is not None
    found = sorted((Path(spec.origin).parent / "tasks").glob(f"*/{task}.yaml"))
    if not found:
        raise UserError(f"The lmms-eval that is installed has no task {task}; install the one of constraints.txt.")
    return found[0]


def split_of(body: dict[str, Any]) -> str:
    """The split that a task of lmms-eval judges."""
    return str(body.get("test_split") or body["validation_split"])
