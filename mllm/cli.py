"""The command that writes a trained language model for transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.cli.options import DEFAULT_STORE, StoreOption, own_path
from rice_core.echo import echo
from rice_core.errors import UserError

if TYPE_CHECKING:
    from rice_core.features import Encoder
    from rice_core.stage import Trained
    from rice_core.store import Store


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("export-llava")(export_llava)


def export_llava(
    stage: Annotated[
        str, typer.Argument(help="Id of a training of a language model in the store, as `ricebench status` shows it.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must be empty or not there.", callback=own_path)],
    encoder: Annotated[
        str | None, typer.Option("--encoder", "-e", help="What it was trained with, where that is a folder.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a trained language model with its encoder as a folder that AutoModelForImageTextToText loads."""
    from mllm.llava.export import export_llava as write
    from mllm.llava.kept import load_llava
    from rice_core.measure.trained import BROKEN, Shelf
    from rice_core.store import Store

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; choose a new folder.")
    opened = Store(store)
    trained = _trained(opened, stage)
    if Shelf(opened).digest(stage) == BROKEN:
        raise UserError(f"stage {stage}: its files are damaged; run the same command that trained it again.")
    speaker = load_llava(opened.stage(stage), _encoder(trained, encoder))
    request = trained.request
    about = f"{request.encoder.title} with {request.stage.params.get('lm', 'a language model')}, trained by ricebench ({request.title})."
    write(speaker, out, about)
    echo(f"Written; {out / 'README.md'} says how it is loaded.")


def _trained(store: Store, stage: str) -> Trained:
    from rice_core.measure.trained import all_trained

    found = {each.request.id: each for each in all_trained(store)}
    if stage not in found:
        raise UserError(f"There is no training {stage} in {store.root}; `ricebench status` lists what there is.")
    return found[stage]


def _encoder(trained: Trained, given: str | None) -> Encoder:
    """With the weights that the training began from.

    Raises:
        UserError: it cannot be found by its name, or is another.
    """
    from rice_core.catalogue import resolve
    from rice_core.disk.paths import is_told
    from rice_core.encoders import load_encoder

    spec = trained.request.encoder
    if given is None and is_told(spec.model):
        raise UserError(
            f"{spec.title} is a folder whose place is not kept; say where it is, as in -e {spec.source}:FOLDER."
        )
    asked = spec if given is None else resolve(given)
    # As in the training: its tiles and layers are the request's.
    encoder = load_encoder(
        spec.model_copy(update={"model": asked.model, "weights": asked.weights, "revision": asked.revision})
    )
    if encoder.weights_digest() != trained.evidence.weights:
        raise UserError(
            f"{encoder.spec.title} has other weights than the training began with; give the encoder that it was trained with (-e)."
        )
    return encoder
