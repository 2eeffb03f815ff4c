"""Crops there and back, clipping, overlaps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tracking.geometry import Crop, clip, corners, giou_N

RANDOM = np.random.default_rng(0)
BOXES = [tuple(row) for row in RANDOM.uniform((-300, -200, 0.3, 0.3), (1500, 900, 700, 500), (40, 4)).tolist()]


@pytest.mark.parametrize("size", [96, 128, 224, 256, 384])
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0, 4.7])
def test_exact_maps_there_and_back(size, factor) -> None:
    for box in BOXES:
        crop = Crop.around(box, factor, size)
        assert crop.back(crop.into(box)) == pytest.approx(box, abs=1e-9)
        other = BOXES[3]
        assert crop.back(crop.into(other)) == pytest.approx(other, abs=1e-4)


def test_exact_is_about_the_pixels_that_are_shown() -> None:
    """The first column that is shown is 0 of the crop, the end of the last is 1, wherever the rounding put them."""
    crop = Crop.around((10.3, 20.4, 7.7, 31.2), 4, 256)
    assert crop.side == math.ceil(math.sqrt(7.7 * 31.2) * 4) == 62
    assert (crop.left, crop.top) == (round(10.3 + 7.7 / 2 - 31), round(20.4 + 31.2 / 2 - 31))
    assert crop.into((crop.left, crop.top, crop.side, crop.side)) == pytest.approx((0.5, 0.5, 1, 1))


def test_ostrack_loses_half_a_pixel_of_the_search_crop() -> None:
    crop = Crop.around((50, 50, 20, 20), 4, 256, "ostrack")
    assert crop.side == 80
    assert crop.into((50, 50, 20, 20))[:2] == pytest.approx((127.5 / 256, 127.5 / 256))
    assert crop.back(crop.into((50, 50, 20, 20))) == pytest.approx((49.84375, 49.84375, 20, 20), abs=1e-12)


def test_rounding_is_half_to_even_as_pythons() -> None:
    assert [Crop.around((x, 0, 1, 1), 1, 8).left for x in (0.5, 1.5, 2.5)] == [0, 2, 2]


def test_a_crop_is_a_pixel_at_least_and_of_a_box() -> None:
    assert Crop.around((5, 5, 0, 0), 4, 64).side == 1
    for box in ((0, 0, float("nan"), 1), (0, 0, -1, 1), (float("inf"), 0, 1, 1), (0, 0, 1e200, 1e200)):
        with pytest.raises(ValueError, match="no crop is around the box"):
            Crop.around(box, 2, 64)


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((-20, 5, 30, 30), (0, 5, 10, 30)),
        ((150, 150, 10, 10), (90, 90, 10, 10)),
        ((50, 50, 3, 3), (50, 50, 10, 10)),
        ((-500, -500, 10, 10), (0, 0, 10, 10)),
        ((95, 20, 50, 20), (90, 20, 10, 20)),
        ((20, 30, 40, 40), (20, 30, 40, 40)),
    ],
)
def test_a_followed_box_stays_in_the_frame(box, clipped) -> None:
    assert clip(box, (100, 100), 10) == clipped
    assert clip(box[1::-1] + box[:1:-1], (100, 100), 10) == clipped[1::-1] + clipped[:1:-1]


def test_clipping_tells_width_from_height_and_fits_a_small_frame() -> None:
    assert clip((150, 20, 10, 10), (100, 200), 10) == (150, 20, 10, 10)
    assert clip((2, 2, 3, 3), (6, 200), 10) == (2, 0, 10, 6)
    assert clip((-5, 0, 3, 3), (100, 100), 0) == (0, 0, 0, 3)


def test_giou_is_torchvisions() -> None:
    torchvision = pytest.importorskip("torchvision").ops
    draw = torch.rand(50, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a_N4, b_N4 = corners(draw[:, 0]), corners(draw[:, 1])
    assert torch.allclose(giou_N(a_N4, b_N4), torchvision.generalized_box_iou(a_N4, b_N4).diagonal())


def test_boxes_without_area_give_no_nan() -> None:
    point_14, box_14 = torch.tensor([[0.5, 0.5, 0.5, 0.5]]), torch.tensor([[0.2, 0.2, 0.6, 0.6]])
    assert giou_N(point_14, box_14).item() == pytest.approx(0)  # inside, and nothing of it
    point_14.requires_grad_()
    giou_N(point_14, point_14.detach()).sum().backward()
    assert point_14.grad.isfinite().all()
