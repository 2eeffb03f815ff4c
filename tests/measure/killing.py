"""Run by test_kill.py: fork a run again and again, kill -9 it at random moments, and let the last one finish.

Forking from a process that has imported everything makes a kill cost milliseconds instead of an interpreter's start.
Prints one line: the number of kills that hit, then the number of records that were there before a kill and lost after.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from probes.knn import Knn
from rice_core.datasets import open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store


def go(world: Path, root: Path) -> None:
    """The run that is killed."""
    torch.set_num_threads(1)
    encoders = tuple(EncoderSpec.parse(f"synthetic:{name}") for name in ("random-weights", "noise"))
    plan = Plan.over(encoders, (Knn(k=3), Knn(k=9)), open_dataset(world, name="mini"), seeds=(0, 1))
    Runner(Store(root), Settings(batch=16), Progress(quiet=True)).run(plan)


def child(world: Path, root: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            go(world, root)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


def main(world: Path, root: Path, seed: int, longest: float) -> None:
    rng = random.Random(seed)
    kills = lost = 0
    while True:
        pid = child(world, root)
        time.sleep(rng.uniform(0, longest))
        before = {path: path.read_bytes() for path in (root / "records").glob("*.json")}
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended == 0 and kills < 20:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills += 1
            lost += sum(not path.exists() or path.read_bytes() != data for path, data in before.items())
            continue
        if ended == 0:
            _, status = os.waitpid(pid, 0)
        print(kills, lost)
        sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        go(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
