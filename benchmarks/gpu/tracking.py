"""Following objects with a frozen ViT-B/16 at 256 pixels and `paper@1`'s tracker in bf16: 64 videos in lock step against one at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.clock import Timing, forget_peak, idle, peak_gib
from benchmarks.tracking_material import SMALL, bare_forward, untrained, write_videos
from rice_core.datasets import Video
from rice_core.model.vit import PRESETS
from tracking.recipe import RECIPES
from tracking.track import track
from tracking.tracker import ObjectTracker

_GOAL = 10
_DISTINCT = 8
"""Videos that are drawn; the others show the same files again, which is no quicker to decode."""


def measure(device: torch.device, *, tiny: bool) -> Timing:
    """Frames a second end to end, with decoding in so many processes, against the encoder's bare forward, and the peak memory."""
    shape, recipe, slots, length, size, processes = (
        (SMALL, RECIPES["smoke"], 4, 4, (96, 64), (0,))
        if tiny
        else (PRESETS["B/16"], RECIPES["paper@1"], 64, 40, (1280, 720), (0, 4, 12))
    )
    tracker = untrained(shape, recipe.tracker, device, precision=recipe.learning.precision)
    with tempfile.TemporaryDirectory() as name:
        drawn = write_videos(Path(name), [length] * min(slots, _DISTINCT), *size)
        videos = [
            Video(f"{k}", drawn[k % len(drawn)].frames, drawn[k % len(drawn)].truth)
            for k in range(max(slots, _DISTINCT))
        ]
        _rate(tracker, videos[:2], slots=slots, workers=0)
        forget_peak(device)
        together = {str(workers): _rate(tracker, videos, slots=slots, workers=workers) for workers in processes}
        peak = peak_gib(device)
        few = videos[:2] if tiny else videos[:8]
        alone = {str(workers): _rate(tracker, few, slots=1, workers=workers) for workers in processes}
    forward = _forward_rate(tracker, slots * length // 2, slots)
    fastest, one = max(together.values()), max(alone.values())
    claims = [
        f"{slots} videos of {size[0]} x {size[1]} in lock step: {fastest:.0f} frames/s end to end (by decoding processes: {together}), "
        f"{fastest / one:.1f}x one at a time ({alone}; goal {_GOAL}x), {fastest / forward:.2f} of the encoder's bare forward "
        f"({forward:.0f}/s); peak {peak} GiB"
    ]
    return Timing(claims, {"together": together, "alone": alone, "forward": forward, "slots": slots, "peak_gib": peak})


def _rate(tracker: ObjectTracker, videos: Sequence[Video], *, slots: int, workers: int) -> float:
    """Frames a second."""
    idle(tracker.encoder.device)
    began = time.perf_counter()
    track([tracker], videos, slots=slots, workers=workers)
    return round(sum(len(video.frames) for video in videos) / (time.perf_counter() - began), 1)


def _forward_rate(tracker: ObjectTracker, crops: int, batch: int) -> float:
    bare_forward(tracker, batch, batch)
    began = time.perf_counter()
    bare_forward(tracker, crops, batch)
    return round(crops / (time.perf_counter() - began), 1)
