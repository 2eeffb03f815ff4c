"""A run that is killed while its model answers goes on with the answers that are there."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mllm.evaluate.answers import Answers, read_answers
from mllm.llava.recipe import RECIPES
from mllm.llava.training import stages_of
from probes.knn import Knn
from rice_core.datasets import Dataset, only, open_dataset
from rice_core.features import Encoder
from rice_core.measure import training_work
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Work
from rice_core.progress import Progress
from rice_core.record import Metric, Outcome
from rice_core.spec import EncoderSpec, ProbeSpec
from rice_core.stage import Stage
from rice_core.store import Store
from rice_core.world.layouts.llava import write_llava

pytest.importorskip("lmms_eval", reason='lmms-eval is not installed: pip install "ricebench[mllm]"')
pytestmark = pytest.mark.slow
TASK = "mme"


@dataclass(frozen=True)
class Counting(Knn):
    """How many questions have an answer; asked one at a time."""

    k: int = 1
    data: ClassVar[frozenset[str]] = frozenset({"questions"})
    reads: ClassVar[tuple[()]] = ()

    @property
    def spec(self) -> ProbeSpec:
        return ProbeSpec(name="counting", version=1, params={"task": TASK})

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        return (Answers(TASK, only(dataset, TASK), stages_of(RECIPES["smoke"], dataset), batch=1),)

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        rows = list(read_answers(work.stage(work.stages[0]).folder))
        return Outcome(metrics=(Metric(name="answers", value=len(rows), n=len(rows)),))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(write_llava(tmp_path_factory.mktemp("w") / "w", seed=0, train=4, val=6, size=48), name="mini")


def run(world: Dataset, root: Path) -> Any:
    plan = Plan.over((EncoderSpec.parse("synthetic:random-weights"),), (Counting(),), world)
    return Runner(Store(root), Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan)


def journals(root: Path) -> list[Path]:
    return sorted(root.glob("unfinished/*/journal.jsonl"))


def test_a_killed_run_goes_on_with_its_answers(world: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "s"
    process = multiprocessing.get_context("fork").Process(target=run, args=(world, root))
    process.start()
    for _ in range(120_000):
        if any(path.read_text().count('{"doc": ') >= 4 for path in journals(root)) or not process.is_alive():
            break
        time.sleep(0.005)
    process.kill()
    process.join()
    (path,) = journals(root)
    kept = path.read_text()[: path.read_text().rfind("\n") + 1]
    asked = kept.count('{"doc": ')
    questions = len(world.splits[TASK])
    assert 4 <= asked < questions
    after: list[str] = []
    child = training_work.run_child

    def watched(module: Any, request: Any, **settings: Any) -> Any:
        found = child(module, request, **settings)
        after.append(path.read_text())
        return found

    monkeypatch.setattr(training_work, "run_child", watched)
    summary = run(world, root)
    assert summary.records[0].metrics[0].value == questions
    # Each question has one line, those of before the kill first: none was asked again.
    (whole,) = after
    assert whole.startswith(kept)
    assert whole.count('{"doc": ') == questions
    assert not journals(root)
