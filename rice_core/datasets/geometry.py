"""Regions -> the pixels and the patch cells that they cover. H x W is the image's size, h x w a grid's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from rice_core.changes import Box
from rice_core.datasets.coco_masks import rle_counts
from rice_core.datasets.nouns import LabelMap, Region, Sample
from rice_core.features import BACKGROUND, IGNORE
from rice_core.images import ImageError, load_values

Value = TypeVar("Value", np.int64, np.float32, np.bool_)


def label_map(sample: Sample, size_hw: tuple[int, int], image_hw: tuple[int, int]) -> npt.NDArray[np.int64]:
    """The category of each pixel after squashing the image to `size_hw`, else BACKGROUND, or IGNORE in a crowd region.

    Where the sample has a label map, that says it. Else smaller regions lie on top, of equal ones the objects. A pixel takes what lies under its centre. Masks are drawn at the
    image's size first, so they are COCO's own.

    Args:
        image_hw: the decoded image's height and width, which the regions' coordinates belong to.

    Raises:
        ImageError: the label map cannot be used; see `read_label_map`.
    """
    if sample.label_map is not None:
        return squashed(read_label_map(sample.label_map, image_hw), size_hw)
    labels_hw = np.full(size_hw, BACKGROUND, dtype=np.int64)
    painted: list[tuple[float, npt.NDArray[np.bool_], int]] = []
    crowds = ((crowd, IGNORE) for crowd in sample.crowds)
    for region, label in (*crowds, *((region, region.label) for region in sample.regions)):
        mask_HW = region_mask(region, image_hw)
        if mask_HW is None:
            (y_h, x_w), area = _box_centres(region, size_hw, image_hw), region.box_xywh[2] * region.box_xywh[3]
            painted.append((area, y_h[:, None] & x_w[None, :], label))
        else:
            painted.append((float(np.count_nonzero(mask_HW)), squashed(mask_HW, size_hw), label))
    for _, mask_hw, label in sorted(painted, key=lambda paint: -paint[0]):
        labels_hw[mask_hw] = label
    return labels_hw


def read_label_map(label_map: LabelMap, image_hw: tuple[int, int]) -> npt.NDArray[np.int64]:
    """The category of each pixel of the image, H x W, else BACKGROUND or IGNORE.

    Raises:
        ImageError: the file cannot be read, is not of the image's size, or holds a value without meaning; the reason.
    """
    name = label_map.path.name
    try:
        values_HW = load_values(label_map.path)
    except ImageError as error:
        raise ImageError(f"has a label map ({name}) that {error}") from error
    if values_HW.shape != image_hw:
        (height, width), (high, wide) = values_HW.shape, image_hw
        raise ImageError(f"has a label map ({name}) of {width}x{height} pixels, and is {wide}x{high}")
    met, place_HW = np.unique(values_HW, return_inverse=True)
    if unknown := [value for value in met.tolist() if value not in label_map.meaning]:
        raise ImageError(f"has a label map ({name}) with the value {unknown[0]}, which is no class of its layout")
    return np.array([label_map.meaning[value] for value in met.tolist()], dtype=np.int64)[
        place_HW.reshape(values_HW.shape)
    ]


def coverage(region: Region, grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The share of each patch cell that the region's mask (else box) covers, h x w in [0, 1]; all zero if degenerate.

    Exact: a pixel on the border of two cells counts for each by the area it has in it. A region smaller than a cell
    keeps its small share there.
    """
    mask_HW = region_mask(region, image_hw)
    if mask_HW is None:
        x, y, w, h = region.box_xywh
        along_h = _box_share(y, h, grid_hw[0], image_hw[0])
        return np.outer(along_h, _box_share(x, w, grid_hw[1], image_hw[1])).astype(np.float32)
    return cell_shares(mask_HW, grid_hw)


def cell_shares(mask_HW: npt.NDArray[np.bool_], grid_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The share of each of h x w cells that a mask covers."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not len(rows):
        return np.zeros(grid_hw, dtype=np.float32)
    # Most objects are small: only their own rectangle is averaged.
    tall, wide = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    left = _pixel_shares(grid_hw[0], mask_HW.shape[0])[:, tall]
    right = _pixel_shares(grid_hw[1], mask_HW.shape[1])[:, wide]
    return cast(npt.NDArray[np.float32], (left @ mask_HW[tall, wide].astype(np.float32) @ right.T).clip(0.0, 1.0))


def region_mask(region: Region, image_hw: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    """The region's pixels, H x W, as pycocotools draws them; None for a box alone.

    Run lengths bring their own size, polygons are drawn at `image_hw`.
    """
    segmentation: Any = region.segmentation
    if segmentation is None:
        return None
    if isinstance(segmentation, dict):
        height, width = segmentation["size"]
        counts = np.asarray(rle_counts(segmentation["counts"]), dtype=np.int64)
        # Runs go down the columns.
        runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return cast(npt.NDArray[np.bool_], runs.reshape(width, height).T)
    merged = coco_mask.merge(coco_mask.frPyObjects(segmentation, *image_hw))
    return cast(npt.NDArray[np.bool_], coco_mask.decode(merged).view(np.bool_))


def _box_centres(
    region: Region, size_hw: tuple[int, int], image_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    x, y, w, h = region.box_xywh
    y_h, x_w = ((np.arange(n) + 0.5) * size / n for n, size in zip(size_hw, image_hw, strict=True))
    return (y_h >= y) & (y_h < y + h), (x_w >= x) & (x_w < x + w)


def squashed(map_HW: npt.NDArray[Value], size_hw: tuple[int, int], box: Box | None = None) -> npt.NDArray[Value]:
    """A map, or a box of it, at another size.

    Each pixel takes what lies under its centre: neither classes nor depths may be mixed across an edge.
    """
    top, left, bottom, right = box or (0, 0, *map_HW.shape)
    rows, columns = (
        start + ((np.arange(n) + 0.5) * (end - start) / n).astype(np.int64)
        for n, start, end in zip(size_hw, (top, left), (bottom, right), strict=True)
    )
    return map_HW[np.ix_(rows, columns)]


def _box_share(start: float, length: float, n: int, size: int) -> npt.NDArray[np.float64]:
    """The share of each of n cells along an axis of `size` pixels that [start, start + length) covers."""
    edges = np.arange(n + 1) * (size / n)
    overlap = np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start)
    return cast(npt.NDArray[np.float64], overlap.clip(min=0) * (n / size))


@lru_cache(maxsize=64)
def _pixel_shares(n: int, size: int) -> npt.NDArray[np.float32]:
    """(n, size): the share of cell i that pixel j fills; every row sums to 1."""
    edges, pixels = np.arange(n + 1)[:, None] * (size / n), np.arange(size)[None, :]
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return cast(npt.NDArray[np.float32], (overlap.clip(min=0) * (n / size)).astype(np.float32))
