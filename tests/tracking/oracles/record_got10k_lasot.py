"""What the LaSOT experiment of the GOT-10k toolkit makes of the material: `python record_got10k_lasot.py CHECKOUT`.

CHECKOUT is of got-10k/toolkit (recorded at 956e728); needs shapely and matplotlib. What it imports beside is stubbed.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from material import HERE, load


class Videos(list[Any]):
    """A data set as the toolkit's are."""

    def __init__(self, videos: list[dict[str, Any]]) -> None:
        super().__init__((None, np.array(video["truth"])) for video in videos)
        self.seq_names = [video["id"] for video in videos]


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    for module in ("cv2", "wget", "fire"):
        sys.modules.setdefault(module, ModuleType(module))
    from got10k.experiments.lasot import ExperimentLaSOT

    class Experiment(ExperimentLaSOT):  # type: ignore[misc]
        def __init__(self, videos: list[dict[str, Any]], folder: Path) -> None:
            self.dataset, self.result_dir, self.report_dir = Videos(videos), str(folder), str(folder)
            self.nbins_iou, self.nbins_ce, self.nbins_nce = 21, 51, 51

        def plot_curves(self, *_: object) -> None:
            pass

    # Of a file of one row numpy.loadtxt makes no table, at which the toolkit stops.
    videos = [video for video in load() if len(video["truth"]) > 1]
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        (Path(name) / "t").mkdir()
        for video in videos:
            lines = [",".join(map(repr, row)) for row in video["boxes"]]
            (Path(name) / "t" / f"{video['id']}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        found = Experiment(videos, Path(name)).report(["t"])["t"]
    keys = ("success_score", "precision_score", "normalized_precision_score")
    curves = ("success_curve", "precision_curve", "normalized_precision_curve")
    body = {
        "all": [100 * float(found["overall"][key]) for key in keys],
        "videos": {name: [of[key] for key in curves] for name, of in found["seq_wise"].items()},
    }
    (HERE / "got10k-lasot.json").write_text(json.dumps(body) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
