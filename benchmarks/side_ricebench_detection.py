"""Our side of `peer_visbench_detection`: one cell, as `ricebench run` measures it.

    python -m benchmarks.side_ricebench_detection ENCODER WORLD STORE ITERATIONS SEED

Recipe mini with boxes alone. The results lie in the store's exports, as after any run. Prints one JSON; laps are CPU
seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from probes.detection.probe import CocoFormatDetection
from rice_core.datasets import open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store


def main(encoder: str, world: str, store: str, iterations: str, seed: str) -> None:
    """Time the run."""
    laps = {"import": time.process_time()}
    plan = Plan.over(
        encoders=(EncoderSpec.parse(encoder),),
        probes=(CocoFormatDetection(recipe="mini", masks="off", iterations=int(iterations)),),
        dataset=open_dataset(Path(world)),
        seeds=(int(seed),),
    )
    summary = Runner(Store(Path(store)), Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan)
    laps["run"] = time.process_time() - laps["import"]
    (record,) = summary.records
    torch = sys.modules["torch"]
    metrics = {metric.name: metric.value for metric in record.metrics}
    body = {"status": record.status, "threads": torch.get_num_threads(), "laps": laps, "metrics": metrics}
    print(json.dumps(body))


if __name__ == "__main__":
    main(*sys.argv[1:])
