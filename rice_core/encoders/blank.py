"""An encoder's network without its weights: described as JSON, and built again from that by its own library.

For exports that hold the weights themselves and must load where the checkpoint is not. What `load_encoder` reads is read as ever.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from rice_core.encoders.base import TorchEncoder, Trunk
from rice_core.encoders.preprocess import Preprocess
from rice_core.encoders.rice import native_trunk
from rice_core.errors import UserError
from rice_core.model.vit import ViT, ViTConfig


def described(encoder: TorchEncoder) -> dict[str, Any]:
    """What `built` takes, as JSON.

    Raises:
        UserError: its adapter is none of ours, as that of a module of one's own.
    """
    module: Any = encoder.module
    if isinstance(module, ViT):
        return {"library": "ricebench", "vit": module.config.model_dump(mode="json")}
    describe = {"hf": _of_transformers, "timm": _of_timm, "open_clip": _of_open_clip}.get(encoder.spec.source)
    if describe is None:
        raise UserError(
            f"{encoder.spec.title}: nobody but its own code can build its network; export an encoder of hf:, timm:, open_clip: or rice:."
        )
    body: dict[str, Any] = json.loads(json.dumps(describe(encoder, module), default=str))
    return body


def built(body: dict[str, Any], side: int) -> Trunk:
    """The network with random weights, float32, on the CPU. torch's random state is left as it was.

    Args:
        body: of `described`.
        side: pixels along a square picture.

    Raises:
        ModuleNotFoundError: its library is not installed.
    """
    recipe = Preprocess(resolution=(side, side))
    build = {"ricebench": _ours, "transformers": _transformers, "timm": _timm, "open_clip": _open_clip}[body["library"]]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            return build(body, recipe)
    finally:
        torch.set_default_dtype(before)


def _ours(body: dict[str, Any], recipe: Preprocess) -> Trunk:
    return native_trunk(ViT(ViTConfig.model_validate(body["vit"])), recipe, {})


def _of_transformers(encoder: TorchEncoder, module: Any) -> dict[str, Any]:
    config = {name: value for name, value in module.config.to_dict().items() if name != "_name_or_path"}
    return {"library": "transformers", "model": type(module).__name__, "config": config}


def _transformers(body: dict[str, Any], recipe: Preprocess) -> Trunk:
    import transformers

    from rice_core.encoders.families import FAMILIES
    from rice_core.encoders.hugging_face import trunk

    kind = getattr(transformers, body["model"])
    family = FAMILIES[body["config"]["model_type"]]
    options = {name: value for name, value in family.options.items() if name not in body["config"]}
    return trunk(kind(kind.config_class.from_dict(body["config"]), **options), family, recipe=recipe)


def _of_timm(encoder: TorchEncoder, module: Any) -> dict[str, Any]:
    multires = "multires" in encoder.provides
    return {
        "library": "timm",
        "name": module.default_cfg["architecture"],
        "arguments": {name: value for name, value in module._model_args.items() if name != "num_classes"},
        "pixels": None if multires else encoder.spec.resolution,
    }


def _timm(body: dict[str, Any], recipe: Preprocess) -> Trunk:
    import timm

    from rice_core.encoders.timm import trunk

    model: Any = timm.create_model(body["name"], pretrained=False, num_classes=0, **body["arguments"])
    if body["pixels"]:
        model.set_input_size(img_size=tuple(body["pixels"]))
    return trunk(model, recipe=recipe, title=body["name"], multires=not body["pixels"])


def _of_open_clip(encoder: TorchEncoder, module: Any) -> dict[str, Any]:
    import open_clip
    from open_clip.transformer import QuickGELU, VisionTransformer

    if not isinstance(module, VisionTransformer):
        return _of_timm(encoder, module)
    name = encoder.spec.model
    config: Any = open_clip.get_model_config(name if ":" in name.partition("/")[0] else name.partition("/")[0])
    return {
        "library": "open_clip",
        "embed_dim": config["embed_dim"],
        "vision_cfg": config["vision_cfg"] | {"image_size": module.image_size},
        "quick_gelu": isinstance(module.transformer.resblocks[0].mlp.gelu, QuickGELU),
    }


def _open_clip(body: dict[str, Any], recipe: Preprocess) -> Trunk:
    from open_clip.model import _build_vision_tower

    from rice_core.encoders.open_clip import trunk

    tower = _build_vision_tower(body["embed_dim"], body["vision_cfg"], quick_gelu=body["quick_gelu"])
    return trunk(tower, recipe)
