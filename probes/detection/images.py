"""What the encoder sees of an image, and where its objects went: large-scale jitter in training, whole images in test.

Every view is S x S pixels: the image is resized as a whole, cropped where it is larger and padded with gray below and to the
right where it is smaller. N objects; boxes are (left, top, right, bottom).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from probes.detection.truth import Thing, TruthImage
from rice_core.datasets import Region, region_mask

GRAY = 128
MIN_SIDE = 1.0
"""Pixels; a box that a crop leaves less of is no object any more."""

Boxes = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Placing:
    """Where an image lies in its view: resized to `size_hw`, moved by (-left, -top), perhaps mirrored before."""

    image_hw: tuple[int, int]
    size_hw: tuple[int, int]
    left: int
    top: int
    flip: bool
    side: int

    @property
    def valid_hw(self) -> tuple[int, int]:
        """The part of the view that shows the image."""
        h, w = self.size_hw
        return min(h - self.top, self.side), min(w - self.left, self.side)

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """(S, S, 3)."""
        (H, W), (h, w), (valid_h, valid_w) = self.image_hw, self.size_hw, self.valid_hw
        if self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        # Only what is seen is resized.
        box = (self.left * W / w, self.top * H / h, (self.left + valid_w) * W / w, (self.top + valid_h) * H / h)
        seen = image.resize((valid_w, valid_h), Image.Resampling.BILINEAR, box=box)
        view = np.full((self.side, self.side, 3), GRAY, dtype=np.uint8)
        view[:valid_h, :valid_w] = np.asarray(seen)
        return view

    def boxes(self, boxes_N4: Boxes) -> Boxes:
        """Boxes of the image in the view, clipped to what it shows."""
        (H, W), (h, w), (valid_h, valid_w) = self.image_hw, self.size_hw, self.valid_hw
        if self.flip:
            boxes_N4 = np.stack([W - boxes_N4[:, 2], boxes_N4[:, 1], W - boxes_N4[:, 0], boxes_N4[:, 3]], axis=1)
        moved_N4 = boxes_N4 * np.float32([w / W, h / H, w / W, h / H])
        moved_N4 -= np.float32([self.left, self.top, self.left, self.top])
        return moved_N4.clip(0, np.float32([valid_w, valid_h, valid_w, valid_h]))

    def back(self, boxes_N4: Boxes) -> Boxes:
        """Boxes of the view in pixels of the image, clipped to it."""
        (H, W), (h, w) = self.image_hw, self.size_hw
        moved_N4 = (boxes_N4 + np.float32([self.left, self.top, self.left, self.top])) * np.float32(
            [W / w, H / h, W / w, H / h]
        )
        moved_N4 = moved_N4.clip(0, np.float32([W, H, W, H]))
        if self.flip:
            moved_N4 = np.stack([W - moved_N4[:, 2], moved_N4[:, 1], W - moved_N4[:, 0], moved_N4[:, 3]], axis=1)
        return moved_N4

    def mask(self, mask_HW: Masks) -> Masks:
        """(S, S): a mask of the image in the view, by the pixel under each centre."""
        (H, W), (h, w), (valid_h, valid_w) = self.image_hw, self.size_hw, self.valid_hw
        rows = ((np.arange(valid_h) + self.top + 0.5) * H / h).astype(np.int64).clip(0, H - 1)
        columns = ((np.arange(valid_w) + self.left + 0.5) * W / w).astype(np.int64).clip(0, W - 1)
        view = np.zeros((self.side, self.side), dtype=np.bool_)
        view[:valid_h, :valid_w] = (mask_HW[:, ::-1] if self.flip else mask_HW)[np.ix_(rows, columns)]
        return view


def jittered(
    image_hw: tuple[int, int], side: int, scale: tuple[float, float], flip: bool, rng: np.random.Generator
) -> Placing:
    """Large-scale jitter (Ghiasi et al. 2021): resized to fit `side` times a random scale, then a random crop of `side`."""
    factor = rng.uniform(*scale)
    size_hw = _fit(image_hw, factor * side)
    top, left = (int(rng.integers(max(0, n - side) + 1)) for n in size_hw)
    return Placing(image_hw, size_hw, left, top, bool(flip and rng.random() < 0.5), side)


def whole(image_hw: tuple[int, int], side: int) -> Placing:
    """The whole image, as large as fits."""
    return Placing(image_hw, _fit(image_hw, side), 0, 0, False, side)


@dataclass(frozen=True)
class VisibleObjects:
    """The objects that a view still shows."""

    boxes_N4: Boxes
    labels_N: npt.NDArray[np.int64]
    masks_NSS: Masks | None
    masked_N: npt.NDArray[np.bool_] | None = None
    """Which have a mask; None where all have, or masks are not asked for."""
    ignored_M4: Boxes | None = None
    """Where nothing is to be learnt; None where there is no such place."""


def shown(truth: TruthImage, placing: Placing, *, masks: bool) -> VisibleObjects:
    """Crowds are no objects. With masks, an object without one is its box, and the box of one with is drawn around it anew."""
    ignored_M4 = _ignored(truth, placing)
    things = [thing for thing in truth.things if not thing.crowd]
    boxes_N4 = placing.boxes(np.array([thing.box_xyxy for thing in things], dtype=np.float32).reshape(-1, 4))
    kept = ((boxes_N4[:, 2:] - boxes_N4[:, :2]) >= MIN_SIDE).all(axis=1)
    if not masks:
        labels = [thing.label for thing, keep in zip(things, kept, strict=True) if keep]
        return VisibleObjects(boxes_N4[kept], np.array(labels, dtype=np.int64), None, ignored_M4=ignored_M4)
    found: list[tuple[Boxes, Thing, Masks]] = []
    for thing, box_4, keep in zip(things, boxes_N4, kept, strict=True):
        if keep and (mask_SS := placing.mask(thing_mask(thing, placing.image_hw))).any():
            tight_4 = box_of(mask_SS) if thing.segmentation is not None else box_4
            found.append((tight_4, thing, mask_SS))
    boxes = [box for box, _, _ in found]
    masked = [thing.segmentation is not None for _, thing, _ in found]
    S = placing.side
    return VisibleObjects(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array([thing.label for _, thing, _ in found], dtype=np.int64),
        np.stack([mask for _, _, mask in found]) if found else np.zeros((0, S, S), dtype=np.bool_),
        None if all(masked) else np.array(masked),
        ignored_M4,
    )


def _ignored(truth: TruthImage, placing: Placing) -> Boxes | None:
    """The places that the view still shows; a point or a line is a pixel wide."""
    if not truth.ignored:
        return None
    boxes_M4 = np.array([thing.box_xyxy for thing in truth.ignored], dtype=np.float32)
    flat_M2 = boxes_M4[:, 2:] == boxes_M4[:, :2]
    boxes_M4[:, :2] -= 0.5 * flat_M2
    boxes_M4[:, 2:] += 0.5 * flat_M2
    boxes_M4 = placing.boxes(boxes_M4)
    seen_M4 = boxes_M4[(boxes_M4[:, 2:] > boxes_M4[:, :2]).all(axis=1)]
    return seen_M4 if len(seen_M4) else None


def thing_mask(thing: Thing, image_hw: tuple[int, int]) -> Masks:
    """(H, W): the object's mask, else its box."""
    x0, y0, x1, y1 = thing.box_xyxy
    region = Region((x0, y0, x1 - x0, y1 - y0), thing.label, thing.segmentation)
    mask_HW = region_mask(region, image_hw)
    if mask_HW is not None:
        return mask_HW
    mask_HW = np.zeros(image_hw, dtype=np.bool_)
    mask_HW[int(y0) : max(int(np.ceil(y1)), int(y0) + 1), int(x0) : max(int(np.ceil(x1)), int(x0) + 1)] = True
    return mask_HW


def box_of(mask_SS: Masks) -> Boxes:
    """The smallest box around a mask that is not empty."""
    rows, columns = np.flatnonzero(mask_SS.any(axis=1)), np.flatnonzero(mask_SS.any(axis=0))
    return np.float32([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def label_view(things: Sequence[Thing], placing: Placing) -> npt.NDArray[np.int64]:
    """(S, S): the category of each pixel, smaller objects on top, -1 background; what `synthetic:oracle` is told."""
    labels_SS = np.full((placing.side, placing.side), -1, dtype=np.int64)
    masks = [(thing.label, placing.mask(thing_mask(thing, placing.image_hw))) for thing in things if not thing.crowd]
    for label, mask_SS in sorted(masks, key=lambda pair: -int(pair[1].sum())):
        labels_SS[mask_SS] = label
    return labels_SS


def _fit(image_hw: tuple[int, int], side: float) -> tuple[int, int]:
    """The image's size when its longer side is `side`; at least one pixel."""
    ratio = side / max(image_hw)
    return max(1, round(image_hw[0] * ratio)), max(1, round(image_hw[1] * ratio))
