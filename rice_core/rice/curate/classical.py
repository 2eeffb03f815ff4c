"""Classical proposals with OpenCV: what stands out from its surroundings at several scales, without any training.

Colours are smoothed (mean shift) and quantised by a small k-means; connected pieces of one colour are regions, and so are
the unions that a closing of a colour's mask makes. Regions of middling size are ranked by how well their border lies on
edges, and those that overlap a better one are dropped.

Shapes: H x W pixels of the shrunken image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from rice_core.errors import MissingExtra
from rice_core.rice.curate.nouns import DecodedImage, Proposal

SIDE = 256
"""Longer edge that is looked at."""
MOST = 30
COLOURS = (3, 6, 12)
SMALLEST, LARGEST = 0.004, 0.75
"""Share of the image's area."""
OVERLAP = 0.7
"""Intersection over union above which the weaker of two boxes is dropped."""

Mask = npt.NDArray[np.uint8]


class Classical:
    """Boxes with masks, best first, at most MOST an image."""

    name, version, portable = "classical", "1", True

    def __init__(self) -> None:
        try:
            import cv2
        except ModuleNotFoundError as error:
            raise MissingExtra("The proposals classical", "curate") from error
        self._cv2: Any = cv2
        # Worker processes bring the parallelism; k-means of OpenCV also depends on its thread count.
        cv2.setNumThreads(1)

    def propose(self, picture: DecodedImage) -> Sequence[Proposal]:
        rgb_HW3 = np.asarray(picture.image)
        scale = min(1.0, SIDE / max(rgb_HW3.shape[:2]))
        size = (max(1, round(rgb_HW3.shape[1] * scale)), max(1, round(rgb_HW3.shape[0] * scale)))
        small_HW3 = self._cv2.resize(rgb_HW3, size, interpolation=self._cv2.INTER_AREA)
        if min(size) < 8:
            return []
        edge_HW = self._edges(small_HW3)
        ranked = sorted(
            ((self._strength(mask_HW, edge_HW), box, mask_HW) for box, mask_HW in self._regions(small_HW3)),
            key=lambda entry: (-entry[0], entry[1]),
        )
        kept: list[tuple[float, tuple[int, int, int, int], Mask]] = []
        for entry in ranked:
            if all(_overlap(entry[1], other[1]) <= OVERLAP for other in kept):
                kept.append(entry)
            if len(kept) == MOST:
                break
        return [self._proposal(entry, picture) for entry in kept]

    def _edges(self, small_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Strength of the gradient, the largest over the channels, in [0, 1]."""
        lab_HW3 = self._cv2.cvtColor(small_HW3, self._cv2.COLOR_RGB2LAB)
        lab_HW3 = self._cv2.GaussianBlur(lab_HW3, (3, 3), 0).astype(np.float32)
        dx_HW3, dy_HW3 = (self._cv2.Sobel(lab_HW3, self._cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        edge_HW: npt.NDArray[np.float32] = np.hypot(dx_HW3, dy_HW3).max(axis=2)
        return edge_HW / max(1.0, float(np.percentile(edge_HW, 98)))

    def _regions(self, small_HW3: npt.NDArray[np.uint8]) -> Iterator[tuple[tuple[int, int, int, int], Mask]]:
        """(box, mask) of the connected pieces of each colour, at several numbers of colours."""
        smooth_HW3 = self._cv2.pyrMeanShiftFiltering(small_HW3, 8, 16, maxLevel=1)
        lab_N3 = self._cv2.cvtColor(smooth_HW3, self._cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
        criteria = (self._cv2.TERM_CRITERIA_EPS + self._cv2.TERM_CRITERIA_MAX_ITER, 12, 1.0)
        height, width = small_HW3.shape[:2]
        kernel = self._cv2.getStructuringElement(self._cv2.MORPH_ELLIPSE, (5, 5))
        for colours in COLOURS:
            self._cv2.setRNGSeed(0)
            _, colour_N1, _ = self._cv2.kmeans(lab_N3, colours, None, criteria, 1, self._cv2.KMEANS_PP_CENTERS)
            colour_HW = colour_N1.reshape(height, width)
            for colour in range(colours):
                mask_HW = (colour_HW == colour).astype(np.uint8)
                for whole_HW in (mask_HW, self._cv2.morphologyEx(mask_HW, self._cv2.MORPH_CLOSE, kernel)):
                    yield from self._pieces(whole_HW)

    def _pieces(self, mask_HW: Mask) -> Iterator[tuple[tuple[int, int, int, int], Mask]]:
        count, label_HW, stats, _ = self._cv2.connectedComponentsWithStats(mask_HW, connectivity=4)
        total = mask_HW.size
        for number in range(1, count):
            x, y, w, h, area = (int(value) for value in stats[number])
            if SMALLEST * total <= area and w * h <= LARGEST * total and min(w, h) >= 8:
                yield (x, y, x + w, y + h), (label_HW == number).astype(np.uint8)

    def _strength(self, mask_HW: Mask, edge_HW: npt.NDArray[np.float32]) -> float:
        """Mean edge along the border; full boxes and large ones are preferred, gently."""
        border_HW = self._cv2.morphologyEx(mask_HW, self._cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
        box_area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        filled = float(mask_HW.sum()) / float(box_area)
        size = float(box_area / mask_HW.size)
        return round(float(np.minimum(edge_HW[border_HW], 1).mean() * filled**0.5 * size**0.15), 6)

    def _proposal(self, entry: tuple[float, tuple[int, int, int, int], Mask], picture: DecodedImage) -> Proposal:
        strength, box, mask_HW = entry
        width, height = picture.image.size
        across, down = width / mask_HW.shape[1], height / mask_HW.shape[0]
        whole_HW = self._cv2.resize(mask_HW, (width, height), interpolation=self._cv2.INTER_NEAREST)
        run_lengths = coco_mask.encode(np.asfortranarray(whole_HW))
        return Proposal(
            box=(box[0] * across, box[1] * down, box[2] * across, box[3] * down),
            rle={"size": [height, width], "counts": run_lengths["counts"].decode()},
            score=min(1.0, strength),
        )


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over union."""
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or tall <= 0:
        return 0.0
    both = wide * tall
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
