"""`timm:NAME[.TAG][?weights=FILE]`, `timm:hf-hub:org/name[@revision]`, `timm:local-dir:FOLDER`: vision transformers of timm."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import timm.data
import torch
from timm.layers.helpers import to_2tuple
from timm.layers.hybrid_embed import HybridEmbed
from timm.models._hub import load_state_dict_from_hf, load_state_dict_from_path

from rice_core.checkpoints import LOCAL_DIR
from rice_core.disk.paths import at_home
from rice_core.encoders.base import TorchEncoder, Trunk
from rice_core.encoders.hub import explained, json_object
from rice_core.encoders.preprocess import LibraryRecipe, PixelRecipe, by_size, channels, interpolation_name
from rice_core.encoders.state import State, read_state, shape, side, without_heads
from rice_core.errors import UserError, did_you_mean
from rice_core.spec import EncoderSpec

_WORDS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1152: "so", 1280: "huge", 1408: "giant", 1536: "giant"}
"""What timm calls a width."""
_HUB = "hf-hub:"


def load(spec: EncoderSpec) -> TorchEncoder:
    """Create by timm's own factory with its published weights, able to take any multiple of the patch.

    Raises:
        UserError: see `rice_core.encoders.load_encoder`.
    """
    name = spec.model
    if spec.revision:
        if not name.startswith(_HUB):
            raise UserError(f"{spec.title}: only timm:hf-hub:org/name has revisions; leave out @{spec.revision}.")
        name = f"{name}@{spec.revision}"
    with explained(spec):
        if ":" not in name:
            _check_name(spec)
        if spec.weights is not None:
            model = _create_from(spec, at_home(spec.weights))
        elif name.startswith((LOCAL_DIR, _HUB)):
            model = _create_strictly(spec, name)
        else:
            model = _create(spec, name)
        recipe = _recipe(spec, model)
    found = trunk(model, recipe=recipe, title=spec.title)
    return TorchEncoder(spec, found if spec.weights is None else replace(found, facts=_facts(model, spec.weights)))


def trunk(model: Any, *, recipe: PixelRecipe, title: str, multires: bool = True) -> Trunk:
    """A timm vision transformer -> Trunk. Also for the timm towers inside open_clip.

    Raises:
        UserError: it is no plain vision transformer.
    """
    if not all(hasattr(model, part) for part in ("blocks", "patch_embed", "num_prefix_tokens")):
        raise UserError(f"{title}: {type(model).__name__} has no single patch grid; choose a plain vision transformer.")
    if isinstance(model.patch_embed, HybridEmbed):
        raise UserError(f"{title}: its patches are cut from a convolutional net; choose a plain vision transformer.")
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
        near = did_you_mean(architecture, timm.list_models()) or "see timm.list_models()."
        if spec.weights is not None:
            near = _what_fits(architecture, read_state(spec, at_home(spec.weights)))
        raise UserError(f"{spec.title}: timm {timm.__version__} has no {architecture!r}; {near}".rstrip())
    tags = timm.list_pretrained(architecture)
    if tag and spec.model not in tags:
        near = did_you_mean(spec.model, tags)
        raise UserError(f"{spec.title}: timm has no weights {tag!r} for it; {near}it has {', '.join(tags) or 'none'}.")
    if not tags and spec.weights is None:
        raise UserError(
            f"{spec.title}: timm has no weights for it; give timm:{architecture}?weights=FILE or another name."
        )


def _create(spec: EncoderSpec, name: str, **options: Any) -> Any:
    try:
        # Without dynamic_img_size a tower takes the size that it was trained at and no other.
        return timm.create_model(name, pretrained=True, num_classes=0, dynamic_img_size=True, **options)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        # Families without that setting have no free patch grid: convolutional nets, windowed transformers.
        raise UserError(f"{spec.title}: it cannot change its input size; choose a plain vision transformer.") from error


def _create_from(spec: EncoderSpec, path: Path) -> Any:
    """The weights of a file, renamed by the filter of timm that belongs to the name."""
    state = read_state(spec, path)
    try:
        return _create(spec, spec.model, **_given(state))
    except RuntimeError as error:
        if wrong := _wrong(error):
            raise UserError(f"{spec.title}: {path.name} {wrong}; {_what_fits(spec.model, state)}") from error
        raise


def _create_strictly(spec: EncoderSpec, name: str) -> Any:
    """As timm does with the file that timm chooses, but strictly: where the classes differ it would draw what is missing."""
    if name.startswith(LOCAL_DIR):
        folder = Path(name.removeprefix(LOCAL_DIR))
        if folder.is_dir():
            json_object(spec, folder / "config.json")
        state = load_state_dict_from_path(folder)
    else:
        state = load_state_dict_from_hf(name.removeprefix(_HUB), weights_only=True)
    overlay = {"source": "", "state_dict": without_heads(state), "num_classes": 0}
    try:
        return _create(spec, name, pretrained_cfg_overlay=overlay)
    except RuntimeError as error:
        if wrong := _wrong(error):
            raise UserError(f"{spec.title}: its file of weights {wrong}; give a complete checkpoint.") from error
        raise


def _given(state: State) -> dict[str, Any]:
    """Options that put `state` in the place of the published weights, at the size that it was trained for."""
    pixels = side(state)
    # With as many classes as the model (none) timm loads strictly, and does not draw what is missing at random.
    overlay: dict[str, Any] = {"state_dict": state, "num_classes": 0}
    if pixels is None:
        return {"pretrained_cfg_overlay": overlay}
    return {"pretrained_cfg_overlay": overlay | {"input_size": (3, pixels, pixels)}, "img_size": pixels}


def _wrong(error: RuntimeError) -> str:
    """torch's list of what does not fit, in short; empty for any other error."""
    message, said = str(error), []
    for kind, words in (("Missing", "lacks"), ("Unexpected", "has a stray")):
        if found := re.search(rf"{kind} key\(s\) in state_dict: (.*)", message):
            keys = re.findall(r'"([^"]+)"', found[1])
            said.append(f"{words} {keys[0]}" + (f" and {len(keys) - 1} more" if keys[1:] else ""))
    if found := re.search(r"size mismatch for (\S+): .*?\[([\d, ]*)\].*?\[([\d, ]*)\]", message):
        said.append(f"has {found[1]} of size {found[2]} where {found[3]} belongs")
    return " and ".join(said)


