"""One image on its way through an encoder: decoded and laid out before it, pooled after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from rice_core.bundle import Arrays
from rice_core.changes import Box, Change
from rice_core.datasets import Sample, read_label_map
from rice_core.datasets.seen import coverage_seen
from rice_core.features import Encoder
from rice_core.images import ImageError, load_image


@dataclass(frozen=True)
class Decoded:
    """One decoded image, ready for the encoder."""

    model_3HW: torch.Tensor
    """uint8 pixels where it is squashed, model space where the model's own resize and crop cut it."""
    image_hw: tuple[int, int]
    cover_RHW: npt.NDArray[np.float32] | None
    """Share of each patch cell that a region covers; None without regions."""
    box: Box | None = None
    """What is to be seen of the image, where that is not all of it."""


def decoded(sample: Sample, encoder: Encoder, change: str, *, squash: bool) -> Decoded:
    """Read, change and resize one image.

    Raises:
        ImageError: it cannot be read, or is not of the annotated size; the reason.
    """
    image = load_image(sample.path)
    image_hw = (image.height, image.width)
    if sample.size_hw is not None and sample.size_hw != image_hw:
        raise ImageError(f"is {image_hw[1]}x{image_hw[0]} pixels, annotated as {sample.size_hw[1]}x{sample.size_hw[0]}")
    if sample.label_map is not None:  # one that cannot be used costs its image, not the data set
        read_label_map(sample.label_map, image_hw)
    box = None
    if change:
        wanted = Change.parse(change)
        image, box = wanted(image, sample.id), wanted.box(image_hw)
    if not squash:
        return Decoded(encoder.preprocess([image])[0], image_hw, None, box)
    h, w = encoder.spec.resolution or (0, 0)  # an `Encoder` fills it in
    pixels = np.asarray(image.resize((w, h), Image.Resampling.BICUBIC))
    grid = (h // encoder.patch, w // encoder.patch)
    covers = [coverage_seen(region, grid, image_hw, box) for region in sample.regions]
    return Decoded(
        torch.from_numpy(pixels.copy()).permute(2, 0, 1), image_hw, np.stack(covers) if covers else None, box
    )


def pooled(dense_BCHW: torch.Tensor, rows: list[int], ready: Sequence[Decoded], *, regions: bool) -> Arrays:
    """Coverage-weighted mean of the patch tokens of each region; the plain mean where the data set has no `regions`."""
    x, row, region = [], [], []
    for b, (position, each) in enumerate(zip(rows, ready, strict=True)):
        dense_CHW = dense_BCHW[b]
        if not regions:
            x.append(dense_CHW.mean((1, 2))[None])
            row.append(position)
            region.append(0)
        elif each.cover_RHW is not None:
            weight_RHW = torch.from_numpy(each.cover_RHW).to(dense_CHW.device)
            total_R = weight_RHW.sum((1, 2))
            x.append(torch.einsum("rhw,chw->rc", weight_RHW, dense_CHW) / total_R.clamp_min(1e-12)[:, None])
            # A region that covers nothing (degenerate after clipping) keeps a row of zeros, marked by -1 - k.
            keep = (total_R > 0).tolist()
            row.extend([position] * len(keep))
            region.extend(k if kept else -1 - k for k, kept in enumerate(keep))
    x_NC = torch.cat(x).cpu().numpy() if x else np.zeros((0, dense_BCHW.shape[1]), np.float32)
    return {"x_NC": x_NC.astype(np.float32), "row_N": _rows(row), "region_N": _rows(region)}


def seen(rows: list[int], ready: Sequence[Decoded]) -> Arrays:
    """The pictures as they were encoded, with what is needed to lay the truth over them."""
    pixels = torch.stack([each.model_3HW for each in ready]).permute(0, 2, 3, 1).numpy()
    hw = np.array([each.image_hw for each in ready], dtype=np.int32)
    return {"pixels_NHW3": pixels, "image_N2": hw, "row_N": _rows(rows)}


def _rows(values: list[int]) -> npt.NDArray[np.int32]:
    return np.array(values, dtype=np.int32)
