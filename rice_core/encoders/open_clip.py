"""`open_clip:NAME/TAG`, `open_clip:NAME/WEIGHTS-FILE`, `open_clip:hf-hub:org/name`, `open_clip:local-dir:FOLDER`: image towers of open_clip."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch.func import functional_call

from rice_core.encoders.base import TorchEncoder, Trunk
from rice_core.encoders.hub import explained, json_object
from rice_core.encoders.preprocess import LibraryRecipe, PixelRecipe, by_size, channels
from rice_core.encoders.sizes import input_size, resized_table
from rice_core.errors import UserError, did_you_mean
from rice_core.spec import EncoderSpec


def load(spec: EncoderSpec) -> TorchEncoder:
    """Create by open_clip's own factory, keep the image tower.

    Raises:
        UserError: see `rice_core.encoders.load_encoder`; or the tower is a ResNet.
    """
    if spec.revision:
        raise UserError(f"{spec.title}: open_clip has no revisions; leave out @{spec.revision}.")
    with explained(spec), _quiet():
        tower: Any = _create(spec).visual
        recipe = _recipe(spec, tower.preprocess_cfg)
    if isinstance(tower, TimmModel):
        return _timm_tower(spec, tower, recipe)
    if (
        not isinstance(tower, VisionTransformer)
        or tower.attn_pool is not None
        or tower.patch_size[0] != tower.patch_size[1]
    ):
        raise UserError(f"{spec.title}: its image tower is no plain vision transformer; choose a ViT-... name.")
    return TorchEncoder(spec, trunk(tower, recipe))


def trunk(tower: Any, recipe: PixelRecipe) -> Trunk:
    """open_clip's own plain vision transformer -> Trunk."""
    return Trunk(
        module=tower,
        forward=_any_size(tower),
        blocks=tower.transformer.resblocks,
        norm=tower.ln_post,
        # Its own token output is behind the norm, except where it norms after pooling.
        normed=not tower.final_ln_after_pool,
        prefix=1,
        has_cls=True,
        patch=tower.patch_size[0],
        dim=tower.conv1.out_channels,
        recipe=recipe,
        architecture=_architecture(tower),
    )


def _create(spec: EncoderSpec) -> Any:
    kind, _, folder = spec.model.partition(":")
    if kind == "local-dir" and Path(folder).is_dir():
        _check_whole(spec, json_object(spec, Path(folder) / "open_clip_config.json"))
    if ":" in spec.model.split("/", 1)[0]:
        return open_clip.create_model(spec.model, require_pretrained=True, pretrained_text=False, weights_only=True)
    name, _, tag = spec.model.partition("/")
    if name not in open_clip.list_models():
        near = did_you_mean(name, open_clip.list_models())
        raise UserError(f"{spec.title}: open_clip has no {name!r}; {near or 'see open_clip.list_models().'}".rstrip())
    tags = open_clip.list_pretrained_tags_by_model(name)
    config = open_clip.get_pretrained_cfg(name, tag) if tag else None
    if not tag or not (config or Path(tag).is_file()):
        near = did_you_mean(tag, tags) or f"its tags begin with {', '.join(tags[:6]) or 'none'}."
        raise UserError(f"{spec.title}: write {name}/TAG or {name}/WEIGHTS-FILE; {near}".rstrip())
    return open_clip.create_model(
        name,
        pretrained=tag,
        # The tag knows the activation it was trained with; with the other one the features are quietly wrong.
        force_quick_gelu=bool(config and config.get("quick_gelu")),
        require_pretrained=True,
        pretrained_text=False,
        weights_only=True,
    )


def _check_whole(spec: EncoderSpec, body: dict[str, Any]) -> None:
    """Refuse a folder whose tower is described elsewhere: timm would read local-dir: and hf-hub: names, unnoticed by any digest."""
    part: Any = body
    for key in ("model_cfg", "vision_cfg", "timm_model_name"):
        part = part.get(key) if isinstance(part, dict) else None
    if isinstance(part, str) and ":" in part:
        raise UserError(
            f"{spec.title}: timm_model_name in its open_clip_config.json is {part!r}, which is described elsewhere; "
            "put a name of timm's own there."
        )


def _any_size(tower: Any) -> Callable[[torch.Tensor], object]:
    """Its position table has one size, so it is swapped for the call, resized as open_clip does when it loads."""

    def forward(pixels_B3HW: torch.Tensor) -> object:
        grid_hw = (pixels_B3HW.shape[-2] // tower.patch_size[0], pixels_B3HW.shape[-1] // tower.patch_size[1])
        table = resized_table(tower.positional_embedding, 1, grid_hw, antialias=True)
        return functional_call(tower, {"positional_embedding": table}, (pixels_B3HW,))

    return forward


def _timm_tower(spec: EncoderSpec, tower: Any, recipe: LibraryRecipe) -> TorchEncoder:
    """SigLIP and other towers that open_clip borrows from timm; they are set to one size once."""
    from rice_core.encoders.timm import trunk as timm_trunk

    found = timm_trunk(tower.trunk, recipe=recipe, title=spec.title, multires=False)
    size_hw = input_size(spec, found.patch, recipe.resolution)
    if size_hw != recipe.resolution:
        tower.trunk.set_input_size(img_size=size_hw)
    return TorchEncoder(spec, found)


def _recipe(spec: EncoderSpec, config: Any) -> LibraryRecipe:
    """open_clip's own evaluation transform, which its factory makes for any size."""
    if spec.interpolation in ("nearest", "lanczos"):
        raise UserError(
            f"{spec.title}: open_clip resizes by bicubic and bilinear interpolation alone; choose one of them."
        )
    body = (dict(config) if isinstance(config, dict) else asdict(config)) | spec.pixels
    size = body.pop("size")
    h, w = (int(side) for side in (size if isinstance(size, (list, tuple)) else (size, size)))
    body["mean"], body["std"] = channels(body["mean"]), channels(body["std"])
    body.pop("mode", None)  # RGB; it takes no other
    return LibraryRecipe(
        resolution=(h, w),
        mean=body["mean"],
        std=body["std"],
        # "random" is for training; outside of it open_clip takes bicubic.
        interpolation="bilinear" if body["interpolation"] == "bilinear" else "bicubic",
        image=by_size(lambda h, w: open_clip.image_transform((h, w), is_train=False, **body)),
        description={"open_clip": json.loads(json.dumps(body))},
    )


def _architecture(tower: Any) -> dict[str, Any]:
    """open_clip keeps no configuration on the tower; the modules' own description says what the weights do not."""
    return {
        "open_clip": open_clip.__version__,
        "tower": repr(tower),
        "heads": tower.transformer.resblocks[0].attn.num_heads,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs on the root logger, errors included; they reach the user as a UserError."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
