"""`timm:NAME[.TAG]`, `timm:hf-hub:org/name[@revision]` and `timm:local-dir:FOLDER`: vision transformers of timm."""

from __future__ import annotations

import json
from typing import Any

import timm
import timm.data
import torch
from timm.layers.helpers import to_2tuple

from rice_core.encoders.base import TorchEncoder, Trunk
from rice_core.encoders.hub import close_matches, explained
from rice_core.encoders.preprocess import Preprocess, interpolation_name
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec


def load(spec: EncoderSpec) -> TorchEncoder:
    """Create by timm's own factory with its published weights, able to take any multiple of the patch.

    Raises:
        UserError: see `rice_core.encoders.load_encoder`.
    """
    name = spec.model
    if ":" not in name:
        _check_name(spec)
    if spec.revision:
        if not name.startswith("hf-hub:"):
            raise UserError(f"{spec.title}: only timm:hf-hub:org/name has revisions; leave out @{spec.revision}.")
        name = f"{name}@{spec.revision}"
    with explained(spec, timm.list_models()):
        model = _create(spec, name)
    library: Any = timm.data
    recipe = _recipe(library.resolve_model_data_config(model))
    return TorchEncoder(spec, trunk(model, recipe=recipe, title=spec.title))


def trunk(model: Any, *, recipe: Preprocess, title: str, multires: bool = True) -> Trunk:
    """A timm vision transformer -> Trunk. Also for the timm towers inside open_clip.

    Raises:
        UserError: it is no plain vision transformer.
    """
    if not all(hasattr(model, part) for part in ("blocks", "patch_embed", "num_prefix_tokens")):
        raise UserError(f"{title}: {type(model).__name__} has no single patch grid; choose a plain vision transformer.")
    patch_h, patch_w = to_2tuple(model.patch_embed.patch_size)
    if patch_h != patch_w:
        raise UserError(f"{title}: its patch is {patch_h}x{patch_w}; choose a model with square patches.")
    return Trunk(
        module=model,
        forward=model.forward_features,
        blocks=model.blocks,
        # With mean pooling timm norms after the pooling, so its tokens have no norm.
        norm=model.norm,
        normed=True,
        prefix=model.num_prefix_tokens,
        has_cls=getattr(model, "cls_token", None) is not None,
        patch=patch_h,
        dim=model.embed_dim,
        recipe=recipe,
        architecture=_architecture(model),
        multires=multires,
    )


def _check_name(spec: EncoderSpec) -> None:
    architecture, _, tag = spec.model.partition(".")
    if not timm.is_model(architecture):
        near = close_matches(architecture, timm.list_models())
        raise UserError(
            f"{spec.title}: timm {timm.__version__} has no {architecture!r};{near or ' see timm.list_models().'}"
        )
    tags = timm.list_pretrained(architecture)
    if tag and spec.model not in tags:
        raise UserError(f"{spec.title}: timm has no weights {tag!r} for it; it has {', '.join(tags) or 'none'}.")
    if not tags:
        raise UserError(f"{spec.title}: timm has no weights for it; give timm:local-dir:FOLDER or another name.")


def _create(spec: EncoderSpec, name: str) -> torch.nn.Module:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0, dynamic_img_size=True)
    except TypeError as error:
        # Families without that setting have no free patch grid: convolutional nets, windowed transformers.
        raise UserError(f"{spec.title}: it cannot change its input size; choose a plain vision transformer.") from error


def _recipe(config: dict[str, Any]) -> Preprocess:
    h, w = config["input_size"][1:]
    return Preprocess(
        resolution=(h, w),
        geometry="squash" if config["crop_mode"] == "squash" else "crop",
        # timm floors the size before the crop, at the model's own resolution.
        zoom=int(min(h, w) / config["crop_pct"]) / min(h, w),
        interpolation=interpolation_name(config["interpolation"]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _architecture(model: Any) -> dict[str, Any]:
    arguments = {key: value for key, value in getattr(model, "_model_args", {}).items() if key != "num_classes"}
    body = {"name": model.default_cfg.get("architecture"), "arguments": arguments}
    return {"timm": timm.__version__, **json.loads(json.dumps(body, default=str))}
