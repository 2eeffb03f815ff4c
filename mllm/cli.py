"""The commands of language models: one writes a trained one for transformers, one writes tasks for lmms-eval."""

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
    """Add the commands of this file."""
    app.command("export-llava")(export_llava)
    app.command("lmms-tasks")(lmms_tasks)


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
    from mllm.llava.weights import read_kept
    from rice_core.measure.trained import BROKEN, Shelf
    from rice_core.store import Store

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; choose a new folder.")
    opened = Store(store)
    trained = _trained(opened, stage)
    if Shelf(opened).digest(stage) == BROKEN:
        raise UserError(f"stage {stage}: its files are damaged; run the same command that trained it again.")
    folder, title = opened.stage(stage), trained.request.encoder.title
    speaker = load_llava(folder, _encoder(trained, encoder))
    write(speaker, out, f"{title} with {read_kept(folder).model.lm}, trained by ricebench (stage {stage}).")
    echo(f"Written; {out / 'README.md'} says how it is loaded.")


def _trained(store: Store, stage: str) -> Trained:
    """
    Raises:
        UserError: it is not there, or nothing that answers.
    """
    from mllm.llava.weights import LANGUAGE_MODEL, LLAVA
    from rice_core.measure.trained import all_trained

    found = {each.request.id: each for each in all_trained(store)}
    speaking = [name for name in found if all((store.stage(name) / part).exists() for part in (LLAVA, LANGUAGE_MODEL))]
    if stage in speaking:
        return found[stage]
    there = "".join(f", {name} ({found[name].request.title})" for name in speaking).removeprefix(", ")
    wrong = f"{stage} ({found[stage].request.title}) has no" if stage in found else f"{stage} is no training of a"
    raise UserError(
        f"{wrong} language model that answers in {store.root}; "
        + (f"there is {there}." if there else "train one first, as with -p docvqa.")
    )


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


def lmms_tasks(
    data: Annotated[Path, typer.Argument(help="Folder with the benchmarks' repositories.", callback=own_path)],
    out: Annotated[Path, typer.Argument(help="Folder for lmms-eval's --include_path.", callback=own_path)],
) -> None:
    """Write task files by which lmms-eval asks any of its models the questions of this folder, offline: local_docvqa_val and so on."""
    from mllm.evaluate.local_task import LOCAL, write_task
    from mllm.evaluate.requirements import requirements_of
    from mllm.evaluate.tables import find_tables

    tables = find_tables(data)
    if not tables:
        raise UserError(f"{data} has no table of questions; give the folder that benchmarks were fetched into.")
    requirements_of(next(iter(tables)))  # lmms-eval, whose own files they include
    for task, files in tables.items():
        write_task(out, task, [str(file.absolute()) for file in files], name=f"{LOCAL}{task}")
    names = ",".join(f"{LOCAL}{task}" for task in tables)
    echo(
        f"Written; python -m lmms_eval --include_path {out} --tasks {names} --log_samples --output_path ANSWERS --model NAME --model_args ..."
    )
    echo(f"Then: ricebench evaluate answers --results ANSWERS --data {data}")
