"""Loading training data against decoding alone and against the training step: `python -m benchmarks loader`.

loader: `RegionLoader` from shards to batches, 9 regions in 10 places an image, with one and two worker processes (wall)
and in one process (CPU). floor: the same JPEG bytes decoded and resized whole with Pillow, one thread; a crop decodes all
of the bytes too, and resizes fewer pixels. step: forward and backward of a small ViT (width 96, 4 blocks), one thread.
Goal: with one worker at least 0.9 of the images a second that the step takes, so that the step does not wait.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from pycocotools import mask as coco_mask

from benchmarks.measuring import Lap, keep, machine, median, ratio, timed
from rice_core.model.vit import ViT, ViTConfig
from rice_core.rice.batch import Batch
from rice_core.rice.config import DataConfig, ModelConfig, ObjectiveConfig, ResolutionStage, TrainConfig
from rice_core.rice.loader import PREFETCH, RegionLoader
from rice_core.rice.regions import MANIFEST, Bank, RegionManifest, Shard, read_region_manifest
from rice_core.rice.streams import read_shard
from rice_core.world.scenes import draw_scene

IMAGES, SHARDS, BATCH, ROUNDS = 256, 8, 32, 5
SIZES = {96: (96, 96), 224: (480, 360)}
"""Side of the crop -> width and height of the stored JPEGs."""
STEP_IMAGES = {96: 64, 224: 8}
OBJECTS, LINES, CLASSES = 6, 3, 1000


def main() -> None:
    """Both resolutions."""
    before = machine()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        rows = {}
        for side, size in SIZES.items():
            folder = Path(name) / str(side)
            _write(folder, size)
            rows[side] = _measure(folder, side)
    claims = [
        f"{side} px: one worker hands out {row['workers_1']['of_step']} times the images/s that the step takes (goal 0.9), "
        f"two {row['workers_2']['of_step']}; an image costs {row['cpu_of_floor']} times the CPU of its decoding and resizing"
        for side, row in rows.items()
    ]
    keep("loader", claims, {"images": IMAGES, "batch": BATCH, "rounds": ROUNDS, "sides": rows}, before)


def _measure(folder: Path, side: int) -> dict[str, Any]:
    manifest = read_region_manifest(folder)
    jpegs = [sample.members["jpg"] for shard in manifest.shards for sample in read_shard(folder, shard)[0]]
    model, pixels_B3HW = ViT(ViTConfig()), torch.randn(STEP_IMAGES[side], 3, side, side)

    def floor() -> None:
        for data in jpegs:
            image = Image.open(io.BytesIO(data)).convert("RGB")
            np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))

    def step() -> None:
        model(pixels_B3HW)[0].mean().backward()

    calls: dict[str, Callable[[], Lap]] = {
        "floor": lambda: timed(floor),
        "step": lambda: timed(step),
        **{f"workers_{n}": lambda n=n: _loading(folder, manifest, side, n) for n in (0, 1, 2)},
    }
    laps: dict[str, list[Lap]] = {name: [] for name in calls}
    for turn in range(ROUNDS):
        # Every other round backwards, so that a drift of the machine cancels.
        for name in list(calls)[:: 1 if turn % 2 == 0 else -1]:
            laps[name].append(calls[name]())
    speed = {name: (STEP_IMAGES[side] if name == "step" else IMAGES) / median(found) for name, found in laps.items()}
    rows: dict[str, Any] = {
        name: {
            "images_per_second": round(each, 1),
            "of_floor": round(each / speed["floor"], 3),
            "of_step": round(each / speed["step"], 2),
        }
        for name, each in speed.items()
    }
    return {**rows, "cpu_of_floor": ratio(laps["workers_0"], laps["floor"])["cpu"]}


def _loading(folder: Path, manifest: RegionManifest, side: int, workers: int) -> Lap:
    """IMAGES images in the steady state: what was fetched ahead while the processes started is not counted."""
    stage = ResolutionStage(resolution=side, samples=BATCH)
    config = TrainConfig(
        name="loader",
        model=ModelConfig(vit=ViTConfig()),
        objective=ObjectiveConfig(regions=10),
        data=DataConfig(path=folder, streams=SHARDS),
        stages=(stage,),
        batch=BATCH,
    )
    batches: Iterator[Batch] = iter(RegionLoader(config, manifest, stage=stage, workers=workers))
    for _ in range(2 * PREFETCH if workers else 1):
        next(batches)
    return timed(lambda: list(islice(batches, IMAGES // BATCH)))


def _write(folder: Path, size: tuple[int, int]) -> None:
    folder.mkdir(parents=True)
    shards = []
    for number in range(SHARDS):
        path = folder / f"shard-{number:06d}.tar"
        with webdataset.TarWriter(str(path), encoder=False) as writer:
            for index in range(number, IMAGES, SHARDS):
                writer.write(_sample(index, size))
        shards.append(Shard(file=path.name, samples=IMAGES // SHARDS, sha256=""))
    banks = {name: Bank(classes=CLASSES, what="random") for name in ("object", "ocr")}
    manifest = RegionManifest(banks=banks, shards=tuple(shards))
    (folder / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")


def _sample(index: int, size: tuple[int, int]) -> dict[str, Any]:
    """A scene with random regions, one object in three with a mask, and lines of text."""
    (W, H), rng, file = size, np.random.default_rng(index), io.BytesIO()
    scene = Image.fromarray(draw_scene(1, index).pixels_HW3).resize(size, Image.Resampling.BICUBIC)
    noisy = np.asarray(scene) + rng.normal(0, 4, (H, W, 3))  # as many bytes as a photo has
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    regions = []
    for number in range(OBJECTS + LINES):
        line = number >= OBJECTS
        w, h = rng.uniform(0.2, 0.5) * W, (0.05 if line else rng.uniform(0.2, 0.5)) * H
        x, y = rng.uniform(0, W - w), rng.uniform(0, H - h)
        labels = rng.permutation(CLASSES)[: 4 if line else 1].tolist()
        region: dict[str, Any] = {"type": "ocr" if line else "object", "box": [x, y, x + w, y + h], "labels": labels}
        if number % 3 == 0 and not line:
            rows, columns = np.mgrid[:H, :W]
            inside_HW = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1
            counts = coco_mask.encode(np.asfortranarray(inside_HW, dtype=np.uint8))["counts"]
            region["rle"] = {"size": [H, W], "counts": counts.decode()}
        regions.append(region)
    body = json.dumps({"width": W, "height": H, "regions": regions}).encode()
    return {"__key__": f"{index:06d}", "jpg": file.getvalue(), "json": body}
