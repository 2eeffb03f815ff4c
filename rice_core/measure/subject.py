"""Subject: an encoder that is measured, loaded and on its device."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rice_core.digest import json_digest
from rice_core.encoders import load_encoder
from rice_core.encoders.private import set_up_now, weights_now
from rice_core.errors import UserError, did_you_mean
from rice_core.features import Encoder
from rice_core.measure.closure import digest_as_loaded
from rice_core.measure.known import Identity
from rice_core.measure.provenance import commit, libraries, number_code, number_modules
from rice_core.record import Evidence
from rice_core.spec import EncoderSpec


class Subject:
    """An encoder, loaded and on its device.

    Raises:
        UserError: it cannot be loaded, or there is no such device.
    """

    def __init__(self, spec: EncoderSpec | Encoder, device: str) -> None:
        loaded: Any = load_encoder(spec) if isinstance(spec, EncoderSpec) else spec
        self._sources: tuple[str, ...] = getattr(loaded, "sources", ())
        if self._sources:  # a module of the user's (rice_core.encoders.own)
            loaded = loaded.made_of(json_digest([digest_as_loaded(name, name) for name in self._sources]))
        self.encoder: Encoder = loaded.to(pick_device(device))
        self.identity = Identity(weights=self.encoder.weights_digest(), architecture=self.encoder.architecture_digest())
        self._set_up = set_up_now(self.encoder)
        self.spoilt = ""
        """Why nothing can be measured any more, on whatever data set: a cell changed the encoder."""

    def evidence(self, made_by: Any, data: str, *, training: bool = False) -> Evidence:
        """What a number of this encoder is made from, or the weights of a training.

        Args:
            made_by: the class of the probe, or of the stage.
        """
        encoder = self.encoder
        source = encoder.spec.source
        head, dirty = commit((*number_modules(made_by, source, training=training), *self._sources))
        return Evidence(
            weights=self.identity.weights,
            architecture=self.identity.architecture,
            data=data,
            code=number_code(made_by, source, training=training),
            shared_code=number_code(made_by, training=training),
            commit=head,
            dirty=dirty,
            libraries=libraries(made_by),
            device=torch.cuda.get_device_name(encoder.device) if encoder.device.type == "cuda" else encoder.device.type,
            n_params=encoder.n_params,
            dim=encoder.dim,
            patch=encoder.patch,
            resolution=encoder.spec.resolution or (0, 0),
            encoder_facts=dict(getattr(encoder, "facts", {})),
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )

    def changed(self, by: str) -> str:
        """What to say of the encoder, where it is no longer what was loaded; empty where it is.

        Weights are read anew: a number of changed ones would stand under the digest of the old ones.
        """
        if weights_now(self.encoder) != self.identity.weights:
            what = "the weights"
        elif set_up_now(self.encoder) != self._set_up:
            what = "the forward pass (its mode, a hook, or a forward put in its place)"
        else:
            return ""
        return (
            f"{by} changed {what} of the encoder that it shares with other cells, so that its numbers are nobody's; "
            "work on a copy, work.private(encoder), in its place."
        )


def pick_device(wanted: str) -> str:
    """`auto` becomes cuda, mps or cpu.

    Raises:
        UserError: the device asked for is not there.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        near = did_you_mean(wanted, ("auto", "cpu", "cuda", "mps"), {"gpu": "cuda"})
        raise UserError(f"There is no device {wanted!r} here ({reason}); {near}use --device cpu.") from None
    return wanted


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global generators seeded after the encoder was built (building one consumes them), and put back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])
