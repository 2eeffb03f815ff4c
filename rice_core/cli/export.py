"""The command that converts an encoder between our own folders and Hugging Face's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rice_core.cli.options import own_path
from rice_core.echo import echo
from rice_core.errors import UserError, did_you_mean


def export(
    encoder: Annotated[str, typer.Argument(help="rice:FOLDER, or hf: of a checkpoint of RICE's or MLCD's class.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must be empty or not there.", callback=own_path)],
    to: Annotated[str, typer.Option(help="hf: for transformers and hf:OUT. rice: for rice:OUT.")] = "hf",
) -> None:
    """Write an encoder as a Hugging Face folder that AutoModel loads, or as a folder of ours."""
    from rice_core.catalogue import resolve
    from rice_core.encoders import load_encoder
    from rice_core.encoders.preprocess import as_ours
    from rice_core.encoders.regions import native_trunk_of
    from rice_core.encoders.rice import save_rice
    from rice_core.model.mlcd import save_hugging_face

    if to not in ("hf", "rice"):
        raise UserError(
            f"--to {to} is not known; {did_you_mean(to, ('hf', 'rice'), {'huggingface': 'hf'})}use hf or rice."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; choose a new folder.")
    spec = resolve(encoder)
    loaded = load_encoder(spec)
    trunk, recipe = native_trunk_of(loaded)
    ours = as_ours(recipe, spec.title)
    tags = dict(getattr(loaded, "facts", {})) | {"exported from": spec.told().shorthand}
    save = save_hugging_face if to == "hf" else save_rice
    save(
        out,
        trunk,
        tags=tags,
        mean=ours.mean,
        std=ours.std,
        interpolation=ours.interpolation,
        regions=getattr(loaded, "regions", None),
    )
    echo(f"Written; use it as {to}:{out}")
