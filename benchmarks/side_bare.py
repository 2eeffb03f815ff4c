"""knn and linear on the demo's objects without the suite: `python -m benchmarks.side_bare FOLDER ENCODER`.

What somebody writes who wants the two numbers and nothing else: the COCO file by json, boxes alone, the encoder by its loader,
pooling by numpy, scikit-learn's k-NN and logistic regression with the same C's. No cache, no digest, no error, no record.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from rice_core.catalogue import resolve
from rice_core.encoders import load_encoder
from rice_core.features import Encoder

BATCH = 32


def main(folder: Path, name: str) -> dict[str, float]:
    """Top-1 accuracy in percent of both."""
    encoder = load_encoder(resolve(name))
    (train_x, train_y), (val_x, val_y) = (_pooled(encoder, folder, split) for split in ("train", "val"))
    knn = KNeighborsClassifier(10, metric="cosine").fit(train_x, train_y)
    mean, scale = train_x.mean(0), train_x.std(0)
    train_x, val_s = (train_x - mean) / scale, (val_x - mean) / scale
    held = np.random.default_rng(0).random(len(train_x)) < 0.2
    fits = [LogisticRegression(C=C).fit(train_x[~held], train_y[~held]) for C in (0.001, 0.01, 0.1, 1.0, 10.0)]
    best = max(fits, key=lambda fit: fit.score(train_x[held], train_y[held]))
    linear = LogisticRegression(C=best.C).fit(train_x, train_y)
    return {"knn": 100 * knn.score(val_x, val_y), "linear": 100 * linear.score(val_s, val_y)}


def _pooled(encoder: Encoder, folder: Path, split: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The mean token of each box's cells, unit length, and its category."""
    body = json.loads((folder / "annotations" / f"instances_{split}.json").read_text(encoding="utf-8"))
    boxes: dict[int, list[tuple[list[float], int]]] = {}
    for each in body["annotations"]:
        if not each["iscrowd"]:
            boxes.setdefault(each["image_id"], []).append((each["bbox"], each["category_id"]))
    x, y = [], []
    for start in range(0, len(body["images"]), BATCH):
        part = body["images"][start : start + BATCH]
        pictures = [Image.open(folder / split / image["file_name"]).convert("RGB") for image in part]
        pixels = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
        with torch.inference_mode():
            dense_BCHW = encoder.encode(encoder.normalize(pixels.float() / 255)).dense_BCHW.numpy()
        for image, dense_CHW in zip(part, dense_BCHW, strict=True):
            for (left, top, width, height), label in boxes.get(image["id"], ()):
                side = encoder.patch
                rows = slice(int(top // side), max(int(-(-(top + height) // side)), int(top // side) + 1))
                columns = slice(int(left // side), max(int(-(-(left + width) // side)), int(left // side) + 1))
                vector_C = dense_CHW[:, rows, columns].mean((1, 2))
                x.append(vector_C / np.linalg.norm(vector_C))
                y.append(label)
    return np.stack(x), np.array(y)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
