"""What the official MATLAB code of LaSOT or TNL2K makes of the material: `python record_matlab.py CHECKOUT`, with GNU Octave.

CHECKOUT is of HengLan/LaSOT_Evaluation_Toolkit (recorded at 95bf38a) or wangxiao5791509/TNL2K_evaluation_toolkit (1a96f6e), Octave 7.3.0.
The script itself runs, once for each setting that is edited in it (success, precision, normalised precision); what draws is
replaced by functions that write the drawn curve down.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from material import HERE, load

SCRIPTS = {"lasot": "run_tracker_performance_evaluation.m", "tnl2k": "Evaluate_TNL2K_dataset.m"}
SETTINGS = {"success": ("false", "AUC"), "precision": ("false", "threshold"), "norm_precision": ("true", "threshold")}
PLOTS = {"success": "overlap", "precision": "error", "norm_precision": "error"}
DRAWS = (
    "close",
    "figure",
    "axes",
    "set",
    "gca",
    "gcf",
    "hold",
    "grid",
    "legend",
    "title",
    "xlabel",
    "ylabel",
    "print",
    "saveas",
)


def main() -> None:
    checkout = Path(sys.argv[1])
    name = next(name for name, script in SCRIPTS.items() if (checkout / script).is_file())
    found: dict[str, Any] = {"all": [], "IV": [], "POC": [], "videos": {video["id"]: [] for video in load()}}
    for metric in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            values, shares = ran(checkout, name, metric, Path(folder))
        for of, value in zip(("all", "IV", "POC"), values, strict=True):
            found[of].append(value)
        for video, curve in shares.items():
            found["videos"][video].append(curve)
    (HERE / f"{name}-matlab.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


def ran(checkout: Path, name: str, metric: str, folder: Path) -> tuple[list[float], dict[str, list[float]]]:
    """The metric in percent of all videos and of those with each attribute, and each video's curve."""
    videos = load()
    written(videos, name, folder)
    shutil.copytree(checkout / "utils", folder / "utils")
    (folder / "config_tracker.m").write_text(
        "function t = config_tracker()\nt = {struct('name','t','publish','')};\nend\n"
    )
    normalised, ranking = SETTINGS[metric]
    text = (checkout / SCRIPTS[name]).read_text(encoding="utf-8")
    text, edits = re.subn(r"(?m)^(norm_dst = )\w+;", rf"\g<1>{normalised};", text)
    text, more = re.subn(r"(?m)^(ranking_type    = )'\w+';", rf"\g<1>'{ranking}';", text)
    assert (edits, more) == (1, 1)
    (folder / "script.m").write_text(text, encoding="utf-8")
    for each in DRAWS:
        (folder / f"{each}.m").write_text(
            f"function varargout = {each}(varargin)\nvarargout = cell(1, nargout);\nend\n"
        )
    (folder / "plot.m").write_text(
        "function plot(x, y, varargin)\nf = fopen('drawn.txt', 'a'); fprintf(f, '%.17g ', y); fprintf(f, '\\n'); fclose(f);\nend\n"
    )
    (folder / "dump.m").write_text(
        f"load('tmp_mat/aveSuccessRatePlot_1alg_{PLOTS[metric]}_OPE.mat'); n = size(ave_success_rate_plot);\n"
        "dlmwrite('shares.txt', reshape(ave_success_rate_plot, n(2), n(3)), 'precision', '%.17g');\n"
    )
    for script in ("script", "dump"):
        run = subprocess.run(
            ["octave-cli", "-qf", f"{script}.m"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
    # The first is of all videos, then one an attribute that two have; success is drawn behind the error's where both are.
    drawn = [[float(share) for share in line.split()] for line in (folder / "drawn.txt").read_text().splitlines()]
    curves = [curve for curve in drawn if len(curve) == (21 if metric == "success" else 51)]
    shares = [
        [round(float(share), 12) for share in line.split(",")]
        for line in (folder / "shares.txt").read_text().splitlines()
    ]
    values = [100 * (sum(curve) / 21 if metric == "success" else curve[20]) for curve in curves]
    return values, {video["id"]: row for video, row in zip(videos, shares, strict=True)}


def written(videos: list[dict[str, Any]], name: str, folder: Path) -> None:
    """The material as the script wants it."""
    truth = folder / "annos" / ("gt_rect" if name == "tnl2k" else ".")
    others = [
        folder / part
        for part in ("annos/absent", "annos/att", "tracking_results/t_tracking_result", "sequence_evaluation_config")
    ]
    for each in (truth, *others):
        each.mkdir(parents=True, exist_ok=True)
    absent, attributes, results, config = others
    for number, video in enumerate(videos):
        (truth / f"{video['id']}.txt").write_text(table(video["truth"]))
        (absent / f"{video['id']}.txt").write_text(table([[flag] for flag in video["absent"]]))
        (results / f"{video['id']}.txt").write_text(table(video["boxes"]))
        (attributes / f"{video['id']}{'_attribute' if name == 'tnl2k' else ''}.txt").write_text(
            f"{number % 2},{int(number % 3 == 0)},{int(number == 5)}\n"
        )
    listed = "\n".join(video["id"] for video in videos)
    (config / ("TNL2K_testing_set.txt" if name == "tnl2k" else "all_dataset.txt")).write_text(listed)


def table(rows: list[list[float]]) -> str:
    return "".join(",".join(map(repr, row)).replace("nan", "NaN") + "\n" for row in rows)


if __name__ == "__main__":
    main()
