"""The got10k toolkit's side of `tracking_metrics`: one process, its own report without the plot.

    python -m benchmarks.side_got10k ROOT RESULTS TRACKER

Prints AO, SR at 0.5 and SR at 0.75 as one JSON.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["MPLBACKEND"] = "agg"

from got10k.experiments import ExperimentGOT10k


class Report(ExperimentGOT10k):  # type: ignore[misc]
    """Draws nothing."""

    def plot_curves(self, *_: object) -> None:
        pass


def main(root: str, results: str, tracker: str) -> None:
    """Judge the val split."""
    found = Report(root, subset="val", result_dir=results, report_dir=results).report([tracker])[tracker]["overall"]
    print(json.dumps([100 * found["ao"], 100 * found["sr"], 100 * found["succ_curve"][75]]))


if __name__ == "__main__":
    main(*sys.argv[1:])
