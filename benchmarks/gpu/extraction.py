"""Feature extraction with ViT-L/14 in bf16 against the bare forward pass of the same weights, batches on the device."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu.clock import Timing, milliseconds
from benchmarks.gpu.trainings import TINY
from rice_core.datasets import file_digests, open_dataset
from rice_core.encoders import load_encoder
from rice_core.encoders.rice import save_rice
from rice_core.images import load_image
from rice_core.measure.cache import FeatureCache
from rice_core.measure.extract import Extractor
from rice_core.measure.provenance import feature_code
from rice_core.model.vit import PRESETS, ViT, ViTConfig
from rice_core.probe import Read
from rice_core.spec import EncoderSpec
from rice_core.store import Store


def measure(device: torch.device, *, tiny: bool) -> Timing:
    """Images a second of both; decoding by as many threads as there are cores, 16 at most."""
    shape = ViTConfig.model_validate(TINY) if tiny else PRESETS["L/14"]
    images, batch, workers = (16, 8, 2) if tiny else (1024, 64, min(16, os.cpu_count() or 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        save_rice(folder / "encoder", ViT(shape), tags={})
        _write_photos(folder / "photos", images)
        dataset = open_dataset(folder / "photos")
        dtype = "fp32" if tiny else "bf16"
        encoder = load_encoder(EncoderSpec.parse(f"rice:{folder / 'encoder'}?dtype={dtype}")).to(device)
        pictures = [load_image(sample.path) for sample in dataset.splits["train"][:batch]]
        ready_B3HW = encoder.preprocess(pictures).to(device)

        def forward() -> None:
            with torch.inference_mode():
                encoder.encode(ready_B3HW)

        bare = batch / milliseconds(forward, device, rounds=2 if tiny else 20) * 1000
        extractor = Extractor(
            encoder,
            dataset,
            FeatureCache(Store(folder / "store")),
            files=file_digests(dataset),
            code=feature_code(encoder.spec.source),
            batch=batch,
            workers=workers,
        )
        encoder.weights_digest()  # once a run, not once an image
        began = time.perf_counter()
        for start in extractor.starts("train"):
            extractor.shard(Read("train", "items"), start)
        whole = images / (time.perf_counter() - began)
        extractor.close()
    return Timing(
        claims=[
            f"{whole:.0f} images/s with decoding by {workers} threads, pooling and writing; the forward pass alone "
            f"{bare:.0f}: {whole / bare:.2f} of it (goal 0.9)"
        ],
        numbers={"images": images, "images_per_second": round(whole, 1), "bare_images_per_second": round(bare, 1)},
    )


def _write_photos(folder: Path, images: int) -> None:
    """640 x 480 JPEGs of coloured noise in two classes; cheap to make, and no dearer to decode than photographs."""
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("val", 2)):
        for index in range(count):
            path = folder / split / f"class-{index % 2}" / f"{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(256, size=(24, 32, 3), dtype=np.uint8))
            coarse.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=92)
