"""What is known of an image, in the geometry in which an encoder sees it: all of the image or a box of it, squashed to its input.

H x W is the image's size, h x w the input's (or a patch grid's).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rice_core.changes import Box
from rice_core.datasets.geometry import cell_shares, coverage, label_map, region_mask, squashed
from rice_core.datasets.nouns import Region, Sample
from rice_core.images import ImageError


def labels_seen(
    sample: Sample, size_hw: tuple[int, int], image_hw: tuple[int, int], box: Box | None
) -> npt.NDArray[np.int64]:
    """`label_map` of what is to be seen, [h, w]."""
    if box is None:
        return label_map(sample, size_hw, image_hw)
    return squashed(label_map(sample, image_hw, image_hw), size_hw, box)


def coverage_seen(
    region: Region, grid_hw: tuple[int, int], image_hw: tuple[int, int], box: Box | None
) -> npt.NDArray[np.float32]:
    """`coverage` by what is to be seen of a region, [h, w]; all zero where that is nothing."""
    if box is None:
        return coverage(region, grid_hw, image_hw)
    top, left, bottom, right = box
    mask_HW = region_mask(region, image_hw)
    if mask_HW is None:
        x, y, width, height = region.box_xywh
        return coverage(
            replace(region, box_xywh=(x - left, y - top, width, height)), grid_hw, (bottom - top, right - left)
        )
    return cell_shares(mask_HW[top:bottom, left:right], grid_hw)


def target_seen(
    sample: Sample, size_hw: tuple[int, int], image_hw: tuple[int, int], box: Box | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """`Sample.target` of what is to be seen [h, w], and where something is known; 0 where nothing is.

    Raises:
        ImageError: there is none, the file is no such map, or not of the image's size; the reason.
    """
    path = sample.target
    if path is None:
        raise ImageError("has no target")
    try:
        map_HW = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f"has a target ({path.name}) that cannot be read: {str(error)[:80]}") from error
    if map_HW.shape != image_hw or map_HW.dtype.kind not in "fiu":
        raise ImageError(f"has a target ({path.name}) of {map_HW.dtype} {map_HW.shape}, not numbers {image_hw}")
    target_hw = squashed(map_HW.astype(np.float32), size_hw, box)
    valid_hw = np.isfinite(target_hw)
    return np.where(valid_hw, target_hw, np.float32(0)), valid_hw
