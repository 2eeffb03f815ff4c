"""VisBench's side of `peer_visbench_detection`, run by the Python of its own environment; imports nothing of ours.

    python side_visbench_detection.py ENCODER.pt2 WORLD TRUTH CACHE RESULTS PIXELS EPOCHS SEED

What `visbench.run` does with its detection probe, in the same order, with its defaults but for PIXELS and EPOCHS: features of
both splits are read once into its cache, the head learns from them, and its own metric is taken. The two halves of the
probe's `evaluate` are called one by one, so that the boxes can be written as COCO's results, at RESULTS. Prints one JSON; laps
are CPU seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.transforms.functional import to_tensor
from visbench import __version__
from visbench.backbones.custom import CustomBackbone
from visbench.cache import FeatureCache
from visbench.data.detection import DetectionFolderDataset
from visbench.metrics.detection import detection_metrics
from visbench.tasks.high_level import DetectionTask
from visbench.utils.seed import set_seed


def main(program: str, world: str, truth: str, cache: str, results: str, pixels: str, epochs: str, seed: str) -> None:
    """Time each stage."""
    laps: dict[str, float] = {"import": time.process_time()}
    mark = time.process_time()

    def lap(name: str) -> None:
        nonlocal mark
        laps[name], mark = time.process_time() - mark, time.process_time()

    set_seed(int(seed))
    backbone, side = _backbone(Path(program), int(pixels)), int(pixels)
    lap("load")
    names = json.loads(Path(truth, "categories.json").read_bytes())
    probe = DetectionTask(num_classes=len(names), image_size=side, epochs=int(epochs), device="cpu")
    store = FeatureCache(Path(cache))
    val, train = (_dataset(Path(world), Path(truth), split, side, names) for split in ("val", "train"))
    x_val, x_train = (
        store.materialise(
            backbone,
            split,
            pooling=probe.pooling,
            layers=probe.layers,
            feature_mode=probe.feature_mode,
            targets=split.target,
        )
        for split in (val, train)
    )
    lap("features")
    probe.fit(x_train)
    lap("fit")
    found = probe.predict(x_val)
    lap("predict")
    metrics = detection_metrics(found, val.labels(), num_classes=len(names), iou_thresholds=probe.iou_thresholds)
    lap("judge")
    Path(results).write_text(json.dumps(_results(val, found, names)), encoding="utf-8")
    body = {
        "version": __version__,
        "threads": torch.get_num_threads(),
        "laps": laps,
        "metrics": metrics,
        "loss": probe.train_loss,
    }
    print(json.dumps(body))


def _backbone(program: Path, side: int) -> Any:
    """The exported encoder takes pixels from 0 to 1 and gives its last map, (B, C, h, w)."""
    encoder = torch.export.load(program).module()

    # No module of its own: an exported program has no eval(), which VisBench calls on what it is given.
    def tokens(_: nn.Module, pixels_B3HW: torch.Tensor) -> tuple[torch.Tensor, None, tuple[int, int]]:
        dense_BCHW = encoder(pixels_B3HW)
        return dense_BCHW.flatten(2).transpose(1, 2), None, tuple(dense_BCHW.shape[-2:])

    return CustomBackbone(
        nn.Identity(),
        to_tensor,
        name="same-encoder",
        feature_fn=tokens,
        weights_id="same-weights",
        image_size=side,
        device="cpu",
    )


def _dataset(world: Path, truth: Path, split: str, side: int, names: list[Any]) -> DetectionFolderDataset:
    """As its command line builds it: objects that are difficult (here: crowds) are judged, and not learnt."""
    return DetectionFolderDataset(
        world,
        split,
        truth.resolve() / split,
        image_size=side,
        classes=names,
        include_difficult=split == "val",
        annotation_loader=_annotation,
        split=split,
    )


def _annotation(path: Path) -> dict[str, Any]:
    """Its own reader takes Pascal VOC's whole pixels; these boxes keep their fractions."""
    body = json.loads(path.read_bytes())
    return {
        "boxes": torch.tensor(body["boxes"], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(body["labels"], dtype=torch.int64),
        "difficult": torch.tensor(body["difficult"], dtype=torch.bool),
        "size": tuple(body["size"]),
    }


def _results(val: DetectionFolderDataset, found: list[dict[str, torch.Tensor]], names: list[Any]) -> list[Any]:
    """Boxes in pixels of the file: the pictures are square, so that VisBench resizes and crops nothing away."""
    rows = []
    for path, detections in zip(val.annotation_paths, found, strict=True):
        body = json.loads(path.read_bytes())
        scale = body["size"][0] / val.image_size
        for box, score, label in zip(*(detections[key].tolist() for key in ("boxes", "scores", "labels")), strict=True):
            x0, y0, x1, y1 = (scale * value for value in box)
            bbox = [x0, y0, x1 - x0, y1 - y0]
            rows.append({"image_id": body["key"], "category_id": names[label], "bbox": bbox, "score": score})
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
