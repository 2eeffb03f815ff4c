"""The miniature world as SA-1B is on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from rice_core.errors import UserError
from rice_core.world.layouts.sa1b import write_sa1b
from rice_core.world.scenes import draw_scene


def test_masks_are_the_scenes(tmp_path: Path) -> None:
    folder = write_sa1b(tmp_path / "sa", seed=4, scenes=3)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"sa_{k}.{kind}" for k in (1, 2, 3) for kind in ("jpg", "json")
    )
    for number in (1, 2, 3):
        scene = draw_scene(4, number - 1)
        body = json.loads((folder / f"sa_{number}.json").read_text())
        assert body["image"] == {"image_id": number, "width": 96, "height": 96, "file_name": f"sa_{number}.jpg"}
        for entry, thing in zip(body["annotations"], scene.things, strict=True):
            np.testing.assert_array_equal(coco_mask.decode(entry["segmentation"]).astype(bool), thing.mask_HW)
            assert tuple(entry["bbox"]) == thing.box_xywh
            assert entry["area"] == thing.mask_HW.sum()
            ((x, y),) = entry["point_coords"]
            assert thing.mask_HW[int(y), int(x)]
            assert {"predicted_iou", "stability_score", "crop_box", "id"} < set(entry)
        pixels = np.asarray(Image.open(folder / f"sa_{number}.jpg"), dtype=float)
        assert np.abs(pixels - scene.pixels_HW3).mean() < 3
    assert [path.name for path in tmp_path.iterdir()] == ["sa"]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="empty folder"):
        write_sa1b(tmp_path, seed=0, scenes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
