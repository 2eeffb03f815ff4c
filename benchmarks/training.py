"""Training images a second against the bare trunk: `python -m benchmarks training`.

The bare step is forward and backward of the same trunk over a batch that is in memory: no regions, loss, optimizer, loader, log
or checkpoint. The training is `ricebench train` with one loader process, on the miniature world, read from its own log after
the first lines. Goal: 0.9 of the bare images a second. The miniature trunk makes this hard: its step costs little, and what the
optimizer and the loss cost does not shrink with it; a second trunk, four times as costly, shows what remains of that.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import keep, machine
from rice_core.model.vit import ViT, ViTConfig
from rice_core.progress import Progress
from rice_core.recipes.mini import SCALES, curation, objective, training
from rice_core.recipes.run import Workshop
from rice_core.recipes.study import replicate
from rice_core.store import Store
from rice_core.train.config import TrainConfig
from rice_core.train.launch import train
from rice_core.train.metrics import MetricsLog

SCENES, STEPS, ROUNDS = 320, 60, 3
TRUNKS = {
    "width 96, depth 4, patch 8": ViTConfig(),
    "width 192, depth 4, patch 8": ViTConfig(width=192, heads=6),
}


def main() -> None:
    """Measure both trunks."""
    before = machine()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        shop = Workshop(Store(Path(name)), Progress(), "cpu")
        labels = curation(SCALES["mini"], classes=100).model_copy(update={"shard_samples": 20, "image_classes": 0})
        data = shop.data(0, SCENES, labels)
        rows = {title: _measure(Path(name), data, config) for title, config in TRUNKS.items()}
    claims = [
        f"{title}: {row['training']} images/s in training, {row['bare']} bare: {row['ratio']:.2f} (goal 0.9)"
        for title, row in rows.items()
    ]
    keep("training", claims, {"scenes": SCENES, "steps": STEPS, "trunks": rows}, before)


def _measure(folder: Path, data: Path, vit: ViTConfig) -> dict[str, Any]:
    config = training(SCALES["mini"], "benchmark", objective("rice"), steps=STEPS)
    config = replicate(config, 0, data)
    config = config.model_copy(
        update={"model": config.model.model_copy(update={"vit": vit}), "log_every": 10, "save_every": 10_000}
    )
    bare, trained = [], []
    for turn in range(ROUNDS):
        bare.append(_bare(vit, config.batch))
        trained.append(_trained(config, folder / f"{vit.width}-{turn}"))
    return {
        "training": round(statistics.median(trained), 1),
        "bare": round(statistics.median(bare), 1),
        "ratio": round(statistics.median(t / b for t, b in zip(trained, bare, strict=True)), 3),
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
