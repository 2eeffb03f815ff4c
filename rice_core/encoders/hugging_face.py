"""`hf:FOLDER` and `hf:org/name[@revision]`: vision transformers of the transformers library, alone or inside a CLIP or SigLIP.

A new family is one row of `families.FAMILIES`. Remote code is never run; a `.bin` is opened with `weights_only`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from torch import nn

from rice_core.checkpoints import checkpoint_files
from rice_core.encoders.base import TorchEncoder, Trunk
from rice_core.encoders.families import FAMILIES, Family
from rice_core.encoders.hub import about_file, explained, json_object, quiet
from rice_core.encoders.preprocess import PixelRecipe
from rice_core.encoders.processor import processor_recipe
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
    with explained(spec), quiet():
        family = _family(spec)
        module = _weights(spec, family)
        config: Any = module.config
        _check_geometry(spec, config)
        recipe, said = processor_recipe(spec, config)
        facts, regions = _left(spec, config)
        found = trunk(module, family, recipe=recipe, facts=facts | said, regions=regions)
    return TorchEncoder(spec, found)


def trunk(
    module: Any,
    family: Family,
    *,
    recipe: PixelRecipe,
    facts: Mapping[str, str] | None = None,
    regions: RegionSettings | None = None,
) -> Trunk:
    """A vision transformer of transformers -> Trunk."""
    config: Any = module.config
    return Trunk(
        module=module,
        forward=family.forward(module),
        blocks=_blocks(module, config.num_hidden_layers),
        norm=module.get_submodule(family.norm),
        normed=family.normed,
        prefix=int(family.cls) + family.others + getattr(config, "num_register_tokens", 0),
        has_cls=family.cls,
        patch=config.patch_size,
        dim=config.hidden_size,
        recipe=recipe,
        architecture=_architecture(config),
        facts=facts or {},
        regions=regions,
    )


def _family(spec: EncoderSpec) -> Family:
    folder = Path(spec.model)
    if folder.is_dir():
        _check_files(spec, folder)
        path = folder / "config.json"
        if not path.is_file():
            raise UserError(f"{spec.title}: the folder holds no config.json; give one in the hub's own layout.")
    else:
        path = Path(hf_hub_download(spec.model, "config.json", revision=spec.revision))
    body = json_object(spec, path)
    kind = body.get("model_type")
    if isinstance(kind, str) and kind in FAMILIES:
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
        # Whatever the file has: the spec's precision is set later, for parameters alone (`TorchEncoder`).
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused below, with their names
        **family.options,
    )
    tower: nn.Module = module.get_submodule(family.inside)
    _check_fit(spec, report, tower, family.inside, kind.base_model_prefix)
    return tower


def _check_fit(spec: EncoderSpec, report: dict[str, Any], tower: nn.Module, inside: str, base: str) -> None:
    """Refuse weights that are not those of the configuration; transformers goes on with random or without the surplus ones.

    Heads and text models beside the tower are left out on purpose.

    Args:
        inside: the tower's name in the module that was loaded, or nothing.
        base: the prefix that keys of the tower may have in the file as well.
    """
    for key, found, wanted in sorted(each for each in report["mismatched_keys"] if each[0].startswith(inside)):
        raise UserError(
            f"{spec.title}: {key} is {'x'.join(map(str, found))} in its weights and {'x'.join(map(str, wanted))} by its "
            "config.json; give the two that belong together."
        )
    missing = sorted(key for key in report["missing_keys"] if key.startswith(inside) and not _idle(key))
    if missing:
        raise UserError(
            f"{spec.title}: its weights lack {missing[0]} and {len(missing) - 1} more; give a complete checkpoint."
        )
    prefixes = {f"{prefix}." if prefix else "" for prefix in ("", inside, base)}
    parts = tuple(f"{prefix}{name}." for prefix in prefixes for name, _ in tower.named_children())
    surplus = sorted(key for key in report["unexpected_keys"] if key.startswith(parts) and not _idle(key))
    if surplus:
        raise UserError(
            f"{spec.title}: its weights hold {surplus[0]} and {len(surplus) - 1} more that its config.json knows nothing "
            "of (more layers, or another model_type?); give the two that belong together."
        )


def _idle(key: str) -> bool:
    """Whether a tensor has no effect on features: computed tables, and the stand-in for hidden patches."""
    return key.rsplit(".", 1)[-1] in {"position_ids", "relative_position_index", "mask_token", "inv_freq"}


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


def _architecture(config: Any) -> dict[str, Any]:
    body = config.to_dict()
    for name in ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"):
        body.pop(name, None)
    return {"transformers": transformers.__version__, "config": json.loads(json.dumps(body, default=str))}


def _left(spec: EncoderSpec, config: Any) -> tuple[dict[str, str], RegionSettings | None]:
    """The hub's commit, or what our own export left beside the weights of a folder: training tags, region settings."""
    if getattr(config, "_commit_hash", None):
        return {"hub commit": config._commit_hash}, None
    path = Path(spec.model) / "rice_config.json"
    if not path.is_file():
        return {}, None
    body = json_object(spec, path)
    with about_file(spec, path.name):
        regions = body.get("regions")
        facts = {str(key): str(value) for key, value in body.get("tags", {}).items()}
        return facts, None if regions is None else RegionSettings.model_validate(regions)
