"""Tracking metrics against the got10k toolkit's: `python -m benchmarks tracking_metrics`.

Made-up results of VIDEOS videos of FRAMES frames, one thread, in alternation, in two ways. In memory: the toolkit's IoU, AO, SR and curve
of 101 thresholds, a video and then all together, against `tracking.dialects` in the same dialect (goal: no slower), and all
seven dialects with the errors, the ceiling of a perfect tracker and standing still beside each. From files: the toolkit's report
without its plot against `ricebench evaluate tracking`, each a process of its own; the floor is one that imports numpy and reads the truth
and the results. The numbers must agree to 1e-9 points.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import Lap, alternate, keep, machine, process, ratio
from rice_core.datasets.tracks import Track
from tracking.dialects import DIALECTS
from tracking.overall import Followed, judge, overall

VIDEOS, FRAMES, SIZE, ROUNDS, FILE_ROUNDS = 180, 500, (1280, 720), 7, 3
_FLOOR = (
    "import sys, numpy; from pathlib import Path; "
    "[numpy.loadtxt(path, delimiter=',') for top in sys.argv[1:] for path in Path(top).rglob('*.txt') if path.stem[0] == 'g' or path.stem[-1] == '1']"
)


def main() -> None:
    """Measure both."""
    os.environ["MPLBACKEND"] = "agg"
    from got10k.experiments.got10k import ExperimentGOT10k

    before, videos = machine(), _material()
    files = _from_files(videos)
    experiment = ExperimentGOT10k.__new__(ExperimentGOT10k)
    calls = (lambda: _ours(videos), lambda: _theirs(experiment, videos), lambda: judge(videos, list(DIALECTS)))
    difference = max(abs(a - b) for a, b in zip(calls[0](), calls[1](), strict=True))
    if difference > 1e-9:
        raise RuntimeError(f"the two differ by {difference} points")
    ours, theirs, everything = alternate(calls, ROUNDS)
    found = ratio(theirs, ours)
    cpu = {name: _median(laps) for name, laps in (("ours", ours), ("got10k", theirs), ("all", everything))}
    claims = [
        f"AO, SR and curve of {VIDEOS * FRAMES:,} frames in {VIDEOS} videos: {found['cpu']:.1f}x as fast as the got10k toolkit's arithmetic "
        f"({1000 * cpu['ours']:.0f} against {1000 * cpu['got10k']:.0f} CPU ms; goal 1x); numbers differ by at most {difference:.0e} points; "
        f"all {len(DIALECTS)} dialects with errors, ceilings and standing still {1000 * cpu['all']:.0f} CPU ms",
        f"the same from files, end to end: {files['ratio']['cpu']:.2f}x as fast as the toolkit ({files['ours']} against {files['got10k']} CPU s; "
        f"floor {files['floor']}); numbers differ by at most {files['difference']:.0e} points; all dialects {files['all']} CPU s",
    ]
    body = {"rounds": ROUNDS, "ratio": found, "cpu": cpu, "difference": difference, "files": files}
    keep("tracking_metrics", claims, body, before)


def _ours(videos: list[Followed]) -> list[float]:
    dialect = DIALECTS["got10k"]
    judged = {video.id: dialect.judge(video.boxes_T4, video.track, video.size) for video in videos}
    return list(overall(judged, "got10k").values.values())


def _theirs(experiment: Any, videos: list[Followed]) -> list[float]:
    """`ExperimentGOT10k.report` without its files: it edits what it is given, which is read anew there and copied here."""
    from got10k.utils.metrics import rect_iou

    ious, no_times = [], np.empty(0)
    for video in videos:
        seen_T = video.track.flags["cover"][1:] > 0
        iou_T = rect_iou(video.boxes_T4[1:].copy(), video.track.boxes_T4[1:].copy(), bound=video.size)[seen_T]
        experiment._evaluate(iou_T, no_times)
        ious.append(iou_T)
    ao, sr, _, curve = experiment._evaluate(np.concatenate(ious), no_times)
    return [100 * float(value) for value in (ao, sr, curve[75])]


def _from_files(videos: list[Followed]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        root, results = Path(name) / "GOT-10k", Path(name) / "results"
        _written(videos, root / "val", results / "GOT-10k" / "tracker")
        ours = (
            "-m",
            "rice_core.cli",
            "evaluate",
            "tracking",
            f"--results={results / 'GOT-10k' / 'tracker'}",
            f"--data={root}",
        )
        calls = {
            "ours": (*ours, "--format=json"),
            "got10k": ("-m", "benchmarks.side_got10k", str(root), str(results), "tracker"),
            "all": (*ours, "--format=json", "--dialect=all"),
            "floor": ("-c", _FLOOR, str(root), str(results)),
        }
        laps: dict[str, list[Lap]] = {call: [] for call in calls}
        said: dict[str, str] = {}
        for turn in range(FILE_ROUNDS):
            for call in list(calls) if turn % 2 == 0 else reversed(calls):
                lap, said[call] = process(*calls[call])
                laps[call].append(lap)
    numbers = [row["value"] for row in json.loads(said["ours"])["numbers"][:3]]
    theirs = json.loads(said["got10k"].splitlines()[-1])
    difference = max(abs(a - b) for a, b in zip(numbers, theirs, strict=True))
    if difference > 1e-9:
        raise RuntimeError(f"the two differ by {difference} points from files")
    seconds = {call: round(statistics.median(lap.cpu for lap in of_call), 2) for call, of_call in laps.items()}
    return {**seconds, "ratio": ratio(laps["got10k"], laps["ours"]), "difference": difference}


def _written(videos: list[Followed], split: Path, results: Path) -> None:
    """In the layout of GOT-10k, frames as empty files: nobody opens them."""
    for video in videos:
        truth, found, track = split / video.id, results / video.id, video.track
        truth.mkdir(parents=True)
        found.mkdir(parents=True)
        np.savetxt(truth / "groundtruth.txt", track.boxes_T4, fmt="%.4f", delimiter=",")
        np.savetxt(found / f"{video.id}_001.txt", video.boxes_T4, fmt="%.4f", delimiter=",")
        np.savetxt(found / f"{video.id}_time.txt", np.ones(FRAMES), fmt="%.3f")
        nothing = np.zeros(FRAMES)
        for label, values in {
            "cover": track.flags["cover"],
            "absence": track.absent_T,
            "cut_by_image": nothing,
        }.items():
            np.savetxt(truth / f"{label}.label", values, fmt="%d")
        (truth / "meta_info.ini").write_text(f"[METAINFO]\nresolution: {SIZE}\n")
        for frame in range(1, FRAMES + 1):
            (truth / f"{frame:08d}.jpg").touch()
    (split / "list.txt").write_text("".join(f"{video.id}\n" for video in videos))


def _median(laps: list[Lap]) -> float:
    return round(statistics.median(lap.cpu for lap in laps), 4)


def _material() -> list[Followed]:
    rng, made = np.random.default_rng(0), []
    for number in range(VIDEOS):
        corner = np.cumsum(rng.normal(0, 3, (FRAMES, 2)), axis=0) + np.array([500, 300])
        side = np.abs(np.cumsum(rng.normal(0, 1, (FRAMES, 2)), axis=0) + 120) + 5
        boxes_T4 = np.concatenate([corner, side], axis=1)
        cover_T = np.where(rng.random(FRAMES) < 0.05, 0.0, rng.integers(1, 9, FRAMES))
        flags = {"cover": cover_T, "full_occlusion": (cover_T == 0) * 1.0, "out_of_view": np.zeros(FRAMES)}
        track = Track(boxes_T4, cover_T == 0, flags, flagged=True)
        found_T4 = boxes_T4 + rng.normal(0, 10, boxes_T4.shape)
        found_T4[:, 2:] = np.maximum(found_T4[:, 2:], 1)
        made.append(Followed(f"GOT-10k_Val_{number + 1:06d}", found_T4, track, SIZE))
    return made
