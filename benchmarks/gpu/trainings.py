"""RICE trainings for the measurements: a learner with batches in memory, and shards on disk for a whole training."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rice_core.ranks import Ranks
from rice_core.rice.batch import Batch
from rice_core.rice.config import TrainConfig
from rice_core.rice.learner import RegionLearner
from rice_core.rice.objectives import build_objective
from rice_core.rice.regions import MANIFEST, Bank, RegionManifest, Shard

TINY = {"width": 16, "depth": 2, "heads": 2, "patch": 8, "resolution": 32}
"""A trunk that a CPU trains in no time."""


def configured(vit: str | dict[str, int], *, resolution: int, batch: int, steps: int, **changes: Any) -> TrainConfig:
    """A training of so many steps; `changes` replace top-level keys."""
    body: dict[str, Any] = {
        "name": "gpu",
        "model": {"vit": vit, "region_layers": 1 if isinstance(vit, dict) else None},
        "data": {"path": "made-up", "streams": 1},
        "stages": [{"resolution": resolution, "samples": batch * steps}],
        "batch": batch,
        "optimizer": {"warm_up": 2},
        "log_every": 1,
    }
    return TrainConfig.model_validate(body | changes)


def learner_of(config: TrainConfig, device: torch.device, *, classes: int) -> RegionLearner:
    """A learner over one bank of so many classes."""
    manifest = RegionManifest(banks={"object": Bank(classes=classes, what="made up")}, shards=())
    torch.manual_seed(config.seed)
    return RegionLearner(build_objective(config, manifest), config, Ranks(0, 1, device))


def batch_of(config: TrainConfig, *, classes: int, seed: int = 0) -> Batch:
    """Random images with ten (or as many as are configured) regions, each of a fifth of the patches; on the CPU."""
    rng = torch.Generator().manual_seed(seed)
    B, N, side = config.batch, config.objective.regions, config.stages[0].resolution
    P = (side // config.model.trunk.patch) ** 2
    labels_BN1 = torch.randint(classes, (B, N, 1), generator=rng)
    nothing_B0 = torch.zeros(B, 0, dtype=torch.int64)
    return Batch(
        pixels_B3HW=torch.randint(256, (B, 3, side, side), generator=rng, dtype=torch.uint8),
        visible_BNP=torch.rand(B, N, P, generator=rng) < 0.2,
        type_BN=torch.zeros(B, N, dtype=torch.int64),
        labels_BNM=labels_BN1,
        weight_BN=torch.ones(B, N),
        image_objects_BL=labels_BN1[:, :, 0],
        image_tokens_BL=torch.full((B, 1), -1),
        image_clusters_BL=nothing_B0,
        caption_BL=nothing_B0,
        keys=tuple(map(str, range(B))),
    )


def write_shards(folder: Path, *, images: int, side: int, classes: int, shards: int = 2) -> Path:
    """A curated folder of noise with three boxes an image, as `ricebench curate` would leave it."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    made = []
    for number in range(shards):
        path = folder / f"shard-{number:06d}.tar"
        with tarfile.open(path, "w") as tar:
            for index in range(number, images, shards):
                for suffix, body in (("jpg", _jpeg(rng, side)), ("json", _regions(rng, side, classes))):
                    member = tarfile.TarInfo(f"{index:09d}.{suffix}")
                    member.size = len(body)
                    tar.addfile(member, io.BytesIO(body))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        made.append(Shard(file=path.name, samples=len(range(number, images, shards)), sha256=digest))
    manifest = RegionManifest(banks={"object": Bank(classes=classes, what="made up")}, shards=tuple(made))
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return folder


def _jpeg(rng: np.random.Generator, side: int) -> bytes:
    file = io.BytesIO()
    coarse = Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    return file.getvalue()


def _regions(rng: np.random.Generator, side: int, classes: int) -> bytes:
    regions = []
    for _ in range(3):
        left, top = rng.integers(side // 2, size=2).tolist()
        box = [left, top, left + side // 3, top + side // 3]
        regions.append({"type": "object", "box": box, "labels": [int(rng.integers(classes))]})
    return json.dumps({"width": side, "height": side, "regions": regions}).encode()
