"""`python -m benchmarks [NAME ...]`: all, or the named ones. What they found is in docs/benchmarks.md."""

from __future__ import annotations

import importlib
import os
import sys

from rice_core.errors import did_you_mean

NAMES = (
    "startup",
    "extraction",
    "cache",
    "report",
    "peer_visbench",
    "regions",
    "loss",
    "loader",
    "training",
    "curation",
    "evaluate",
    "tracking",
    "tracking_metrics",
    "llava_training",
    "peer_ostrack",
    "detection",
    "detection_data",
    "llava_data",
    "llava_generation",
    "views",
    "peer_visbench_detection",
    "llava_child",
)


def main(wanted: list[str]) -> int:
    """Run each; 2 for an unknown name."""
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(
            f"There is no benchmark {unknown[0]!r}; {did_you_mean(unknown[0], NAMES)}choose from {', '.join(NAMES)}.",
            file=sys.stderr,
        )
        return 2
    # Before torch is imported: a thread that waits for one which a neighbour has pushed off its core shall sleep, not
    # spin. Spinning made laps on a loaded machine up to 20 times longer (docs/benchmarks.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in wanted or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
