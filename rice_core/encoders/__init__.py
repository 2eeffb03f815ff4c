"""Encoders: `load_encoder(spec)` finds the adapter of `spec.source` among the entry points of `ricebench.encoders`.

An adapter is a module with `load(spec) -> Encoder`. A new family is one such file and one entry point.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import cast

import torch

from rice_core.checkpoints import refuse_another_kind
from rice_core.disk.paths import at_home, is_told
from rice_core.errors import MissingExtra, UserError
from rice_core.features import Encoder
from rice_core.spec import EncoderSpec


def load_encoder(spec: EncoderSpec) -> Encoder:
    """Load the weights, on the CPU; `.to(device)` moves them. The global random state of torch is left as it was.

    Raises:
        UserError: unknown or gated model, no network, weights that do not fit or would have to be unpickled, remote code
            required, a size that the model cannot take. MissingExtra: the adapter's library is not installed.
    """
    try:
        if spec.told() == spec and is_told(spec.model) and not at_home(spec.model).exists():
            raise UserError(
                f"{spec.title} is how records call a folder that was given by its absolute path; give that path."
            )
        refuse_another_kind(spec)
        return _loaded(spec)
    except OSError as error:  # a folder in the place of a file, links in a circle, a name too long, no right to read
        said = error.strerror or type(error).__name__
        raise UserError(
            f"{spec.name or spec.shorthand}: it cannot be read ({said}); check the name and the files."
        ) from error


def _loaded(spec: EncoderSpec) -> Encoder:
    # Building a model draws from the global generator, and a probe's numbers must not depend on that.
    with torch.random.fork_rng(devices=[]):
        try:
            load = _adapter(spec.source).load()
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == "rice_core":
                raise
            raise MissingExtra(spec.title, "encoders") from error
        try:
            return cast(Encoder, load(spec))
        except UserError as error:
            # What is kept names no path; who typed one is told of it.
            error.args = (str(error).replace(spec.told().shorthand, spec.shorthand),)
            raise


def _adapter(source: str) -> EntryPoint:
    for point in entry_points(group="ricebench.encoders", name=source):
        return point
    raise UserError(f'no adapter for {source!r} is installed; run "pip install -e ." again in the project\'s folder.')
