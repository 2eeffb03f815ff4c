"""The catalogue: short names for encoders people compare, with what is known of each. Rows are in catalogue.yaml.

Imports no torch, so that `ricebench list` stays quick.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import Field, TypeAdapter

from rice_core.checkpoints import reading_strings, refuse_another_kind
from rice_core.disk.paths import at_home
from rice_core.errors import UnknownModel, UserError, did_you_mean
from rice_core.spec import SOURCES, EncoderSpec, Frozen


class CatalogueRow(Frozen):
    """One row. None is not known; it is never guessed."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    spec: str
    """Shorthand of `EncoderSpec`."""
    patch: int | None = None
    resolution: int | None = None
    """The model's own side in pixels, as far as its patch divides it."""
    prefix: int | None = None
    """Tokens before the patch grid."""
    mean_std: Literal["clip", "imagenet", "half", "none"] | None = None
    licence: str | None = None
    gated: bool | None = None
    """Whether the hub asks for an agreement before the download."""
    training_data: str | None = None
    overlap: str | None = None
    """What of common probe data the training has seen."""
    notes: str | None = None
    unreadable: str | None = None
    """Why it cannot be loaded; None where it can."""

    @property
    def source(self) -> str:
        return EncoderSpec.parse(self.spec).source

    @property
    def model(self) -> str:
        return EncoderSpec.parse(self.spec).model


@cache
def entries() -> tuple[CatalogueRow, ...]:
    """All rows, in the file's order."""
    text = (files("rice_core") / "catalogue.yaml").read_text(encoding="utf-8")
    return TypeAdapter(tuple[CatalogueRow, ...]).validate_python(tuple(yaml.safe_load(text)))


def resolve(text: str) -> EncoderSpec:
    """A catalogue id with optional settings (`dinov2-l14?res=518`), or a full shorthand (`[name=]source:model...`).

    The id becomes the display name, with its settings, so that two resolutions of one encoder stay apart.

    Raises:
        UserError: no such id, an entry that cannot be loaded, a shorthand that cannot be read, or a path that another string
            reads.
    """
    text = text.strip()
    name, equals, rest = text.partition("=")
    if not equals or "?" in name or ":" in name:
        name, rest = "", text
    if ":" in rest.split("?", 1)[0]:
        spec = EncoderSpec.parse(text)
        refuse_another_kind(spec)
        return spec
    id_, question, settings = rest.partition("?")
    for entry in entries():
        if entry.id == id_:
            if entry.unreadable:
                raise UserError(
                    f"{id_} cannot be loaded: {entry.unreadable}; choose another of `ricebench list encoders`."
                )
            return EncoderSpec.parse(entry.spec + question + settings).model_copy(update={"name": name.strip() or rest})
    if strings := reading_strings(at_home(id_)):
        raise UserError(f"{id_} says no source; write {' or '.join(strings)}.")
    # Of the ids; of whole strings where the source alone was left out.
    near = did_you_mean(id_, [entry.id for entry in entries()], {e.model.casefold(): e.spec for e in entries()})
    raise UserError(
        f"there is no encoder {id_!r}; {near}`ricebench list encoders` lists them, "
        f"or write source:model with source one of {', '.join(SOURCES)}."
    )


def explained(error: UserError) -> str:
    """Its sentence, with the models of the catalogue that are called like one that the hub does not have.

    Here and not where models are loaded: a row more in the catalogue must not change the digest of that code.
    """
    if not isinstance(error, UnknownModel):
        return str(error)
    models = [entry.model for entry in entries() if ":" not in entry.model]
    near = did_you_mean(error.model, models).rstrip()
    return f"{str(error).rstrip('.')}; {near}" if near else str(error)
