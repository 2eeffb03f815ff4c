"""What the scripts share: the machine in general words, a stopwatch for wall and CPU time, and the JSON of a result.

CPU time (all threads, seconds of a core) is kept beside wall time because neighbours on the same machine stretch the
second far more than the first.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Lap:
    """Seconds that one call took."""

    wall: float
    cpu: float


def timed(call: Callable[[], object]) -> Lap:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Lap(time.perf_counter() - wall, time.process_time() - cpu)


def process(*words: str) -> tuple[Lap, str]:
    """`ran` of this Python with one thread."""
    return ran([sys.executable, *words], OMP_NUM_THREADS="1")


def ran(command: Sequence[str], **environment: str) -> tuple[Lap, str]:
    """Seconds of a process with its children, start included, and what it printed.

    Raises:
        RuntimeError: it failed.
    """
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    wall, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:5])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return Lap(wall, cpu), done.stdout


def told(command: Sequence[str], **environment: str) -> dict[str, Any]:
    """The JSON that a process printed last, with the seconds of its `laps`, and its own as `wall` and `cpu`."""
    lap, said = ran(command, **environment)
    body: dict[str, Any] = json.loads(said.splitlines()[-1])
    body["laps"] = {key: round(value, 3) for key, value in body["laps"].items()}
    return body | {"wall": round(lap.wall, 3), "cpu": round(lap.cpu, 3)}


def alternate(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[Lap]]:
    """Laps of each call, one a round; every other round goes backwards, so that a drift of the machine cancels."""
    laps: list[list[Lap]] = [[] for _ in calls]
    for turn in range(rounds):
        order = range(len(calls)) if turn % 2 == 0 else reversed(range(len(calls)))
        for index in order:
            laps[index].append(timed(calls[index]))
    return laps


def ratio(top: Sequence[Lap], bottom: Sequence[Lap]) -> dict[str, float]:
    """top / bottom: median over the rounds and range of the wall times, best lap over best lap, median of the CPU times.

    Neighbours only ever make a lap longer, so the best laps are the least disturbed.
    """
    walls = [a.wall / b.wall for a, b in zip(top, bottom, strict=True)]
    cpus = [a.cpu / b.cpu for a, b in zip(top, bottom, strict=True)]
    found = {
        "wall": statistics.median(walls),
        "wall_min": min(walls),
        "wall_max": max(walls),
        "best": best(top) / best(bottom),
        "cpu": statistics.median(cpus),
    }
    return {key: round(value, 3) for key, value in found.items()}


def median(laps: Sequence[Lap]) -> float:
    """Median wall seconds."""
    return statistics.median(lap.wall for lap in laps)


def best(laps: Sequence[Lap]) -> float:
    """Least wall seconds."""
    return min(lap.wall for lap in laps)


def matmul_rate(size: int = 2048, rounds: int = 12) -> float:
    """FLOP/s of a large fp32 matrix product with the threads that the model has: the best of the rounds."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    with torch.inference_mode():
        laps = [timed(lambda: a @ b).wall for _ in range(rounds)]
    return 2 * size**3 / min(laps)


def machine() -> dict[str, Any]:
    """General words alone: no name of a host, no path."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default").lower(),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "timm": version("timm"),
        "pillow": version("pillow"),
        "load_before": round(os.getloadavg()[0], 2),
        "shared": True,
    }


def keep(name: str, claims: Sequence[str], body: dict[str, Any], machine_before: dict[str, Any]) -> None:
    """Print one line a claim; write benchmarks/results/<name>.json."""
    for claim in claims:
        print(f"{name}: {claim}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine_before,
        "claims": list(claims),
        **body,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
