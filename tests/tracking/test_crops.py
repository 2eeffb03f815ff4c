"""What is cut out of a frame, and what of it shows the object."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rice_core.features import BACKGROUND
from tracking import crops
from tracking.crops import cut, foreground, truth
from tracking.geometry import Crop

FRAME = np.random.default_rng(0).integers(1, 256, (90, 140, 3), np.uint8)


def by_hand(frame_HW3, crop: Crop):
    """Four neighbours of each middle of a pixel, of the frame laid on black."""
    far = np.zeros((crop.side, crop.side, 3))
    for row in range(crop.side):
        for column in range(crop.side):
            y, x = crop.top + row, crop.left + column
            if 0 <= y < frame_HW3.shape[0] and 0 <= x < frame_HW3.shape[1]:
                far[row, column] = frame_HW3[y, x]
    at = ((np.arange(crop.size) + 0.5) * crop.side / crop.size - 0.5).clip(0, crop.side - 1)
    low = np.floor(at).astype(int)
    high, part = np.minimum(low + 1, crop.side - 1), at - low
    rows = far[low] * (1 - part)[:, None, None] + far[high] * part[:, None, None]
    return rows[:, low] * (1 - part)[None, :, None] + rows[:, high] * part[None, :, None]


@pytest.mark.parametrize(
    "box", [(60, 40, 20, 20), (60, 40, 7, 5), (-5, 70, 30, 40), (120, -8, 30, 20), (0, 0, 139, 89), (135, 85, 3, 3)]
)
@pytest.mark.parametrize(("factor", "size"), [(1, 32), (2, 64), (4, 48)])
def test_a_crop_is_the_frame_on_black_bilinear(box, factor, size) -> None:
    crop = Crop.around(box, factor, size)
    pixels = cut(FRAME, crop)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.abs(pixels - by_hand(FRAME, crop)).max() < 1.01
    assert np.array_equal(cut(Image.fromarray(FRAME), crop), pixels)


def test_a_crop_of_its_own_size_is_the_frame_itself() -> None:
    crop = Crop.around((40, 30, 16, 16), 2, 32)
    assert np.array_equal(cut(FRAME, crop), FRAME[crop.top : crop.top + 32, crop.left : crop.left + 32])


@pytest.mark.parametrize("box", [(-500, 10, 20, 20), (10, 500, 20, 20), (10_000, -10_000, 5, 5)])
def test_a_crop_beyond_the_frame_is_black(box) -> None:
    assert not cut(FRAME, Crop.around(box, 4, 64)).any()


def test_a_crop_of_a_giant_box_lays_out_no_giant_padding() -> None:
    assert not cut(FRAME, Crop.around((-3_000_000, -3_000_000, 6_000_000, 6_000_000), 4, 64))[:28].any()


@pytest.mark.parametrize(
    "box", [(10, 10, 100, 60), (-30, 20, 100, 60), (60, -50, 100, 90), (0, 0, 139, 89), (50, 40, 40, 40)]
)
@pytest.mark.parametrize("size", [8, 17, 64])
def test_a_crop_from_far_is_the_same(box, size, monkeypatch) -> None:
    crop = Crop.around(box, 4, size)
    assert np.abs(cut(FRAME, crop) - by_hand(FRAME, crop)).max() < 1.01
    monkeypatch.setattr(crops, "_FAR", 0)
    assert np.abs(cut(FRAME, crop) - by_hand(FRAME, crop)).max() < 1.01


@pytest.mark.filterwarnings("error")
def test_what_is_cut_is_not_written_into() -> None:
    frame = FRAME.copy()
    frame.flags.writeable = False
    for box in ((-5, 70, 30, 40), (60, 40, 20, 20), (60, 40, 32, 32)):
        cut(frame, Crop.around(box, 2, 64))[:] = 0
    assert np.array_equal(frame, FRAME)


def test_an_object_is_where_its_box_maps_to() -> None:
    """A white square in a black frame is found again at `into`, to a pixel of the crop."""
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[30:50, 70:100] = 255
    crop = Crop.around((62, 25, 33, 31), 3, 192)
    cx, cy, w, h = crop.into((70, 30, 30, 20))
    rows, columns = (np.flatnonzero((cut(frame, crop)[..., 0] > 127).any(axis)) for axis in (1, 0))
    ends = [columns[0], columns[-1] + 1, rows[0], rows[-1] + 1]
    assert ends == pytest.approx([192 * each for each in (cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2)], abs=1)


def test_cells_whose_middle_is_in_the_box_show_the_object() -> None:
    crop = Crop.around((40, 30, 20, 20), 2, 64)  # 40 x 40 pixels from 30, 20
    assert np.argwhere(foreground(crop, (40, 30, 20, 20), 4)).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert np.argwhere(foreground(crop, (30, 20, 20, 9), 4)).tolist() == [[0, 0], [0, 1]]
    assert foreground(crop, (0, 0, 200, 200), 5).all()


def test_there_is_always_a_cell_that_shows_the_object() -> None:
    crop = Crop.around((40, 30, 20, 20), 2, 64)
    assert np.argwhere(foreground(crop, (49.5, 39.5, 0.2, 0.2), 4)).tolist() == [[1, 1]]
    assert np.argwhere(foreground(crop, (300, -300, 4, 4), 4)).tolist() == [[0, 3]]


def test_the_truth_of_a_crop_is_its_box_and_nothing_else() -> None:
    crop = Crop.around((40, 30, 20, 20), 2, 80)  # 40 x 40 pixels from 30, 20, two pixels of the crop each
    labels = truth(crop, (35, 30, 10, 5)).labels_HW
    assert labels.shape == (80, 80)
    assert (labels == 0).sum() == 20 * 10
    assert (labels[20:30, 10:30] == 0).all()
    assert (truth(crop, None).labels_HW == BACKGROUND).all()
    assert (truth(crop, (500, 500, 9, 9)).labels_HW == BACKGROUND).all()
    assert (truth(crop, (-100, -100, 500, 500)).labels_HW == 0).all()
