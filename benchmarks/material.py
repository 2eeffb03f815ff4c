"""Input for the scripts: generated photographs in class folders, and ViTs with random weights saved to disk.

A photograph is a scene of the miniature world enlarged to 640 x 480 with sensor noise, and one large object of its class
on it, saved as JPEG: about as expensive to decode as a photograph of that size.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from rice_core.world.scenes import draw_scene
from rice_core.world.shapes import CATEGORIES, draw_stamp

WIDTH, HEIGHT = 640, 480
CLASSES = 8


def write_photos(folder: Path, *, train: int, val: int) -> None:
    """`folder`/train/<class>/*.jpg and val/...; the classes take turns."""
    for split, seed, count in (("train", 1, train), ("val", 2, val)):
        for index in range(count):
            category = index % CLASSES * (len(CATEGORIES) // CLASSES)
            path = folder / split / CATEGORIES[category].replace(" ", "-") / f"{index:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            _photo(seed, index, category).save(path, quality=92)


def write_vit(folder: Path, name: str) -> None:
    """A timm model with random weights as the folder that `timm:local-dir:FOLDER` (and timm itself) loads."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0)
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    recipe = {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": 0,
    }
    config = {"architecture": name, "num_classes": 0, "global_pool": "token", "pretrained_cfg": recipe}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _photo(seed: int, index: int, category: int) -> Image.Image:
    rng = np.random.default_rng([seed, index])
    scene = Image.fromarray(draw_scene(seed, index).pixels_HW3).crop((0, 12, 96, 84))
    pixels_HW3 = np.asarray(scene.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.float32)
    opacity_PP, light_PP = draw_stamp(category, float(rng.uniform(110, 160)), rng)
    side = len(opacity_PP)
    top, left = int(rng.integers(0, HEIGHT - side)), int(rng.integers(80, WIDTH - 80 - side))
    # Random weights see colour before shape: a hue that leans to the class lets them score between chance and all.
    hue = np.random.default_rng(category).uniform(0, 110, 3)
    ink_PP3 = (hue + rng.uniform(0, 110, 3)) / 2 + 110 * light_PP[:, :, None]
    patch = pixels_HW3[top : top + side, left : left + side]
    patch += opacity_PP[:, :, None] * (ink_PP3 - patch)
    pixels_HW3 += 4 * rng.standard_normal(pixels_HW3.shape, dtype=np.float32)
    return Image.fromarray(pixels_HW3.clip(0, 255).astype(np.uint8))
