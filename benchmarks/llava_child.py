"""What lmms-eval costs beside the answers themselves: `python -m benchmarks llava_child`. Needs the extra `mllm`.

The miniature world's benchmarks are judged from stored answers, so that no model is asked: one task in a child process, then all that
the installed packages allow in one child. DocVQA is judged again with QUESTIONS questions, for what each costs. CPU seconds of the child.
"""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measuring import Lap, keep, machine, process
from mllm.evaluate import child
from mllm.evaluate.columns import BENCHMARKS
from mllm.evaluate.journal import Journal
from mllm.evaluate.request import AnswerRequest, AskedTask
from mllm.evaluate.requirements import requirements_of
from mllm.evaluate.tables import TableQuestions, find_tables
from rice_core.measure.child import run_child
from rice_core.world.layouts.questions import question_jobs

ROUNDS, QUESTIONS = 3, 2000
ONE = "docvqa_val"


def main() -> None:
    """Measure all."""
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for job in question_jobs(0, 24, 96):
            job.write(folder / "world")
        tables = find_tables(folder / "world")
        tasks = [task for task in BENCHMARKS if task in tables and not requirements_of(task)]
        many = _longer(tables[ONE][0], folder / "many" / "validation-00000-of-00001.parquet")
        calls: dict[str, dict[str, tuple[Path, ...]]] = {
            "one": {ONE: tables[ONE]},
            "all": {task: tables[task] for task in tasks},
            "many": {ONE: (many,)},
        }
        laps: dict[str, list[Lap]] = {kind: [] for kind in calls}
        importing = []
        for turn in range(ROUNDS):
            importing.append(process("-c", "import lmms_eval.evaluator")[0])
            for kind in list(calls) if turn % 2 == 0 else reversed(calls):
                laps[kind].append(_judged(calls[kind], folder / f"{kind}-{turn}"))
        questions = len(TableQuestions.of(ONE, tables[ONE]))
    cpu = {kind: statistics.median(lap.cpu for lap in of_kind) for kind, of_kind in laps.items()}
    each = (cpu["all"] - cpu["one"]) / (len(tasks) - 1)
    question = 1000 * (cpu["many"] - cpu["one"]) / (QUESTIONS - questions)
    imported = statistics.median(lap.cpu for lap in importing)
    claims = [
        f"lmms-eval {version('lmms-eval')} in a child process a checkpoint, no model asked: start-up {cpu['one'] - each:.1f} CPU s (of which "
        f"its import {imported:.1f}), a task {each:.1f}, so {len(tasks)} tasks {cpu['all']:.1f} in one child and {len(tasks) * cpu['one']:.0f} in one "
        f"child each; a question of DocVQA {question:.1f} ms beyond its answer"
    ]
    body: dict[str, Any] = {
        "rounds": ROUNDS,
        "tasks": tasks,
        "questions": [questions, QUESTIONS],
        "cpu": {kind: [round(lap.cpu, 2) for lap in of_kind] for kind, of_kind in laps.items()},
        "wall": {kind: [round(lap.wall, 2) for lap in of_kind] for kind, of_kind in laps.items()},
        "import": [round(lap.cpu, 2) for lap in importing],
    }
    keep("llava_child", claims, body, before)


def _judged(tables: dict[str, tuple[Path, ...]], place: Path) -> Lap:
    """Seconds of one child over stored answers."""
    tasks = [_asked(task, files, place) for task, files in tables.items()]
    request = AnswerRequest(tasks=tuple(tasks), model=None, key="stored").model_dump(mode="json")
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    said = run_child(child, request, cwd=place / "own", timeout=None, say=lambda line: None)
    wall, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if said["failed"] or said["missing"]:
        raise RuntimeError(json.dumps(said)[:2000])
    return Lap(wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)


def _asked(task: str, files: tuple[Path, ...], place: Path) -> AskedTask:
    questions = TableQuestions.of(task, files)
    path = place / f"{task}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"key": "stored"}, *({"doc": doc, "question": "", "answer": "A"} for doc in questions.rows)]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert Journal(path, "stored").said(0) == "A"
    return AskedTask(
        name=task,
        files=tuple(map(str, files)),
        documents=tuple(questions.rows),
        out=str(place / task),
        journal=str(path),
    )


def _longer(table: Path, out: Path) -> Path:
    """Its rows again and again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(table)
    out.parent.mkdir(parents=True)
    pq.write_table(pa.concat_tables([rows] * (QUESTIONS // len(rows) + 1)).slice(0, QUESTIONS), out)
    return out


if __name__ == "__main__":
    main()
