"""Tiny trainings for tests: a ViT of width 16 on drawn shards, in this process or in forked ranks."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rice_core.rice.config import TrainConfig
from rice_core.rice.launch import train
from rice_core.train.metrics import MetricsLog

FORK = multiprocessing.get_context("fork")
"""Libraries are loaded once for all ranks; nothing of CUDA or of torch.distributed lives in the parent."""


@pytest.fixture(autouse=True, scope="module")
def no_pictures() -> Iterator[None]:
    """curves.png costs more than these trainings; test_hooks draws one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricsLog, "draw", lambda _: None)
        yield


def tiny(data: Path, **changes: Any) -> TrainConfig:
    """8 + 4 steps of 8 images at two resolutions, in float32; `changes` replace top-level keys."""
    body: dict[str, Any] = {
        "name": "tiny",
        "model": {"vit": {"width": 16, "depth": 2, "heads": 2, "patch": 8, "resolution": 32}, "region_layers": 1},
        "objective": {"regions": 3, "ocr_labels": 3, "loss": {"rho": 0.5, "margin": "cos", "m": 0.1, "s": 8}},
        "data": {"path": str(data), "streams": 4},
        "stages": [{"resolution": 32, "samples": 64}, {"resolution": 48, "samples": 32, "rate": 0.1}],
        "batch": 8,
        "optimizer": {"rate": 2e-3, "warm_up": 3},
        "precision": "fp32",
        "ema": 0.9,
        "save_every": 3,
        "log_every": 1,
    }
    return TrainConfig.model_validate(body | changes)


def run(config: TrainConfig, folder: Path, **options: Any) -> bool:
    """Train in this process, alone, quietly, on the CPU."""
    return train(config, folder, **{"device": "cpu", "workers": 0, "quiet": True} | options)


def run_ranks(config: TrainConfig, folder: Path, world: int, meeting: Path, **options: Any) -> list[str]:
    """Train in `world` forked ranks; returns what each had to say that was wrong."""
    queue = FORK.SimpleQueue()
    ranks = [
        FORK.Process(target=_rank, args=(rank, world, config, folder, meeting, options, queue)) for rank in range(world)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
    errors = [f"rank {rank} ended with {process.exitcode}" for rank, process in enumerate(ranks) if process.exitcode]
    while not queue.empty():
        errors.append(queue.get())
    for process in ranks:
        process.kill()
    return errors


def _rank(
    rank: int, world: int, config: TrainConfig, folder: Path, meeting: Path, options: dict[str, Any], queue: Any
) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    try:
        run(config, folder, init_method=f"file://{meeting}", **options)
    except BaseException:  # whatever it is, the parent has to hear of it
        queue.put(traceback.format_exc())
        raise


def losses(folder: Path) -> dict[int, float]:
    """Step -> loss; fails where a step is logged twice."""
    rows = [row for row in MetricsLog(folder).rows() if "loss" in row]
    assert len({row["step"] for row in rows}) == len(rows)
    return {row["step"]: row["loss"] for row in rows}


def last_checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the newest checkpoint that one rank wrote: weights, average, moments, centers."""
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    (file,) = newest.glob("*.safetensors")
    return load_file(file)


def assert_same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
