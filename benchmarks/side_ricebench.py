"""Our side of `peer_visbench`: one process, as `ricebench run` does it.

    python -m benchmarks.side_ricebench ENCODER_FOLDER PHOTOS STORE BATCH cold|warm|refit

`cold` and `warm` are the command as typed; `refit` measures every cell again from cached features. torch and timm are
imported first where they will be needed, so that imports can be told from work; `warm` imports what it finds it needs.
Prints one JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

BEGAN = time.perf_counter()

if sys.argv[-1] != "warm":
    import timm  # noqa: F401 (the adapter imports it when it loads; an import all the same, on both sides)

    import rice_core.measure.measurer  # noqa: F401

from probes.knn import Knn  # noqa: E402
from probes.linear import Linear  # noqa: E402
from rice_core.datasets import open_dataset  # noqa: E402
from rice_core.measure.plan import Plan  # noqa: E402
from rice_core.measure.run import Runner, Settings  # noqa: E402
from rice_core.progress import Progress  # noqa: E402
from rice_core.spec import EncoderSpec  # noqa: E402
from rice_core.store import Store  # noqa: E402


def main(encoder: str, photos: str, store: str, batch: str, phase: str) -> None:
    """Time the run."""
    laps = {"import": time.perf_counter() - BEGAN}
    began = time.perf_counter()
    plan = Plan.over(
        encoders=(EncoderSpec(source="timm", model=f"local-dir:{encoder}"),),
        probes=(Knn(k=1), Linear()),
        dataset=open_dataset(Path(photos)),
    )
    settings = Settings(batch=int(batch), only="all" if phase == "refit" else "missing", debug=True)
    summary = Runner(Store(Path(store)), settings, Progress(quiet=True)).run(plan)
    laps["run"] = time.perf_counter() - began
    top1 = {}
    for record in summary.records:
        metric = record.metric("top1")
        top1[f"{record.cell.probe.name}_top1"] = metric.value if metric else None
        laps[record.cell.probe.name] = record.seconds
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    print(json.dumps({"threads": threads, "laps": laps, "counts": summary.counts, **top1}))


if __name__ == "__main__":
    main(*sys.argv[1:])
