"""Training images a second against the bare trunk: `python -m benchmarks training`.

The bare step is forward and backward of the same trunk over a batch that is in memory: no regions, loss, optimizer, loader, log
or checkpoint. The training is `ricebench train` with one loader process, on the miniature world, read from its own log after
the first lines. Goal: 0.9 of the bare images a second. The miniature trunk makes this hard: its step costs little, and what the
optimizer and the loss cost does not shrink with it; Ti/16 at 224 pixels shows what remains of that in the smallest preset.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import keep, machine
from rice_core.model.vit import ViT, ViTConfig
from rice_core.progress import Progress
from rice_core.rice.config import ModelConfig, ResolutionStage, TrainConfig
from rice_core.rice.launch import train
from rice_core.rice.recipes.mini import SCALES, curation, objective, training
from rice_core.rice.recipes.run import Workshop
from rice_core.rice.recipes.study import replicate
from rice_core.store import Store
from rice_core.train.metrics import MetricsLog

MINI = SCALES["mini"]
SCENES, ROUNDS = 320, 3


@dataclass(frozen=True)
class Case:
    model: ModelConfig
    resolution: int
    batch: int
    steps: int


CASES = {
    "the miniature trunk": Case(
        ModelConfig(vit=MINI.vit, region_layers=MINI.vit.depth), MINI.vit.resolution, MINI.batch, 60
    ),
    "Ti/16 at 224": Case(ModelConfig(vit="Ti/16"), 224, 16, 30),
}


def main() -> None:
    """Measure both."""
    before = machine()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        shop = Workshop(Store(Path(name)), Progress(), "cpu")
        labels = curation(MINI, classes=100).model_copy(update={"shard_samples": 20, "image_classes": 0})
        data = shop.data(0, SCENES, labels)
        rows = {title: _measure(Path(name), data, case) for title, case in CASES.items()}
    claims = [
        f"{title}: {row['training']} images/s in training, {row['bare']} bare: {row['ratio']:.2f} "
        f"({row['ratio_min']:.2f} to {row['ratio_max']:.2f} over {ROUNDS} rounds; goal 0.9)"
        for title, row in rows.items()
    ]
    keep("training", claims, {"scenes": SCENES, "trunks": rows}, before)


def _measure(folder: Path, data: Path, case: Case) -> dict[str, Any]:
    config = replicate(training(MINI, "benchmark", objective("rice")), 0, data)
    stage = ResolutionStage(resolution=case.resolution, samples=case.batch * case.steps)
    config = config.model_copy(
        update={
            "model": case.model,
            "stages": (stage,),
            "batch": case.batch,
            "log_every": 5,
            "save_every": 10_000,
        }
    )
    vit = case.model.trunk.model_copy(update={"resolution": case.resolution})
    bare, trained = [], []
    for turn in range(ROUNDS):
        bare.append(_bare(vit, case.batch))
        trained.append(_trained(config, folder / f"{vit.width}-{turn}"))
    ratios = [t / b for t, b in zip(trained, bare, strict=True)]
    return {
        "width": vit.width,
        "depth": vit.depth,
        "batch": case.batch,
        "training": round(statistics.median(trained), 1),
        "bare": round(statistics.median(bare), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "rounds": [[round(t, 1), round(b, 1)] for t, b in zip(trained, bare, strict=True)],
    }


def _bare(vit: ViTConfig, batch: int) -> float:
    """Images a second of forward and backward, median of ten steps after two."""
    model = ViT(vit).train()
    images = torch.randn(batch, 3, vit.resolution, vit.resolution)
    laps = []
    for _ in range(12):
        began = time.perf_counter()
        model.zero_grad()
        model.pool(model(images)[0]).square().mean().backward()  # type: ignore[no-untyped-call]
        laps.append(time.perf_counter() - began)
    return batch / statistics.median(laps[2:])


def _trained(config: TrainConfig, folder: Path) -> float:
    """Images a second of the loop, median of its log lines after the first two."""
    train(config, folder, device="cpu", workers=1, quiet=True)
    return statistics.median(row["images_per_second"] for row in MetricsLog(folder).rows()[2:])
