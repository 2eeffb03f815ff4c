"""The pixels of a crop, and what of it shows the object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from rice_core.features import BACKGROUND, Truth
from tracking.geometry import Crop

_FAR = 6
"""Pixels of the frame a pixel of the crop from which on `_far` is the faster, and lays out no padding of any size."""


def cut(frame_HW3: npt.NDArray[np.uint8] | Image.Image, crop: Crop) -> npt.NDArray[np.uint8]:
    """The crop's pixels (S, S, 3), uint8: black beyond the frame, bilinear without antialiasing as OSTrack's cv2.resize.

    Black, before the encoder's mean and deviation, as there. A crop that lies wholly outside is all black.

    Args:
        frame_HW3: RGB; of an image of Pillow's no other pixels are unpacked, which is a third of what reading a frame takes.
    """
    W, H = frame_HW3.size if isinstance(frame_HW3, Image.Image) else frame_HW3.shape[1::-1]
    left, top, side, size = crop.left, crop.top, crop.side, crop.size
    lost = int(crop.style == "ostrack")  # where it pads, OSTrack paints the frame's last row and column black too
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, W - lost), min(top + side, H - lost)
    if x0 >= x1 or y0 >= y1:
        return np.zeros((size, size, 3), np.uint8)
    if isinstance(frame_HW3, Image.Image):
        seen_hw3 = np.array(frame_HW3.crop((x0, y0, x1, y1)))
    else:
        seen_hw3 = frame_HW3[y0:y1, x0:x1]
    if side > _FAR * size:
        return _far(seen_hw3, x0 - left, y0 - top, crop)
    if seen_hw3.shape[:2] != (side, side):
        whole = np.zeros((side, side, 3), np.uint8)
        whole[y0 - top : y1 - top, x0 - left : x1 - left] = seen_hw3
        seen_hw3 = whole
    elif not seen_hw3.flags.writeable:  # as Pillow's own pixels; torch would warn
        seen_hw3 = seen_hw3.copy()
    pixels_13hw = torch.from_numpy(seen_hw3).permute(2, 0, 1)[None]
    resized_13SS = functional.interpolate(pixels_13hw, (size, size), mode="bilinear", align_corners=False)
    return np.ascontiguousarray(resized_13SS[0].permute(1, 2, 0).numpy())


def _far(seen_hw3: npt.NDArray[np.uint8], x: int, y: int, crop: Crop) -> npt.NDArray[np.uint8]:
    """The same of what is seen from x, y of the crop on: Pillow's affine transform asks for the pixels that it needs alone."""
    h, w = seen_hw3.shape[:2]
    framed = np.zeros((h + 2, w + 2, 3), np.uint8)  # it fades into black at the frame's border, as in `cut`
    framed[1:-1, 1:-1] = seen_hw3
    scale, size = crop.side / crop.size, (crop.size, crop.size)
    window = (scale, 0, 1 - x, 0, scale, 1 - y)
    return np.array(Image.fromarray(framed).transform(size, Image.Transform.AFFINE, window, Image.Resampling.BILINEAR))


def foreground(crop: Crop, box: Sequence[float], grid: int) -> npt.NDArray[np.bool_]:
    """Which of grid x grid cells of a crop show the object: those whose middle is in its box, or else the one that holds its middle.

    Args:
        box: of the frame, x, y, w, h in pixels.
    """
    cx, cy, w, h = crop.into(box)
    middles = (np.arange(grid) + 0.5) / grid
    inside = (np.abs(middles - cy) <= h / 2)[:, None] & (np.abs(middles - cx) <= w / 2)[None]
    if not inside.any():
        row, column = (min(max(int(each * grid), 0), grid - 1) for each in (cy, cx))
        inside[row, column] = True
    return inside


def truth(crop: Crop, box: Sequence[float] | None) -> Truth:
    """What an encoder that is told the truth is told of a crop: its pixels in the box are category 0, all else background.

    Args:
        box: of the frame, x, y, w, h in pixels; None where the object is not there.
    """
    labels_SS = np.full((crop.size, crop.size), BACKGROUND, np.int64)
    if box is not None:
        cx, cy, w, h = crop.into(box)
        x0, x1, y0, y1 = (
            round(min(max(each, 0), 1) * crop.size) for each in (cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2)
        )
        labels_SS[y0:y1, x0:x1] = 0
    return Truth(labels_SS, None)
