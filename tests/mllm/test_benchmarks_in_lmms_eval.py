"""lmms-eval's own tasks over the miniature benchmarks: prompts, scores and aggregates, from constructed answers and without a model."""

from __future__ import annotations

from pathlib import Path

import pytest
from lmms_tasks import aggregate, judged, lmms_task, right_answer

from mllm.evaluate.columns import BENCHMARKS, COLUMNS
from rice_core.world.asking import LETTER, SHORT, SINGLE, YES_NO
from rice_core.world.layouts.questions import question_jobs

pytestmark = pytest.mark.slow

ENDS = {
    "infovqa_val": f"\n{SHORT}",
    "docvqa_val": f"\n{SHORT}",
    "chartqa": f"\n{SINGLE}",
    "textvqa_val": f"\n{SHORT}",
    "ai2d": f"\n{LETTER}",
    "mmbench_en_dev_static": f"\n{LETTER}",
    "mme": f"?\n{SHORT}",  # instead of the question's own "Please answer yes or no."
    "pope": f"\n{SHORT}",
    "mmstar": f"\n{LETTER.rstrip('.')}",
} | {f"livexiv_vqa_v{k}": f"\n{LETTER}" for k in range(1, 7)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("questions")
    for job in question_jobs(0, 24, 96):
        job.write(out)
    return out


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_task_asks_and_judges_as_of_the_published_benchmark(
    name: str, folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some aggregations write into the working directory
    task = lmms_task(name, folder)
    docs = task.eval_docs
    values: dict[str, dict[str, list]] = {"right": {}, "nonsense": {}}
    for doc in docs:
        assert [picture.size for picture in task.doc_to_visual(doc)] == [(96, 96)]
        text = task.doc_to_text(doc)
        assert text.endswith(ENDS.get(name, ""))
        assert YES_NO not in text
        for kind, answer in (("right", right_answer(name, doc)), ("nonsense", "~")):
            for metric, value in judged(task, doc, answer).items():
                values[kind].setdefault(metric, []).append(value)
    for column in COLUMNS:
        if name in column.tasks:
            metric = column.metric.split(",")[0]
            best, worst = (aggregate(task, metric, values[kind][metric], tmp_path) for kind in ("right", "nonsense"))
            expected = {
                "ocrbench": 24,  # hits of a thousand however many there are; and its module adds up over calls
                "textvqa_val": 100 - 10 * 2 / 24,  # of two questions three of ten people agree
            }
            assert worst == (0 if name != "ocrbench" else best)
            assert best * column.scale == pytest.approx(expected.get(name, column.best))
