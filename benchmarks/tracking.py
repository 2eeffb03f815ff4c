"""Tracking: `python -m benchmarks tracking`.

Frames a second end to end (decoding, crops, encoder, tracker, boxes) of many videos in lock step, against the same videos one at a
time (goal: 2 times as fast on a CPU, 10 on a GPU), against the encoder's bare forward over as many search crops, and of two encoders
on frames that are decoded once against two runs. The videos are JPEG files of 640 x 360 pixels, of other lengths, and for the last of
1280 x 720 too; the trackers are untrained, which costs what trained ones do. On a CPU recipe mini (96 pixels) runs on a small ViT, on a
GPU `paper@1` on B/16 in bfloat16.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import Lap, alternate, keep, machine, median, ratio
from benchmarks.tracking_material import SMALL, bare_forward, untrained, write_videos
from rice_core.model.vit import PRESETS
from tracking.recipe import RECIPES
from tracking.schedule import SLOTS
from tracking.track import TrackResults, track
from tracking.tracker import ObjectTracker

WIDTH, HEIGHT, ROUNDS = 640, 360, 5
LARGE = 1280, 720


def main() -> None:
    """Measure at the size that the machine can take."""
    before, cuda = machine(), torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    torch.set_num_threads(torch.get_num_threads() if cuda else 1)
    with tempfile.TemporaryDirectory() as name:
        workers = 12 if cuda else 0
        body = _measured(Path(name, "small"), device, workers)
        large = _two_over_runs(Path(name, "large"), device, workers)
    slots = body["slots"]
    claims = [
        f"{slots} videos at a time on one {device}: {body['frames_per_second']} frames/s end to end, "
        f"{body['sequential_over_batched']['wall']:.2f}x one at a time (goal {10 if cuda else 2}; best laps "
        f"{body['sequential_over_batched']['best']:.2f}x); slots were busy {body['occupancy']:.0%} of the time",
        f"end to end it takes {body['batched_over_forward']['wall']:.2f}x the encoder's bare forward over as many search crops, "
        f"{body['decoding']:.0%} of it waiting for frames",
        f"two encoders on frames decoded once take {body['two_over_runs']['wall']:.2f}x two runs; on frames of {LARGE[0]} x {LARGE[1]} "
        f"{large['wall']:.2f}x (CPU {body['two_over_runs']['cpu']:.2f}x and {large['cpu']:.2f}x)",
    ]
    body["two_over_runs_large"] = large
    keep("tracking" if not cuda else "tracking_gpu", claims, {"device": device, "rounds": ROUNDS, **body}, before)


def _measured(folder: Path, device: str, workers: int) -> dict[str, Any]:
    slots = SLOTS[device]
    lengths = np.random.default_rng(0).integers(20, 60, 2 * slots) if device == "cuda" else [*range(4, 36)]
    videos = write_videos(folder, [int(length) for length in lengths], WIDTH, HEIGHT)
    one, other = (_tracker(device, seed) for seed in (0, 1))
    frames = sum(len(video.frames) for video in videos)
    found: list[TrackResults] = []

    def followed(trackers: list[ObjectTracker], slots: int) -> None:
        found.append(track(trackers, videos, slots=slots, workers=workers))

    calls: dict[str, Callable[[], object]] = {
        "batched": partial(followed, [one], slots),
        "sequential": partial(followed, [one], 1),
        "two": partial(followed, [one, other], slots),
        "forward": partial(bare_forward, one, frames - len(videos), slots),
    }
    for call in calls.values():
        call()
    apart = max(
        float(np.abs(found[0].tracked[0][v.id].boxes_T4 - found[1].tracked[0][v.id].boxes_T4).max()) for v in videos
    )
    laps: dict[str, list[Lap]] = dict(zip(calls, alternate(list(calls.values()), ROUNDS), strict=True))
    twice = [Lap(2 * lap.wall, 2 * lap.cpu) for lap in laps["batched"]]
    speed = found[0].speed
    return {
        "slots": slots,
        "videos": len(videos),
        "frames": frames,
        "workers": workers,
        "frames_per_second": round(frames / median(laps["batched"]), 1),
        "occupancy": round(speed.occupancy, 3),
        "decoding": round(speed.waited / speed.seconds, 3),
        "sequential_over_batched": ratio(laps["sequential"], laps["batched"]),
        "batched_over_forward": ratio(laps["batched"], laps["forward"]),
        "two_over_runs": ratio(laps["two"], twice),
        "pixels_apart": apart,
    }


def _two_over_runs(folder: Path, device: str, workers: int) -> dict[str, float]:
    """Of larger frames, which cost more to decode."""
    slots = SLOTS[device]
    videos, pair = write_videos(folder, [6] * slots, *LARGE), [_tracker(device, seed) for seed in (0, 1)]
    together = partial(track, pair, videos, slots=slots, workers=workers)

    def apart() -> None:
        for tracker in pair:
            track([tracker], videos, slots=slots, workers=workers)

    together()
    return ratio(*alternate([together, apart], ROUNDS))


def _tracker(device: str, seed: int) -> ObjectTracker:
    """Untrained."""
    shape, recipe = (PRESETS["B/16"], RECIPES["paper@1"]) if device == "cuda" else (SMALL, RECIPES["mini"])
    return untrained(shape, recipe.tracker, device, seed=seed, precision=recipe.learning.precision)
