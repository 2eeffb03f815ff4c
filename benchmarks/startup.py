"""What the suite costs beside its numbers: `python -m benchmarks startup`.

CPU seconds of `--help` and of `list` (goals 0.25 and 0.35); the second demo, whose cells are all reused (goal 3 s of wall time);
the digest of the code behind a detector's number; and a cold run of knn and linear on the demo's images against a script that
computes the two with nothing around it (`benchmarks.side_bare`). Every lap is a process of its own, one thread each; CPU
seconds, because neighbours stretch the wall's.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import Lap, keep, machine, process

ROUNDS, DEAR = 5, 3
"""Of what takes seconds, and of the demo and the cold runs."""
ENCODER = "mini-supervised"
_DIGEST = """
import time

from probes.detection.probe import CocoDetection
from rice_core.measure.provenance import number_code

began = time.process_time()
number_code(CocoDetection, "rice")
print(time.process_time() - began)
"""


def main() -> None:
    """Measure all four."""
    before = machine()
    looking = {
        word: _median([process("-m", "rice_core.cli", word)[0] for _ in range(ROUNDS)]) for word in ("--help", "list")
    }
    digests = [float(process("-c", _DIGEST)[1]) for _ in range(ROUNDS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo = ("-m", "rice_core.cli", "demo", "--quiet", f"--store={folder / 'store'}")
        first, *again = (process(*demo)[0] for _ in range(1 + DEAR))
        (world,) = (folder / "store" / "worlds").glob("mini-seed0-*")
        overhead = _overhead(folder, world)
    second, digest = _median(again), round(statistics.median(digests), 3)
    body = {
        "rounds": [ROUNDS, DEAR],
        "looking": looking,
        "demo": {"first": _median([first]), "second": second},
        "digest_of_a_detectors_code_cpu_s": digest,
        "overhead": overhead,
    }
    claims = [
        f"ricebench --help: {looking['--help']['cpu']} CPU s (goal 0.25); list: {looking['list']['cpu']} CPU s (goal 0.35)",
        f"the demo a second time: {second['wall']} s, {second['cpu']} CPU s (goal 3 s)",
        f"the digest of the code behind a detector's number: {digest} CPU s",
        f"a cold run of knn and linear on the demo's images: {overhead['suite_cpu_s']} CPU s, a bare script "
        f"{overhead['bare_cpu_s']}: {overhead['ratio']}x",
    ]
    keep("startup", claims, body, before)


def _overhead(folder: Path, world: Path) -> dict[str, Any]:
    """Whole processes in alternation, imports of torch and scikit-learn on both sides."""
    suite, bare, numbers = [], [], {}
    for turn in range(DEAR):
        store = folder / f"cold-{turn}"
        words = ("run", "-e", ENCODER, "-p", "knn,linear", f"--data={world}", f"--store={store}", "--quiet")
        suite.append(process("-m", "rice_core.cli", *words)[0].cpu)
        lap, said = process("-m", "benchmarks.side_bare", str(world), ENCODER)
        bare.append(lap.cpu)
        numbers["bare_top1"] = json.loads(said.splitlines()[-1])
        numbers["suite_top1"] = _top1(store)
    ratios = [one / other for one, other in zip(suite, bare, strict=True)]
    return numbers | {
        "suite_cpu_s": round(statistics.median(suite), 2),
        "bare_cpu_s": round(statistics.median(bare), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
    }


def _top1(store: Path) -> dict[str, float]:
    records = [json.loads(path.read_bytes())["record"] for path in sorted(store.glob("records/**/*.json"))]
    return {
        record["cell"]["probe"]["name"]: metric["value"]
        for record in records
        for metric in record["metrics"]
        if metric["name"] == "top1"
    }


def _median(laps: list[Lap]) -> dict[str, float]:
    return {
        "cpu": round(statistics.median(lap.cpu for lap in laps), 3),
        "wall": round(statistics.median(lap.wall for lap in laps), 3),
    }
