"""Where an image and its objects lie in a view."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probes.detection.images import GRAY, jittered, label_view, shown, whole
from probes.detection.truth import Thing, TruthImage
from rice_core.datasets import Sample


def _picture(hw=(40, 60), box=(12, 8, 30, 26)):
    """A white rectangle on black, and its truth with a mask."""
    pixels = np.zeros((*hw, 3), np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = 255
    polygon = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    thing = Thing((float(x0), float(y0), float(x1), float(y1)), 3, polygon)
    crowd = Thing((0.0, 0.0, 60.0, 40.0), 1, None, crowd=True)
    return Image.fromarray(pixels), TruthImage(1, Sample("a", Path("a")), hw, (thing, crowd))


@pytest.mark.parametrize("seed", range(12))
def test_a_box_lies_where_its_pixels_went(seed):
    image, truth = _picture()
    placing = jittered((40, 60), 64, (0.5, 2.0), True, np.random.default_rng(seed))
    view = placing.pixels(image)
    lit_SS = view[..., 0] > 150
    # Padding is gray, and the image fills the rest.
    assert (view[placing.valid_hw[0] :] == GRAY).all()
    seen = shown(truth, placing, masks=False)
    if not len(seen.boxes_N4):
        assert lit_SS.sum() < 64
        return
    rows, columns = np.flatnonzero(lit_SS.any(1)), np.flatnonzero(lit_SS.any(0))
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(seen.boxes_N4[0], found, atol=2.0)
    assert seen.labels_N.tolist() == [3]
    masked = shown(truth, placing, masks=True)
    assert (masked.masks_NSS[0] != lit_SS).sum() <= 4 * lit_SS.sum() ** 0.5
    np.testing.assert_allclose(masked.boxes_N4[0], found, atol=2.0)
    np.testing.assert_array_equal(label_view(truth.things, placing) == 3, masked.masks_NSS[0])


@pytest.mark.parametrize("flip", [False, True])
def test_boxes_come_back(flip):
    rng = np.random.default_rng(0)
    placing = whole((41, 67), 96)
    if flip:
        placing = type(placing)(placing.image_hw, placing.size_hw, 0, 0, True, 96)
    corners = rng.uniform(0, 40, (5, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    np.testing.assert_allclose(placing.back(placing.boxes(boxes)), boxes, atol=1e-3)


def test_a_whole_image_fits_its_longer_side():
    assert whole((30, 60), 96).size_hw == (48, 96)
    assert whole((1, 4000), 96).size_hw == (1, 96)


def test_what_a_crop_cuts_off_is_gone():
    _, truth = _picture(box=(0, 0, 3, 3))
    placing = whole((40, 60), 128)
    away = type(placing)(placing.image_hw, placing.size_hw, 60, 0, False, 64)
    for masks in (False, True):
        seen = shown(truth, away, masks=masks)
        assert len(seen.boxes_N4) == 0
        assert seen.boxes_N4.shape == (0, 4)
