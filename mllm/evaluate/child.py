"""The work of a child process: lmms-eval, which patches what is global and writes where it stands, asks and judges here.

One child serves all tasks of a model, since to import lmms-eval takes many seconds. Each task's files are written as soon as it is judged,
so that what goes wrong with one is no loss of another.
"""

from __future__ import annotations

import json
import os
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm.evaluate.journal import Journal
from mllm.evaluate.offline import without_network
from mllm.evaluate.request import ANSWERS, TOLD, AnswerRequest, AskedTask
from mllm.evaluate.sitting import Sitting, speaker_of
from rice_core.disk.files import write_atomically
from rice_core.errors import UserError, one_line

if TYPE_CHECKING:
    from rice_core.measure.child import Tell

_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Of torchrun: this process is no rank of the run that started it."""
_ASKED_OF_OTHERS = ("OPENAI_API_KEY", "OPENAI_API_URL", "AZURE_ENDPOINT", "API_TYPE", "MODEL_VERSION", "NUM_IMAGE")
"""By which some tasks ask a service, or change their question."""


def main(request: Any, tell: Tell) -> Any:
    """Answer and judge tasks.

    Args:
        request: an `AnswerRequest`.

    Returns:
        {"failed": {task: sentence}, "missing": {task: documents without an answer}}. The first task is in neither where a model is asked.

    Raises:
        UserError: the first task failed.
    """
    asked = AnswerRequest.model_validate(request)
    for name in [*os.environ]:
        if name.startswith("LMMS_EVAL_") or name in (*_RANKS, *_ASKED_OF_OTHERS):
            del os.environ[name]
    tried = without_network()
    journals = {task.name: Journal(Path(task.journal), asked.key) for task in asked.tasks}
    speaker = None if asked.model is None else partial(speaker_of, asked.model)
    sitting = Sitting(speaker, journals, asked.most, tell)
    failed: dict[str, str] = {}
    for task in asked.tasks:
        try:
            _judge(asked, task, sitting, tried)
        except Exception as error:
            if task is asked.tasks[0]:
                raise _plain(task.name, error) from error
            failed[task.name] = str(_plain(task.name, error))
    documents = {task.name: task.documents for task in asked.tasks}
    missing = {name: [documents[name][place] for place in places] for name, places in sitting.missing.items()}
    return {"failed": failed, "missing": missing}


def _judge(asked: AnswerRequest, task: AskedTask, sitting: Sitting, tried: list[str]) -> None:
    """One task, from its questions to its files."""
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.models import MODEL_REGISTRY_V2
    from lmms_eval.tasks import TaskManager

    from mllm.evaluate.lmms_model import LlavaOfLmmsEval
    from mllm.evaluate.local_task import opened_task, write_task
    from mllm.evaluate.plugin import NAME, manifest

    MODEL_REGISTRY_V2.register_manifest(manifest(), overwrite=True)  # which an installed package has done already
    LlavaOfLmmsEval.sitting = sitting
    own = Path.cwd()
    folder = write_task(own / "tasks" / task.name, task.name, task.files, cache=own / "datasets")
    manager = TaskManager(include_path=str(folder), include_defaults=False, model_name=NAME)
    opened = opened_task(manager, task)
    results = simple_evaluate(
        model=NAME,
        tasks=[opened.task],
        task_manager=manager,
        bootstrap_iters=0,  # errors are made by us, clustered
        process_docs_parallel=1,
        cli_args=Namespace(process_with_media=False, output_path=None, reasoning_tags=None),
    )
    if tried:
        host = tried[0]
        tried.clear()
        raise UserError(
            f"{task.name} tried to reach {host}, so that its score rests on a service; choose the task without one."
        )
    absent = set(sitting.missing.get(task.name, ()))
    rows = [_row(sample, task) for sample in results["samples"][task.name] if sample["doc_id"] not in absent]
    told = {
        "task": task.name,
        "split": opened.split,
        "lmms_eval": opened.version,
        "generation": sitting.settings.get(task.name, {}),
        "aggregated": {} if absent else _numbers(results["results"][task.name]),
        "n": len(rows),
        "model": asked.about,
        "key": asked.key,
    }
    rows.sort(key=lambda row: row["doc"])
    out = Path(task.out)
    out.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(row, default=_as_json, ensure_ascii=False)}\n" for row in rows)
    write_atomically(out / ANSWERS, lines.encode())
    write_atomically(out / TOLD, json.dumps(told, default=_as_json, indent=1).encode())


def _row(sample: dict[str, Any], task: AskedTask) -> dict[str, Any]:
    """One line of answers.jsonl, from lmms-eval's own log of a sample, which counts the documents that were asked."""
    own = ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "token_counts", "doc_hash", "input_media")
    return {
        "doc": task.documents[sample["doc_id"]],
        "question": sample["arguments"][0],
        "answer": sample["resps"][0][0],
        "target": sample["target"],
        "judged": {name: value for name, value in sample.items() if name not in own},
    }


def _numbers(results: dict[str, Any]) -> dict[str, float]:
    """lmms-eval's aggregates, by `metric,filter`."""
    return {
        name: float(value)
        for name, value in results.items()
        if "," in name and "_stderr" not in name and isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _as_json(value: Any) -> Any:
    """What json does not know: numbers of numpy, sets, dates."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def _plain(task: str, error: Exception) -> UserError:
    """One sentence, of what lies below lmms-eval's attempts to do the same again."""
    attempt = getattr(error, "last_attempt", None)
    below = attempt.exception() if attempt is not None else error
    if isinstance(below, UserError):
        return below
    return UserError(
        f"lmms-eval failed at {task} ({one_line(below, 240).rstrip('.')}); nothing was scored, and what was answered is kept."
    )
