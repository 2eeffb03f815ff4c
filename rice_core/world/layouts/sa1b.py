"""The miniature world as SA-1B is on disk: sa_N.jpg and sa_N.json beside each other, masks without categories."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rice_core.disk.temporaries import beside, sweep_beside
from rice_core.errors import UserError
from rice_core.world.layouts.annotations import run_lengths
from rice_core.world.scenes import Scene, SceneObject, draw_scene
from rice_core.world.shapes import Level


def write_sa1b(folder: Path, *, seed: int, scenes: int, size: int = 96, level: Level = "easy") -> Path:
    """Draw scenes 0, 1, ... of the world `seed` as sa_1, sa_2, ... at `folder`, all or nothing.

    JPEG loses a little of the pixels, as it does in the real data set; masks are exact.

    Raises:
        UserError: the folder is there and not empty.
    """
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; choose an empty folder.")
    sweep_beside(folder)
    drawn = beside(folder)
    drawn.mkdir(parents=True)
    try:
        for index in range(scenes):
            scene, name = draw_scene(seed, index, size=size, level=level), f"sa_{index + 1}"
            Image.fromarray(scene.pixels_HW3).save(drawn / f"{name}.jpg", quality=95, subsampling=0)
            (drawn / f"{name}.json").write_text(json.dumps(_body(scene, index + 1, f"{name}.jpg")))
        drawn.rename(folder)
    finally:
        shutil.rmtree(drawn, ignore_errors=True)
    return folder


def _body(scene: Scene, number: int, file_name: str) -> dict[str, Any]:
    height, width, _ = scene.pixels_HW3.shape
    crop = [0.0, 0.0, float(width), float(height)]
    masks = [_mask(thing, number * 100 + k, crop) for k, thing in enumerate(scene.things)]
    image = {"image_id": number, "width": width, "height": height, "file_name": file_name}
    return {"image": image, "annotations": masks}


def _mask(thing: SceneObject, number: int, crop: list[float]) -> dict[str, Any]:
    inside_N2 = np.argwhere(thing.mask_HW)
    y, x = map(float, inside_N2[len(inside_N2) // 2])
    return {
        "id": number,
        "segmentation": run_lengths(thing.mask_HW),
        "bbox": list(map(float, thing.box_xywh)),
        "area": int(thing.mask_HW.sum()),
        "predicted_iou": 1.0,
        "stability_score": 1.0,
        "crop_box": crop,
        "point_coords": [[x, y]],
    }
