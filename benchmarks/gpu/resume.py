"""A training that was stopped and gone on with, against the same one left alone, to the last bit.

On a GPU some sums are made in whatever order threads come, so two runs of one training may differ in their last bits, stopped
or not. Both are measured: two runs left alone, and a stopped one, with and without torch's deterministic algorithms.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.clock import Timing
from benchmarks.gpu.trainings import TINY, configured, write_shards
from rice_core.rice.config import TrainConfig
from rice_core.rice.launch import train
from rice_core.rice.objectives import Objective, build_objective
from rice_core.rice.regions import RegionManifest
from rice_core.train.metrics import MetricsLog


def measure(device: torch.device, *, tiny: bool) -> Timing:
    """Whether the losses and the exported weights are the same."""
    vit, side, images, workers = (TINY, 32, 8, 0) if tiny else ("S/16", 224, 64, 2)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, _repeatable():
        folder = Path(name)
        data = write_shards(folder / "data", images=64 if tiny else 256, side=side, classes=50)
        config = configured(
            vit,
            resolution=side,
            batch=images,
            steps=6,
            data={"path": str(data), "streams": 2},
            precision="fp32" if tiny else "bf16",
            save_every=3,
        )
        for kind in ("as it is", "deterministic"):
            torch.use_deterministic_algorithms(kind == "deterministic", warn_only=True)
            runs = {}
            for run in ("alone", "again", "stopped"):
                out = folder / f"{kind}-{run}"
                if run == "stopped":
                    finished = _train(config, out, device, workers, stopped_in(4))
                    if finished:
                        raise RuntimeError("the training did not stop when it was asked to")
                _train(config, out, device, workers, build_objective)
                runs[run] = _left(out)
            found[kind] = {
                "two runs alike": runs["again"] == runs["alone"],
                "stopped as uninterrupted": runs["stopped"] == runs["alone"],
                "losses": {run: left[0] for run, left in runs.items()},
            }
    return Timing(
        claims=[
            f"{kind}: stopped {'=' if one['stopped as uninterrupted'] else 'is not'} uninterrupted to the last bit, "
            f"two uninterrupted runs {'are' if one['two runs alike'] else 'are not'} alike"
            for kind, one in found.items()
        ],
        numbers=found,
    )


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """What cuBLAS asks for before it repeats itself, and torch's own switch put back."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _train(config: TrainConfig, out: Path, device: torch.device, workers: int, build: Callable[..., Objective]) -> bool:
    return train(config, out, device=str(device), workers=workers, quiet=True, build=build)


def _left(out: Path) -> tuple[list[float], bytes]:
    losses = [row["loss"] for row in MetricsLog(out).rows() if "loss" in row]
    return losses, (out / "encoder" / "encoder.safetensors").read_bytes()


def stopped_in(step: int) -> Callable[..., Objective]:
    """Builds the objective of the configuration; SIGTERM comes in the forward pass of that step."""

    def build(config: TrainConfig, manifest: RegionManifest, *, group: Any) -> Objective:
        objective, passes = build_objective(config, manifest, group=group), iter(range(1, 10**9))

        def count(*_: object) -> None:
            if next(passes) == step:
                os.kill(os.getpid(), signal.SIGTERM)

        objective.network.register_forward_pre_hook(count)
        return objective

    return build
