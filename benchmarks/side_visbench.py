"""VisBench's side of `peer_visbench`, run by the Python of its own environment; imports nothing of ours.

    python side_visbench.py ENCODER_FOLDER PHOTOS CACHE BATCH

Uses VisBench's public pieces in the cheapest order that they allow: the features of both splits are read once through its
cache (pooled vectors alone are kept), then serve its 1-nearest-neighbour retrieval and its linear probe. Prints one JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

BEGAN = time.perf_counter()

import timm  # noqa: E402, F401 (as on the other side)
import torch  # noqa: E402
from visbench import __version__  # noqa: E402
from visbench.backbones.timm_backbone import TimmBackbone  # noqa: E402
from visbench.cache import FeatureCache  # noqa: E402
from visbench.data import ImageFolderDataset  # noqa: E402
from visbench.tasks.high_level import ClassificationTask, RetrievalTask  # noqa: E402
from visbench.utils.seed import set_seed  # noqa: E402


def main(encoder: str, photos: str, cache: str, batch: str) -> None:
    """Time each stage."""
    laps = {"import": time.perf_counter() - BEGAN}
    mark = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal mark
        laps[name], mark = time.perf_counter() - mark, time.perf_counter()

    set_seed(0)
    backbone = TimmBackbone(model_name=f"local-dir:{encoder}", device="cpu")
    lap("load")
    store = FeatureCache(Path(cache))
    train, val = (ImageFolderDataset(Path(photos, split), split=split) for split in ("train", "val"))
    # The mean of the normed patch tokens, as ours.
    x_train, x_val = (
        store.extract_dataset(backbone, split, pooling="mean", keep="pooled", batch_size=int(batch))
        for split in (train, val)
    )
    lap("features")
    nearest = RetrievalTask(topk=(1,), pooling="mean").evaluate(
        x_val, val.labels(), gallery_features=x_train, gallery_labels=train.labels()
    )
    lap("knn")
    linear = ClassificationTask(pooling="mean", device="cpu").fit(x_train, train.labels()).evaluate(x_val, val.labels())
    lap("linear")
    body = {
        "version": __version__,
        "threads": torch.get_num_threads(),
        "laps": laps,
        "knn_top1": 100 * nearest["recall@1"],
        "linear_top1": 100 * linear["top1"],
    }
    print(json.dumps(body))


if __name__ == "__main__":
    main(*sys.argv[1:])
