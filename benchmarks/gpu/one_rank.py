"""A whole training under a process group of one rank: DDP and FSDP2 as torchrun starts them, against no group at all."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.clock import Timing
from benchmarks.gpu.trainings import TINY, configured, write_shards
from rice_core.rice.launch import train
from rice_core.train.metrics import MetricsLog


def measure(device: torch.device, *, tiny: bool) -> Timing:
    """Losses, and images a second (the median of the steps after the first two)."""
    vit, side, images, steps = (TINY, 32, 8, 3) if tiny else ("B/16", 224, 64, 8)
    losses: dict[str, list[float]] = {}
    speed: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_shards(folder / "data", images=64 if tiny else 512, side=side, classes=50)
        for kind in ("alone", "ddp", "fsdp2"):
            config = configured(
                vit,
                resolution=side,
                batch=images,
                steps=steps,
                data={"path": str(data), "streams": 2},
                precision="fp32" if tiny else "bf16",
                parallel="fsdp2" if kind == "fsdp2" else "ddp",
            )
            with contextlib.nullcontext() if kind == "alone" else _as_torchrun():
                train(
                    config,
                    folder / kind,
                    device="cpu" if device.type == "cpu" else "cuda",
                    workers=0 if tiny else 2,
                    quiet=True,
                    init_method=f"file://{folder / kind}.meeting",
                )
            rows = [row for row in MetricsLog(folder / kind).rows() if "loss" in row]
            losses[kind] = [row["loss"] for row in rows]
            speed[kind] = round(statistics.median(row["images_per_second"] for row in rows[2:]), 1)
    far = {
        kind: max(abs(a - b) / abs(b) for a, b in zip(losses[kind], losses["alone"], strict=True))
        for kind in ("ddp", "fsdp2")
    }
    if max(far.values()) > 0.02:
        raise RuntimeError(f"losses are not those of a training without a group: {losses}")
    return Timing(
        claims=[
            f"{kind} at one rank: losses within {far[kind]:.1e} of those without a group; "
            f"{speed[kind]:.0f} images/s, {speed['alone']:.0f} without"
            for kind in ("ddp", "fsdp2")
        ],
        numbers={"losses": losses, "images_per_second": speed},
    )


@contextlib.contextmanager
def _as_torchrun() -> Iterator[None]:
    words = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    before = {key: os.environ.get(key) for key in words}
    os.environ |= words
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
