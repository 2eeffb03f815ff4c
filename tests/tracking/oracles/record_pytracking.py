"""What pytracking, or OSTrack's copy of it, makes of the material: `python record_pytracking.py CHECKOUT`, with torch and tqdm.

CHECKOUT is of visionml/pytracking (recorded at 7eb9e74) or of botaoye/OSTrack (33b5e12). Their environment modules, which want files of
one's own, are stubbed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from material import HERE, load


def main() -> None:
    checkout = Path(sys.argv[1])
    name, root = ("ostrack", "lib.test") if (checkout / "lib").is_dir() else ("pytracking", "pytracking")
    sys.path.insert(0, str(checkout))
    with tempfile.TemporaryDirectory() as scratch:
        stub = ModuleType("environment")
        stub.env_settings = lambda: SimpleNamespace(result_plot_path=scratch)  # type: ignore[attr-defined]
        for stubbed in (f"{root}.evaluation", f"{root}.evaluation.environment", "tensorboardX"):
            sys.modules[stubbed] = stub
        for stubbed in ("pytracking", f"{root}.analysis", f"{root}.utils"):  # Their own __init__ import far more.
            package = sys.modules[stubbed] = ModuleType(stubbed)
            package.__path__ = [str(checkout / stubbed.replace(".", "/"))]
        module = importlib.import_module(f"{root}.analysis.extract_results")
        read = module.load_text
        module.load_text = lambda *args, **more: np.atleast_2d(read(*args, **more))  # A file of one row is a row.
        found = {flags: recorded(module.extract_results, flags, Path(scratch)) for flags in ("lasot", "none")}
    (HERE / f"{name}.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


def recorded(extract: Any, flags: str, scratch: Path) -> dict[str, Any]:
    """Per video its three curves' shares, or null where it is refused; and the means over the others as the plots have them."""
    videos = load()
    each = {video["id"]: judged(extract, [video], flags, scratch) for video in videos}
    whole = judged(extract, [video for video in videos if each[video["id"]]], flags, scratch)
    assert whole is not None
    means = [100 * np.array(curves, np.float32)[:, 0].mean(0, dtype=np.float32) for curves in whole]
    everything = [float(means[0].mean()), float(means[1][20]), float(means[2][20])]
    return {
        "all": everything,
        "videos": {name: curves and [digits(curve[0][0]) for curve in curves] for name, curves in each.items()},
    }


def judged(extract: Any, videos: list[dict[str, Any]], flags: str, scratch: Path) -> list[Any] | None:
    for video in videos:
        lines = ["\t".join(map(repr, row)) for row in video["boxes"]]
        (scratch / f"{video['id']}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sequences = [
        SimpleNamespace(
            name=video["id"],
            dataset="lasot" if flags == "lasot" else "tnl2k",
            ground_truth_rect=np.array(video["truth"]),
            target_visible=~np.array(video["absent"], dtype=bool) if flags == "lasot" else None,
        )
        for video in videos
    ]
    tracker = SimpleNamespace(results_dir=str(scratch), name="t", parameter_name="p", run_id=None, display_name="t")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            data = extract([tracker], sequences, "report")
        except Exception:
            if len(videos) > 1:
                raise
            return None
    kinds = ("overlap", "center", "center_norm")
    return [data[f"ave_success_rate_plot_{kind}"] for kind in kinds]


def digits(curve: list[float]) -> list[float]:
    return [round(share, 7) for share in curve]


if __name__ == "__main__":
    main()
