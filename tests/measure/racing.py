"""Run by test_claims.py: several processes on one store, forked from one that has imported everything.

    racing.py WORLD ROOT identical N      N identical runs at once; prints the outcomes of each as JSON
    racing.py WORLD ROOT all ROUNDS       rounds of two runs with --only all, whose scores differ; prints rounds without scores
    racing.py WORLD ROOT killed           a run that is killed while it measures, and one that waits for it

Every measurement leaves a line "encoder probe pid" in ROOT/../measured.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from rice_core.datasets import Dataset, limit, open_dataset
from rice_core.features import Encoder
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.measure.summary import Summary
from rice_core.probe import Read, Work
from rice_core.progress import Progress
from rice_core.record import Outcome, Scores
from rice_core.spec import EncoderSpec, ProbeSpec
from rice_core.stats.estimates import metric_of
from rice_core.store import Store

MEASURED = "measured"


@dataclass(frozen=True)
class Slow:
    """Takes its time, and never gives the same number twice."""

    number: int = 0
    seconds: float = 0.0
    log: str = ""
    recipe: str = "standard"

    name: ClassVar[str] = "slow"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    data: ClassVar[frozenset[str]] = frozenset()

    @property
    def spec(self) -> ProbeSpec:
        return ProbeSpec(name=self.name, version=self.version, params={"number": self.number})

    @property
    def reads(self) -> tuple[Read, ...]:
        return ()

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        with Path(self.log).open("a") as log:
            log.write(f"{encoder.spec.model} {self.number} {os.getpid()}\n")
        time.sleep(self.seconds)
        ids = tuple(map(str, range(20)))
        luck = random.Random(os.getpid() * 1_000_003 + time.time_ns())
        values = {"luck": tuple(luck.random() for _ in ids)}
        scores = Scores(sample=ids, cluster=ids, values=values)
        artifact = work.artifact_json("luck.json", values["luck"][:3])
        return Outcome(
            metrics=(metric_of(scores, "luck", unit="", better="higher"),), scores=scores, artifacts=(artifact,)
        )


def execute(dataset: Dataset, root: Path, encoders: list[str], probes: tuple[Slow, ...], only: str) -> Summary:
    torch.set_num_threads(1)
    plan = Plan.over(tuple(map(EncoderSpec.parse, encoders)), probes, dataset)
    return Runner(Store(root), Settings(only=only), Progress()).run(plan)  # type: ignore[arg-type]


def child(job: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            job()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


def identical(dataset: Dataset, root: Path, n: int) -> object:
    log, out = str(root.parent / MEASURED), root.parent / "outcomes"
    out.mkdir()
    probes = (Slow(0, 0.4, log), Slow(1, 0.4, log))

    def job() -> None:
        summary = execute(dataset, root, ["synthetic:noise", "synthetic:constant"], probes, "missing")
        luck = {f"{r.cell.encoder.title} {r.cell.probe.params['number']}": r.metrics[0].value for r in summary.records}
        (out / str(os.getpid())).write_text(json.dumps({"counts": summary.counts, "luck": luck}))

    ended = [os.waitpid(pid, 0)[1] for pid in [child(job) for _ in range(n)]]
    assert ended == [0] * n
    return [json.loads(path.read_text()) for path in out.iterdir()]


def all_again(dataset: Dataset, root: Path, rounds: int) -> object:
    probes = (Slow(0, 0.0, str(root.parent / MEASURED)),)
    store, lost = Store(root), 0
    for _ in range(rounds):
        pids = [child(lambda: execute(dataset, root, ["synthetic:noise"], probes, "all")) for _ in range(2)]
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
        (record,) = store.records()
        lost += record.status != "done" or not store.intact(record)
    return lost


def killed(dataset: Dataset, root: Path) -> object:
    log = root.parent / MEASURED
    first = child(lambda: execute(dataset, root, ["synthetic:noise"], (Slow(0, 600, str(log)),), "missing"))
    while not log.exists() or not log.read_text().endswith("\n"):
        time.sleep(0.02)
    said = root.parent / "said"
    second = child(
        lambda: _told(said, lambda: execute(dataset, root, ["synthetic:noise"], (Slow(0, 0.0, str(log)),), "missing"))
    )
    while not said.exists() or "waiting" not in said.read_text():
        time.sleep(0.02)
    early = [record.cell.id for record in Store(root).records()]
    os.kill(first, signal.SIGKILL)
    began = time.monotonic()
    assert os.waitpid(second, 0)[1] == 0
    print(said.read_text(), file=sys.stderr)
    return {"early": early, "seconds": time.monotonic() - began, "first": first, "second": second}


def _told(path: Path, job: Callable[[], object]) -> None:
    """What the job says on standard error goes into a file."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 2)
    job()


def main(world: Path, root: Path, what: str, number: int) -> None:
    dataset = limit(open_dataset(world, name="mini"), 4)
    if what == "identical":
        found = identical(dataset, root, number)
    elif what == "all":
        found = all_again(dataset, root, number)
    else:
        found = killed(dataset, root)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
