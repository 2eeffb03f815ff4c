"""A detection data set of COCO's shape in the processes that load it: `python -m benchmarks detection_data`.

loader: CPU seconds that a batch of 16 training views costs the process that trains, while two workers decode; with masks and without.
memory: what is true of 12,000 generated images with 7.3 objects each, in a worker that has looked at all of them, and in the process
that trains; extrapolated to the 118,287 images of COCO's train2017.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.measuring import keep, machine
from probes.detection.annotations import read_ground_truth
from probes.detection.loader import training_batches
from probes.detection.recipe import RECIPES
from rice_core.datasets import Sample
from rice_core.datasets.in_bytes import InBytes, still

IMAGES, OBJECTS, COCO, FILES = 12_000, 7.3, 118_287, 16
BATCH, BATCHES, SIDES = 16, 6, (518, 1022)


def main() -> None:
    """Both."""
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        path, samples = _write(Path(name))
        truth = read_ground_truth(path, samples, name="train")
        loader = {side: {masks: _main_seconds(truth.images, side, masks) for masks in (False, True)} for side in SIDES}
        images = InBytes(truth.images)
        plain, shared = _memory(truth.images), _memory(images)
    claims = [
        f"a batch of {BATCH} views of {side} px costs the training process {row[False]} CPU s, {row[True]} with masks"
        for side, row in loader.items()
    ]
    times = COCO / IMAGES
    claims.append(
        f"the truth of {IMAGES:,} images takes {plain / 1e6:.0f} MB of each worker's own memory as objects (COCO's train2017: "
        f"{plain * times / 1e9:.1f} GB), {shared / 1e6:.0f} MB where it is shared: {images.nbytes / 1e6:.0f} MB ({images.nbytes * times / 1e9:.2f} "
        "GB) are one copy for a rank and its workers"
    )
    memory = {"objects": plain, "shared": shared, "one_copy": images.nbytes}
    keep("detection_data", claims, {"loader": loader, "bytes": memory}, before)


def _main_seconds(images: Any, side: int, masks: bool) -> float:
    config = RECIPES["paper@1"].training.model_copy(update={"batch": BATCH, "side": side})
    batches = training_batches(images, config, side=side, masks=masks, told=False, seed=0, workers=2)
    next(batches)
    laps = []
    for _ in range(BATCHES):
        time.sleep(0.5)  # so that little is waited for; waiting costs no CPU
        began = time.process_time()
        batch = next(batches)
        _ = batch.pixels_B3SS
        laps.append(time.process_time() - began)
    return round(float(np.median(laps)), 4)


class _Touching(Dataset[tuple[int, int]]):
    """Looks at an image as a view of it does, and says how much memory is this process's own."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, int]:
        points = sum(sum(polygon) for thing in self.images[index].things for polygon in thing.segmentation)
        return int(points), _own_bytes() if index in (0, len(self.images) - 1) else 0


def _memory(images: Any) -> int:
    """Bytes that a worker has for itself after it has looked at all images, beyond what it had at its first."""
    found = list(DataLoader(_Touching(images), batch_size=None, num_workers=1, worker_init_fn=still))
    return found[-1][1] - found[0][1]


def _own_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _write(folder: Path) -> tuple[Path, list[Sample]]:
    """An annotation file, and a few photographs that all entries share."""
    rng = np.random.default_rng(0)
    for number in range(FILES):
        file = io.BytesIO()
        coarse = Image.fromarray(rng.integers(256, size=(12, 16, 3), dtype=np.uint8))
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
        (folder / f"{number}.jpg").write_bytes(file.getvalue())
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(IMAGES)]
    annotations = []
    for image in range(IMAGES):
        for _ in range(rng.poisson(OBJECTS)):
            x, y = rng.uniform(0, 400), rng.uniform(0, 300)
            w, h = rng.uniform(10, 200), rng.uniform(10, 150)
            turn = np.linspace(0, 2 * np.pi, int(rng.integers(8, 48)), endpoint=False)
            ring = np.stack([x + w / 2 * (1 + np.cos(turn)), y + h / 2 * (1 + np.sin(turn))], axis=1).round(2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(rng.integers(1, 81)),
                    "bbox": [round(v, 2) for v in (x, y, w, h)],
                    "area": round(w * h * 0.78, 2),
                    "iscrowd": 0,
                    "segmentation": [ring.ravel().tolist()],
                }
            )
    categories = [{"id": k, "name": f"kind {k}"} for k in range(1, 81)]
    path = folder / "train.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    samples = [
        Sample(id=f"{i}.jpg", path=folder / f"{i % FILES}.jpg", size_hw=(480, 640), key=i) for i in range(IMAGES)
    ]
    return path, samples
