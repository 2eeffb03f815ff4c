"""The vision transformers of the transformers library that `hf:` reads: a new one is one row of `FAMILIES`.

Shapes: B images, H x W pixels, h x w the patch grid, T = h*w patches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from rice_core.encoders.sizes import resized_table

Forward = Callable[[torch.Tensor], object]


@dataclass(frozen=True)
class Family:
    """What cannot be read off a checkpoint's configuration."""

    model: str
    """Class name in transformers: the tower alone. Heads on top of it in the checkpoint are left out."""
    norm: str
    """The final norm."""
    normed: bool
    """Whether `last_hidden_state` is behind it."""
    cls: bool
    forward: Callable[[nn.Module], Forward]
    others: int = 0
    """Tokens before the grid that the configuration does not count: the distillation token of DeiT."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For the class: without a pooler, whose weights many checkpoints lack and no feature needs."""
    inside: str = ""
    """Where the tower is, in a class that holds more than it. CLIP and SigLIP towers load from a whole checkpoint as they are."""


def _plain(module: nn.Module) -> Forward:
    return module


def _interpolating(module: nn.Module) -> Forward:
    return lambda pixels_B3HW: module(pixels_B3HW, interpolate_pos_encoding=True)


def _unmasked(module: nn.Module) -> Forward:
    """MAE's encoder sorts its patches by random noise before it drops some: rising noise keeps them as the image has them."""
    patch: Any = module.config.patch_size  # type: ignore[union-attr]

    def forward(pixels_B3HW: torch.Tensor) -> object:
        B, _, H, W = pixels_B3HW.shape
        noise_BT = torch.arange((H // patch) * (W // patch), device=pixels_B3HW.device).float().expand(B, -1)
        return module(pixels_B3HW, noise=noise_BT, interpolate_pos_encoding=True)

    return forward


def _aimv2(module: nn.Module) -> Forward:
    """Its table has one size and its forward no flag, so both table and index are swapped for the call."""
    embeddings: Any = module.embeddings
    if embeddings.config.is_native:
        return module

    def forward(pixels_B3HW: torch.Tensor) -> object:
        h, w = (side // embeddings.patch_size for side in pixels_B3HW.shape[-2:])
        table = resized_table(embeddings.position_embedding.weight, 0, (h, w), antialias=False)
        swapped = {
            "embeddings.position_embedding.weight": table,
            "embeddings.position_ids": torch.arange(h * w, device=table.device)[None],
        }
        return functional_call(module, swapped, (pixels_B3HW,))

    return forward


def _naflex(module: nn.Module) -> Forward:
    """SigLIP2's flexible variant takes cut patches, each flattened as (row, column, channel)."""
    patch = int(module.config.patch_size)  # type: ignore[arg-type, union-attr]

    def forward(pixels_B3HW: torch.Tensor) -> object:
        B, h, w = pixels_B3HW.shape[0], pixels_B3HW.shape[2] // patch, pixels_B3HW.shape[3] // patch
        patches_BTP = pixels_B3HW.reshape(B, 3, h, patch, w, patch).permute(0, 2, 4, 3, 5, 1)
        shapes_B2 = torch.tensor([[h, w]], device=pixels_B3HW.device).expand(B, 2)
        mask_BT = torch.ones(B, h * w, dtype=torch.long, device=pixels_B3HW.device)
        return module(patches_BTP.reshape(B, h * w, -1), mask_BT, shapes_B2)

    return forward


_NO_POOLER = {"add_pooling_layer": False}
# The post_layernorm of MLCD and CLIP is for the pooled class token alone; their patch tokens go without.
_MLCD = Family("MLCDVisionModel", "post_layernorm", normed=False, cls=True, forward=_plain)
_CLIP = Family("CLIPVisionModel", "post_layernorm", normed=False, cls=True, forward=_interpolating)
_SIGLIP = Family("SiglipVisionModel", "post_layernorm", normed=True, cls=False, forward=_interpolating)
_SIGLIP2 = Family("Siglip2VisionModel", "post_layernorm", normed=True, cls=False, forward=_naflex)
FAMILIES = {
    "mlcd": _MLCD,
    "mlcd_vision_model": _MLCD,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
    "dinov2": Family("Dinov2Model", "layernorm", normed=True, cls=True, forward=_plain),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", "layernorm", normed=True, cls=True, forward=_plain),
    "dinov3_vit": Family("DINOv3ViTModel", "norm", normed=True, cls=True, forward=_plain),
    "aimv2": Family("Aimv2Model", "rms_norm", normed=True, cls=False, forward=_aimv2, inside="vision_model"),
    "aimv2_vision_model": Family("Aimv2VisionModel", "rms_norm", normed=True, cls=False, forward=_aimv2),
    "vit": Family("ViTModel", "layernorm", normed=True, cls=True, forward=_interpolating, options=_NO_POOLER),
    "deit": Family(
        "DeiTModel", "layernorm", normed=True, cls=True, others=1, forward=_interpolating, options=_NO_POOLER
    ),
    "vit_msn": Family("ViTMSNModel", "layernorm", normed=True, cls=True, forward=_interpolating),
    "vit_mae": Family(
        "ViTMAEModel", "layernorm", normed=True, cls=True, forward=_unmasked, options={"mask_ratio": 0.0}
    ),
    "ijepa": Family("IJepaModel", "layernorm", normed=True, cls=False, forward=_interpolating, options=_NO_POOLER),
    # Positions, absolute and relative, follow the pixels by themselves. Fine-tuned ones norm after mean pooling: no norm here.
    "beit": Family("BeitModel", "layernorm", normed=True, cls=True, forward=_plain, options=_NO_POOLER),
    "data2vec-vision": Family(
        "Data2VecVisionModel", "layernorm", normed=True, cls=True, forward=_plain, options=_NO_POOLER
    ),
}
"""By the `model_type` of config.json."""
