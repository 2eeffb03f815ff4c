"""Every family's network, built again without its checkpoint, is the same function of its weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from rice_core.encoders import load_encoder
from rice_core.encoders.base import TorchEncoder, tokens_of
from rice_core.encoders.blank import built, described
from rice_core.encoders.own import wrap
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec


@torch.no_grad()
def test_a_network_built_anew_takes_the_weights_and_gives_the_same_bits(checkpoint: Any) -> None:
    case = checkpoint.case
    encoder = load_encoder(EncoderSpec.parse(checkpoint.typed))
    assert isinstance(encoder, TorchEncoder)
    body = json.loads(json.dumps(described(encoder)))
    assert str(checkpoint.folder) not in json.dumps(body)
    state = torch.random.get_rng_state()
    trunk = built(body, case.side)
    assert torch.equal(torch.random.get_rng_state(), state)
    trunk.module.load_state_dict(encoder.module.state_dict())
    trunk.module.eval()
    pixels = checkpoint.pixels(case.side // case.patch, case.side // case.patch)
    (found,) = tokens_of(trunk, pixels, [case.depth - 2])
    (expected,) = encoder.levels(pixels, [-2])
    assert torch.equal(found[:, case.prefix :], expected.flatten(2).transpose(1, 2))
    assert (trunk.prefix, trunk.patch, trunk.dim) == (case.prefix, case.patch, case.dim)


def test_a_module_of_ones_own_cannot_be_described() -> None:
    half = (0.5, 0.5, 0.5)
    encoder = wrap(torch.nn.PixelUnshuffle(8), size=32, patch=8, mean=half, std=half, name="squares")
    with pytest.raises(UserError, match=r"squares: nobody but its own code can build its network; export an encoder"):
        described(encoder)


def test_a_network_built_where_another_precision_is_the_default_is_float32() -> None:
    encoder = load_encoder(EncoderSpec.parse("synthetic:random-weights"))
    assert isinstance(encoder, TorchEncoder)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            trunk = built(described(encoder), 96)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    assert {(each.dtype, each.device.type) for each in trunk.module.parameters()} == {(torch.float32, "cpu")}