def _what_fits(asked: str, state: State) -> str:
    """Names of timm that take all of `state`, those like the asked one first; tried without memory for their weights."""
    width, depth, patch = shape(state)
    if not depth:
        return f"its tensors ({', '.join(list(state)[:2])}, ...) are not named as timm's or DINOv2's are; convert them first."
    inside = f"width {width}, depth {depth} and patch {patch}"
    empty = {key: value.to("meta") for key, value in state.items()}
    names = [name for name in timm.list_models(f"*patch{patch}*") if _WORDS.get(width, "") in name]
    names.sort(key=lambda name: -difflib.SequenceMatcher(None, name, asked).ratio())
    fitting = list(itertools.islice((name for name in names if _fits(name, empty)), 3))
    if not fitting:
        return f"no timm name fits its {inside}; give weights of a model that timm has, or export it for hf: or rice:."
    return f"its {inside} fit {' or '.join(f'timm:{name}' for name in fitting)}."


def _fits(name: str, empty: State) -> bool:
    try:
        with torch.device("meta"):
            model: Any = timm.create_model(
                name, pretrained=True, num_classes=0, dynamic_img_size=True, **_given(dict(empty))
            )
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, AssertionError):
        return False
    return hasattr(model, "blocks")


def _facts(model: Any, weights: str) -> dict[str, str]:
    """The file has weights alone: what else was taken from timm stands in the record."""
    config = model.default_cfg
    tag = f".{config['tag']}" if config.get("tag") else ""
    return {"weights": Path(weights).name, "preprocessing": f"as timm's {config.get('architecture')}{tag}"}


def _recipe(spec: EncoderSpec, model: Any) -> LibraryRecipe:
    """timm's own evaluation transform, which its factory makes for any size."""
    library: Any = timm.data
    config = library.resolve_model_data_config(model) | spec.pixels
    h, w = (int(side) for side in config["input_size"][1:])
    return LibraryRecipe(
        resolution=(h, w),
        mean=channels(config["mean"]),
        std=channels(config["std"]),
        interpolation=interpolation_name(config["interpolation"]),
        image=by_size(lambda h, w: library.create_transform(**config | {"input_size": (3, h, w)})),
        description=json.loads(json.dumps({"timm": config}, default=str)),
    )


def _architecture(model: Any) -> dict[str, Any]:
    arguments = {key: value for key, value in getattr(model, "_model_args", {}).items() if key != "num_classes"}
    body = {"name": model.default_cfg.get("architecture"), "arguments": arguments}
    return {"timm": timm.__version__, **json.loads(json.dumps(body, default=str))}
