"""Tracking metrics against the got10k toolkit's: `python -m benchmarks tracking_metrics`.

The same made-up results of VIDEOS videos of FRAMES frames, in memory, one thread, in alternation: the toolkit's IoU, AO, SR and
curve of 101 thresholds, a video and then all together, as its report computes them behind its files; `tracking.dialects` in the same
dialect (goal: no slower), and in all seven with the errors, the ceiling of a perfect tracker and standing still beside each.
The numbers must agree to 1e-9 points.
"""

from __future__ import annotations

import os
import statistics
from typing import Any

import numpy as np

from benchmarks.measuring import Lap, alternate, keep, machine, ratio
from rice_core.datasets.tracks import Track
from tracking.dialects import DIALECTS
from tracking.overall import Followed, judge, overall

VIDEOS, FRAMES, SIZE, ROUNDS = 180, 500, (1280, 720), 7


def main() -> None:
    """Measure both."""
    os.environ["MPLBACKEND"] = "agg"
    from got10k.experiments.got10k import ExperimentGOT10k

    before, videos = machine(), _material()
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
        f"all {len(DIALECTS)} dialects with errors, ceilings and standing still {1000 * cpu['all']:.0f} CPU ms"
    ]
    keep("tracking_metrics", claims, {"rounds": ROUNDS, "ratio": found, "cpu": cpu, "difference": difference}, before)


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
