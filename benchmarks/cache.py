"""A warm against a cold run of knn, linear and tokens through the `Runner`: `python -m benchmarks cache`.

cold: no records, no features. refit: every cell measured again from cached features (`--only all`). warm: the same
command again, every record reused after its evidence is checked. All in one process, so no imports are counted; each
run loads the encoder anew and hashes its weights and the images.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from benchmarks.material import write_photos, write_vit
from benchmarks.measuring import Lap, alternate, keep, machine, median
from probes.knn import Knn
from probes.linear import Linear
from probes.tokens import Tokens
from rice_core.datasets import open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store

MODEL = "vit_small_patch16_224"
TRAIN, VAL, ROUNDS = 64, 32, 2


def main() -> None:
    """Cold, refit and warm, in this order, every round."""
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos", train=TRAIN, val=VAL)
        write_vit(folder / "encoder", MODEL)
        plan = Plan.over(
            encoders=(EncoderSpec(source="timm", model=f"local-dir:{folder / 'encoder'}"),),
            probes=(Knn(), Linear(), Tokens(images=VAL)),
            dataset=open_dataset(folder / "photos"),
        )
        load_once = _run(folder / "warm-up", plan, "missing", {"done": 3})
        load_once()
        shutil.rmtree(folder / "warm-up")
        cold, refit, warm = _rounds(folder / "store", plan)
    times = {"cold": median(cold), "refit": median(refit), "warm": median(warm)}
    body = {
        "model": MODEL,
        "images": TRAIN + VAL,
        "rounds": ROUNDS,
        "seconds": {key: round(value, 3) for key, value in times.items()},
        "cold_over_warm": round(times["cold"] / times["warm"], 1),
        "cold_over_refit": round(times["cold"] / times["refit"], 1),
    }
    claim = (
        f"a warm run is {body['cold_over_warm']}x faster than a cold one, "
        f"{body['cold_over_refit']}x where every probe is fitted again from cached features"
    )
    keep("cache", [claim], body, before)


def _rounds(store: Path, plan: Plan) -> list[list[Lap]]:
    """Laps of cold, refit, warm; the order is part of what is measured, so it is not turned round."""
    laps: list[list[Lap]] = [[], [], []]
    steps = [
        _run(store, plan, "missing", {"done": 3}),
        _run(store, plan, "all", {"done": 3}),
        _run(store, plan, "missing", {"reused": 3}),
    ]
    for _ in range(ROUNDS):
        shutil.rmtree(store, ignore_errors=True)
        for index, step in enumerate(steps):
            laps[index] += alternate([step], 1)[0]
    return laps


def _run(store: Path, plan: Plan, only: Literal["missing", "all"], expected: dict[str, int]) -> Callable[[], Any]:
    def run() -> None:
        counts = Runner(Store(store), Settings(only=only, debug=True), Progress(quiet=True)).run(plan).counts
        if counts != expected:
            raise RuntimeError(f"the run gave {dict(counts)} where {expected} was expected")

    return run
