"""`hf:FOLDER` and `hf:org/name[@revision]`: vision transformers of the transformers library, alone or inside a CLIP or SigLIP.

A new family is one row of `families.FAMILIES`. Remote code is never run; a `.bin` is opened with `weights_only`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from torch import nn
from transformers import AutoImageProcessor

from rice_core.checkpoints import checkpoint_files
from rice_core.encoders.base import TorchEncoder, Trunk
from rice_core.encoders.families import FAMILIES, Family
from rice_core.encoders.hub import explained
from rice_core.encoders.preprocess import Preprocess, interpolation_name
from rice_core.errors import UserError
from rice_core.model.regions import RegionSettings
from rice_core.spec import EncoderSpec


def load(spec: EncoderSpec) -> TorchEncoder:
    """Read config.json, then weights and image processor by the native class alone.

    Raises:
        UserError: see `rice_core.encoders.load_encoder`.
    """
    if spec.revision and Path(spec.model).is_dir():
        raise UserError(f"{spec.title}: a folder has no revisions; leave out @{spec.revision}.")
    with explained(spec), _quiet():
        family = _family(spec)
        module = _weights(spec, family)
        config: Any = module.config
        _check_geometry(spec, config)
        trunk = Trunk(
            module=module,
            forward=family.forward(module),
            blocks=_blocks(module, config.num_hidden_layers),
            norm=module.get_submodule(family.norm),
            normed=family.normed,
            prefix=int(family.cls) + family.others + getattr(config, "num_register_tokens", 0),
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
        _check_files(spec, folder)
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


def _check_files(spec: EncoderSpec, folder: Path) -> None:
    """Refuse a folder whose weights are elsewhere: nobody could say what was measured."""
    if "adapter_config.json" in checkpoint_files(folder):
        # With peft installed transformers takes the model that it names instead, and without peft ignores it.
        raise UserError(
            f"{spec.title}: the folder holds a PEFT adapter (adapter_config.json), whose base model is elsewhere; "
            "merge it into its base (merge_and_unload) and give the folder of that."
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
        **family.options,
    )
    # Heads beside the tower are not used; only training asks for a mask token.
    missing = [
        key for key in report["missing_keys"] if key.startswith(family.inside) and not key.endswith("mask_token")
    ]
    wrong = sorted(missing) + sorted(str(key) for key in report.get("mismatched_keys", ()))
    if wrong:
        # transformers would go on with random numbers in their place.
        raise UserError(
            f"{spec.title}: its weights lack {wrong[0]} and {len(wrong) - 1} more; give a complete checkpoint."
        )
    tower: nn.Module = module.get_submodule(family.inside)
    return tower


def _check_geometry(spec: EncoderSpec, config: Any) -> None:
    """What transformers would find out at the first image, or not at all."""
    image, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    if not isinstance(config.patch_size, int):
        raise UserError(f"{spec.title}: its patch_size is {config.patch_size}; choose a model with one square patch.")
    if isinstance(image, (list, tuple)) and len(set(image)) > 1:
        raise UserError(
            f"{spec.title}: its image_size is {image}; choose a model of square images, whose positions can be resized."
        )
    if channels != 3:
        raise UserError(f"{spec.title}: it takes images of {channels} channels; choose a model of RGB images.")


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
