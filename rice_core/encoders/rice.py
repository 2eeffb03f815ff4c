"""`rice:FOLDER` and `rice:builtin/NAME`: encoder.safetensors and encoder.json, as our own trainers write them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rice_core.disk.paths import at_home
from rice_core.encoders.base import TorchEncoder, Trunk
from rice_core.encoders.hub import about_file
from rice_core.encoders.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from rice_core.errors import UserError, did_you_mean, first_fault
from rice_core.model.regions import RegionSettings
from rice_core.model.vit import ViT, ViTConfig
from rice_core.spec import EncoderSpec, Frozen, Interpolation

WEIGHTS, CONFIG = "encoder.safetensors", "encoder.json"


class RiceFile(Frozen):
    """What encoder.json holds."""

    format: Literal[1] = 1
    vit: ViTConfig
    preprocess: Preprocess
    regions: RegionSettings | None = None
    """None where regions were not trained."""
    tags: dict[str, str] = {}
    """How it was trained: objective, data, command, commit. Shown in reports, never read."""


def save_rice(
    folder: Path,
    vit: ViT,
    *,
    tags: Mapping[str, str],
    mean: tuple[float, float, float] = CLIP_MEAN,
    std: tuple[float, float, float] = CLIP_STD,
    interpolation: Interpolation = "bicubic",
    regions: RegionSettings | None = None,
) -> None:
    """Write a folder that `rice:FOLDER` loads. Weights are kept in their own precision."""
    side = vit.config.resolution
    preprocess = Preprocess(resolution=(side, side), mean=mean, std=std, interpolation=interpolation)
    about = RiceFile(vit=vit.config, preprocess=preprocess, regions=regions, tags=dict(tags))
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().cpu().contiguous() for name, value in vit.state_dict().items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(about.model_dump_json(indent=2) + "\n")


def load(spec: EncoderSpec) -> TorchEncoder:
    """Read the folder.

    Raises:
        UserError: no such folder, a file is missing or damaged, or weights and configuration disagree.
    """
    folder = _folder(spec)
    try:
        about = RiceFile.model_validate_json((folder / CONFIG).read_bytes())
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError:
        raise UserError(
            f"{spec.title}: {folder} lacks {CONFIG} or {WEIGHTS}; give the folder that training wrote."
        ) from None
    except (ValidationError, SafetensorError) as error:
        said = first_fault(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:200]
        raise UserError(f"{spec.title}: a file in {folder} is damaged ({said}); export it again.") from error
    with about_file(spec, CONFIG):
        vit = ViT(about.vit)
    try:
        vit.load_state_dict(weights)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{spec.title}: weights and {CONFIG} disagree ({said}); export it again.") from error
    recipe = about.preprocess.model_copy(update=spec.pixels)
    return TorchEncoder(spec, native_trunk(vit, recipe, about.tags, about.regions))


def native_trunk(vit: ViT, recipe: Preprocess, tags: Mapping[str, str], regions: RegionSettings | None = None) -> Trunk:
    """Our own ViT as a Trunk; as in MLCD, patch tokens have no final norm and the class token has."""
    return Trunk(
        module=vit,
        forward=vit,
        blocks=list(vit.blocks),
        norm=vit.post_norm,
        normed=False,
        prefix=1,
        has_cls=True,
        patch=vit.config.patch,
        dim=vit.config.width,
        recipe=recipe,
        # The resolution is only where training ended; it changes no feature.
        architecture={"vit": vit.config.model_dump(mode="json", exclude={"resolution"})},
        facts=dict(tags),
        regions=regions,
    )


def _folder(spec: EncoderSpec) -> Path:
    if spec.revision:
        raise UserError(f"{spec.title}: a folder has no revisions; leave out @{spec.revision}.")
    head, _, name = spec.model.partition("/")
    if head != "builtin":
        folder = at_home(spec.model)
        if not folder.is_dir():
            raise UserError(f"{spec.title}: there is no folder {spec.model}; give one that holds {CONFIG}.")
        return folder
    shipped = Path(str(files("rice_core"))) / "data"
    names = sorted(path.parent.name for path in shipped.glob(f"*/{CONFIG}"))
    if name not in names:
        near = did_you_mean(name, names)
        raise UserError(
            f"{spec.title}: no such encoder ships with ricebench; {near}there is {', '.join(names) or 'none'}."
        )
    return shipped / name
