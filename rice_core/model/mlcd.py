"""The native trunk to and from the keys of `transformers.MLCDVisionModel`: renamed, qkv cut or fused, no value changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save

from rice_core.disk.files import write_atomically
from rice_core.errors import UserError
from rice_core.model.regions import RegionSettings
from rice_core.model.vit import ViT, ViTConfig
from rice_core.spec import Interpolation

PREFIX = "vision_model."
"""Of the keys in the hub's files. Flat keys are what `save_pretrained` of transformers 5 writes; both are read."""

_TRUNK = {
    "patch_embed.weight": "embeddings.patch_embedding.weight",
    "class_token": "embeddings.class_embedding",
    "pre_norm.weight": "pre_layrnorm.weight",  # the typo is part of the key
    "pre_norm.bias": "pre_layrnorm.bias",
    "post_norm.weight": "post_layernorm.weight",
    "post_norm.bias": "post_layernorm.bias",
}
_BLOCK = {
    "attention_norm": "layer_norm1",
    "attention.out": "self_attn.out_proj",
    "mlp_norm": "layer_norm2",
    "mlp_in": "mlp.fc1",
    "mlp_out": "mlp.fc2",
}


def to_mlcd_state_dict(state: Mapping[str, torch.Tensor], *, prefix: str = PREFIX) -> dict[str, torch.Tensor]:
    """A `ViT` state dict -> MLCD keys, each under `prefix`. Tensors are contiguous, as safetensors wants them."""
    out = {theirs: state[ours] for ours, theirs in _TRUNK.items()}
    out["class_pos_emb"] = state["class_angle"][None]
    for index in range(_depth(state, "blocks.")):
        ours, theirs = f"blocks.{index}.", f"encoder.layers.{index}."
        for kind in ("weight", "bias"):
            for name, part in zip("qkv", state[f"{ours}attention.qkv.{kind}"].chunk(3), strict=True):
                out[f"{theirs}self_attn.{name}_proj.{kind}"] = part
            for mine, yours in _BLOCK.items():
                out[f"{theirs}{yours}.{kind}"] = state[f"{ours}{mine}.{kind}"]
    # Views of one qkv would share memory, which safetensors refuses to write.
    return {prefix + key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in out.items()}


def from_mlcd_state_dict(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """MLCD keys, flat or under `vision_model.`, -> a `ViT` state dict.

    Raises:
        UserError: a key is missing or unknown, so this is no MLCD checkpoint.
    """
    # position_ids is a constant that old checkpoints carry along.
    left = {key.removeprefix(PREFIX): value for key, value in state.items() if not key.endswith("position_ids")}
    try:
        out = {ours: left.pop(theirs) for ours, theirs in _TRUNK.items()}
        out["class_angle"] = left.pop("class_pos_emb")[0]
        for index in range(_depth(left, "encoder.layers.")):
            ours, theirs = f"blocks.{index}.", f"encoder.layers.{index}."
            for kind in ("weight", "bias"):
                qkv = [left.pop(f"{theirs}self_attn.{name}_proj.{kind}") for name in "qkv"]
                out[f"{ours}attention.qkv.{kind}"] = torch.cat(qkv)
                for mine, yours in _BLOCK.items():
                    out[f"{ours}{mine}.{kind}"] = left.pop(f"{theirs}{yours}.{kind}")
    except KeyError as error:
        raise UserError(f"no MLCD checkpoint: it has no {error.args[0]!r}; give a checkpoint of that class.") from None
    if left:
        raise UserError(f"no MLCD checkpoint: {min(left)!r} is unknown; give a checkpoint of that class.")
    return out


def to_mlcd_config(config: ViTConfig) -> dict[str, object]:
    """What `config.json` of an MLCD folder says, so that transformers 4.51 to 5 load it."""
    return {
        "architectures": ["MLCDVisionModel"],
        "model_type": "mlcd_vision_model",
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_groups": 1,
        "num_channels": 3,
        "image_size": config.resolution,
        "patch_size": config.patch,
        "hidden_act": "gelu",
        "layer_norm_eps": config.eps,
    }


def from_mlcd_config(config: Mapping[str, object]) -> ViTConfig:
    """The shape that a `MLCDVisionConfig` describes.

    Raises:
        UserError: something that this trunk does not have: another activation, grouped keys, other than 3 channels.
    """
    for key, only in (("hidden_act", "gelu"), ("num_key_value_groups", 1), ("num_channels", 3)):
        if config.get(key, only) != only:
            raise UserError(f"this MLCD checkpoint has {key} = {config[key]!r}; the native trunk knows {only!r} alone.")
    hidden = int(str(config["hidden_size"]))
    return ViTConfig(
        width=hidden,
        depth=int(str(config["num_hidden_layers"])),
        heads=int(str(config["num_attention_heads"])),
        mlp_ratio=int(str(config["intermediate_size"])) / hidden,
        patch=int(str(config["patch_size"])),
        resolution=int(str(config["image_size"])),
        eps=float(str(config["layer_norm_eps"])),
    )


def save_hugging_face(
    folder: Path,
    vit: ViT,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    tags: Mapping[str, str],
    interpolation: Interpolation = "bicubic",
    regions: RegionSettings | None = None,
) -> None:
    """Write a folder that `MLCDVisionModel.from_pretrained`, `AutoModel` and `hf:FOLDER` load, and older scripts too.

    The keys stand under `vision_model.`, which `save_pretrained` of transformers 5 leaves out and conversion scripts of
    language models look for. `tags` and `regions` go to rice_config.json, which no other program
    reads.
    """
    side = vit.config.resolution
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": int(Image.Resampling[interpolation.upper()]),
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }
    files = {
        "config.json": to_mlcd_config(vit.config),
        "preprocessor_config.json": processor,
        "rice_config.json": {"regions": regions and regions.model_dump(mode="json"), "tags": dict(tags)},
    }
    state = {name: value.cpu() for name, value in vit.state_dict().items()}
    write_atomically(folder / "model.safetensors", save(to_mlcd_state_dict(state), metadata={"format": "pt"}))
    for name, body in files.items():
        write_atomically(folder / name, (json.dumps(body, indent=2) + "\n").encode())


def _depth(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    """Number of blocks whose keys start with `prefix` and an index."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
