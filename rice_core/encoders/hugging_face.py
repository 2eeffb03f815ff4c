"""`hf:FOLDER` and `hf:org/name[@revision]`: vision transformers of the transformers library, alone or inside a CLIP or SigLIP.

A new family is one row of `FAMILIES`. Remote code is never run; a `.bin` is opened with `weights_only`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from torch import nn
from torch.func import functional_call
from transformers import AutoImageProcessor

from rice_core.catalogue import entries
from rice_core.encoders.base import TorchEncoder, Trunk, resized_table
from rice_core.encoders.hub import explained
from rice_core.encoders.preprocess import Preprocess, interpolation_name
from rice_core.errors import UserError
from rice_core.model.regions import RegionSettings
from rice_core.spec import EncoderSpec

Forward = Callable[[torch.Tensor], object]


@dataclass(frozen=True)
class Family:
    """What cannot be read off a checkpoint's configuration."""

    model: str
    """Class name in transformers."""
    norm: str
    """The final norm."""
    normed: bool
    """Whether `last_hidden_state` is behind it."""
    cls: bool
    forward: Callable[[nn.Module], Forward]
    inside: str = ""
    """Where the tower is, in a class that holds more than it. CLIP and SigLIP towers load from a whole checkpoint as they are."""


def _plain(module: nn.Module) -> Forward:
    return module


def _interpolating(module: nn.Module) -> Forward:
    return lambda pixels_B3HW: module(pixels_B3HW, interpolate_pos_encoding=True)


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
}
"""By the `model_type` of config.json."""


def load(spec: EncoderSpec) -> TorchEncoder:
    """Read config.json, then weights and image processor by the native class alone.

    Raises:
        UserError: see `rice_core.encoders.load_encoder`.
    """
    if spec.revision and Path(spec.model).is_dir():
        raise UserError(f"{spec.title}: a folder has no revisions; leave out @{spec.revision}.")
    with explained(spec, (entry.model for entry in entries() if entry.source == "hf")), _quiet():
        family = _family(spec)
        module = _weights(spec, family)
        config: Any = module.config
        trunk = Trunk(
            module=module,
            forward=family.forward(module),
            blocks=_blocks(module, config.num_hidden_layers),
            norm=module.get_submodule(family.norm),
            normed=family.normed,
            prefix=int(family.cls) + getattr(config, "num_register_tokens", 0),
            has_cls=family.cls,
            patch=config.patch_size,
            dim=config.hidden_size,
            recipe=_recipe(spec, config),
            architecture=_architecture(config),
            facts=_facts(spec, config),
            regions=_regions(spec),
        )
    return TorchEncoder(spec, trunk)


def _family(spec: EncoderSpec) -> Family:
    folder = Path(spec.model)
    if folder.is_dir():
        path = folder / "config.json"
        if not path.is_file():
            raise UserError(f"{spec.title}: the folder holds no config.json; give one in the hub's own layout.")
    else:
        path = Path(hf_hub_download(spec.model, "config.json", revision=spec.revision))
    body = json.loads(path.read_text())
    kind = body.get("model_type")
    if kind in FAMILIES:
        return FAMILIES[kind]
    if "auto_map" in body:
        raise UserError(
            f"{spec.title}: it needs Python code from its repository, which is never run; "
            "look for a native conversion of it, or a timm: or open_clip: name."
        )
    raise UserError(
        f"{spec.title}: model_type {kind!r} is no vision transformer that hf: reads "
        f"({', '.join(sorted(set(FAMILIES)))}); try timm: or open_clip:."
    )


def _weights(spec: EncoderSpec, family: Family) -> nn.Module:
    kind = getattr(transformers, family.model, None)
    if kind is None:
        raise UserError(f"{spec.title}: transformers {transformers.__version__} has no {family.model}; update it.")
    module, report = kind.from_pretrained(
        spec.model,
        revision=spec.revision or "main",
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    wrong = sorted(report["missing_keys"]) + sorted(str(key) for key in report.get("mismatched_keys", ()))
    if wrong:
        # transformers would go on with random numbers in their place.
        raise UserError(
            f"{spec.title}: its weights lack {wrong[0]} and {len(wrong) - 1} more; give a complete checkpoint."
        )
    tower: nn.Module = module.get_submodule(family.inside)
    return tower


def _blocks(module: nn.Module, depth: int) -> list[nn.Module]:
    """The one list of `depth` blocks; its place differs between families and versions."""
    lists = (child for child in module.modules() if isinstance(child, nn.ModuleList))
    return list(next(child for child in lists if len(child) == depth))


def _recipe(spec: EncoderSpec, config: Any) -> Preprocess:
    try:
        processor: Any = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            spec.model, revision=spec.revision or "main", trust_remote_code=False
        )
    except OSError as error:
        raise UserError(
            f"{spec.title}: it has no preprocessor_config.json, so its mean, std and resize are not known; add that file."
        ) from error
    common = {
        "interpolation": interpolation_name(processor.resample),
        "mean": tuple(processor.image_mean),
        "std": tuple(processor.image_std),
    }
    size, crop = _sizes(getattr(processor, "size", None)), _sizes(getattr(processor, "crop_size", None))
    if getattr(processor, "max_num_patches", None):  # SigLIP2's flexible variant: a number of patches, any shape
        side = int(config.num_patches**0.5) * config.patch_size
        return Preprocess(resolution=(side, side), geometry="squash", **common)
    if not processor.do_center_crop and "height" in size:
        return Preprocess(resolution=(size["height"], size["width"]), geometry="squash", **common)
    edge = size.get("shortest_edge") or min(size["height"], size["width"])
    target = (crop["height"], crop["width"]) if processor.do_center_crop else (edge, edge)
    return Preprocess(resolution=target, geometry="crop", zoom=edge / min(target), **common)


def _sizes(value: Any) -> dict[str, int]:
    return {key: side for key, side in dict(value or {}).items() if side is not None}


def _architecture(config: Any) -> dict[str, Any]:
    body = config.to_dict()
    for name in ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"):
        body.pop(name, None)
    return {"transformers": transformers.__version__, "config": json.loads(json.dumps(body, default=str))}


def _facts(spec: EncoderSpec, config: Any) -> dict[str, str]:
    """The hub's commit, or the training tags that our own export left beside the weights."""
    if getattr(config, "_commit_hash", None):
        return {"hub commit": config._commit_hash}
    return {str(key): str(value) for key, value in _left(spec).get("tags", {}).items()}


def _regions(spec: EncoderSpec) -> RegionSettings | None:
    found = _left(spec).get("regions")
    return None if found is None else RegionSettings.model_validate(found)


def _left(spec: EncoderSpec) -> dict[str, Any]:
    """What our own export wrote beside the weights of a folder."""
    path = Path(spec.model) / "rice_config.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and advice of transformers in the middle of ours."""
    chatter: Any = transformers.utils.logging
    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
