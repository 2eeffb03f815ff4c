"""The pixels that an encoder takes: multiples of its patch, asked for or its own, and the position table that goes with them.

Shapes: B images, H x W pixels, T = prefix + h*w tokens, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from rice_core.errors import UserError
from rice_core.spec import EncoderSpec


def input_size(spec: EncoderSpec, patch: int, own_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width that the encoder will ask for: the spec's, else the model's own.

    Raises:
        UserError: the spec's is no multiple of the patch, and `pad_to_patch` is off.
    """
    if spec.resolution is None:
        if min(own_hw) < patch:
            raise UserError(
                f"{spec.title}: its own pictures of {own_hw[0]}x{own_hw[1]} are smaller than its {patch}-pixel patch; "
                f"correct the size, or give another, as in res={16 * patch}."
            )
        return floored(own_hw, patch)
    h, w = spec.resolution
    if (h % patch or w % patch) and not spec.pad_to_patch:
        raise _no_multiple(spec.title, spec.resolution, patch)
    return -(-h // patch) * patch, -(-w // patch) * patch


def floored(size_hw: tuple[int, int], patch: int) -> tuple[int, int]:
    """The pixels of whole patches."""
    return size_hw[0] // patch * patch, size_hw[1] // patch * patch


def fitted(spec: EncoderSpec, patch: int, pixels_B3HW: torch.Tensor) -> torch.Tensor:
    """The pixels, grown at the right and bottom to multiples of the patch where the spec allows it.

    Raises:
        UserError: H or W is no multiple of the patch, and `pad_to_patch` is off.
    """
    H, W = pixels_B3HW.shape[-2:]
    if not (H % patch or W % patch):
        return pixels_B3HW
    if not spec.pad_to_patch:
        raise _no_multiple(spec.title, (H, W), patch)
    # Zero is the mean colour in model space.
    return F.pad(pixels_B3HW, (0, -W % patch, 0, -H % patch))


def _no_multiple(title: str, size_hw: tuple[int, int], patch: int) -> UserError:
    h, w = (max(1, round(side / patch)) * patch for side in size_hw)
    return UserError(
        f"{title}: {size_hw[0]}x{size_hw[1]} is no multiple of its {patch}-pixel patch; try res={h}x{w}, or add pad=1."
    )


def resized_table(table_TC: torch.Tensor, prefix: int, grid_hw: tuple[int, int], *, antialias: bool) -> torch.Tensor:
    """Position table of a square grid -> one for `grid_hw`, bicubic; the first `prefix` rows are kept as they are."""
    side = round((table_TC.shape[0] - prefix) ** 0.5)
    if grid_hw == (side, side):
        return table_TC
    grid_1CHW = table_TC[prefix:].reshape(side, side, -1).permute(2, 0, 1)[None].float()
    grid_1CHW = F.interpolate(grid_1CHW, grid_hw, mode="bicubic", align_corners=False, antialias=antialias)
    return torch.cat([table_TC[:prefix], grid_1CHW[0].flatten(1).T.to(table_TC.dtype)])
