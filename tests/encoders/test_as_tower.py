"""Every family as the vision tower of a language model."""

from __future__ import annotations

from typing import Any

import torch

from mllm.llava.vision import VisionTower
from rice_core.encoders import load_encoder
from rice_core.encoders.base import TorchEncoder
from rice_core.features import Encoder
from rice_core.spec import EncoderSpec


def loaded(checkpoint: Any) -> Encoder:
    return load_encoder(EncoderSpec.parse(checkpoint.typed))


def tile(checkpoint: Any) -> torch.Tensor:
    case = checkpoint.case
    return checkpoint.pixels(case.side // case.patch, case.side // case.patch)


@torch.no_grad()
def test_tokens_are_the_second_to_last_block_without_prefix_and_norm(checkpoint: Any) -> None:
    case, pixels = checkpoint.case, tile(checkpoint)
    tower = VisionTower(loaded(checkpoint))
    (tokens_KCgg,) = loaded(checkpoint).levels(pixels, [-2])
    found_KTC = tower(pixels)
    assert (tower.dim, tower.patch, tower.side) == (case.dim, case.patch, case.side)
    assert torch.equal(found_KTC, tokens_KCgg.flatten(2).transpose(1, 2))
    assert found_KTC.shape == (2, (case.side // case.patch) ** 2, case.dim)
    theirs = case.reference(checkpoint.folder)(pixels) if case.reference else []
    if len(theirs) > 1:
        assert torch.allclose(found_KTC, theirs[-2][:, case.prefix :], atol=2e-5, rtol=1e-4)


def test_it_trains_and_loads_again_to_the_bit(checkpoint: Any) -> None:
    encoder, pixels = loaded(checkpoint), tile(checkpoint)
    before, digest = VisionTower(encoder)(pixels).detach(), encoder.weights_digest()
    tower = VisionTower(encoder)
    trained = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    tower(pixels).square().mean().backward()
    assert trained
    assert all(parameter.grad is not None for parameter in trained)
    torch.optim.SGD(trained, 0.1).step()
    after = tower(pixels).detach()
    assert not torch.allclose(after, before, atol=1e-4)
    again = VisionTower(loaded(checkpoint))
    again.load_state_dict(tower.state_dict())
    assert torch.equal(again(pixels), after)
    assert torch.equal(VisionTower(encoder)(pixels), before)  # the encoder itself is as it was
    assert loaded(checkpoint).weights_digest() == digest


def test_what_lies_behind_the_layer_is_frozen_and_all_else_trained(checkpoint: Any) -> None:
    tower = VisionTower(loaded(checkpoint))
    depth = checkpoint.case.depth
    frozen = {name for name, parameter in tower.named_parameters() if not parameter.requires_grad}
    last = {name for name, _ in tower.named_parameters() if f".{depth - 1}." in name}
    before = {name for name, _ in tower.named_parameters() if any(f".{k}." in name for k in range(depth - 1))}
    assert last
    assert last <= frozen
    assert not before & frozen


def test_what_lies_behind_the_layer_is_not_computed(checkpoint: Any) -> None:
    encoder = loaded(checkpoint)
    assert isinstance(encoder, TorchEncoder)
    tower = VisionTower(encoder)
    run: list[int] = []
    blocks = list(tower.encoder._trunk.blocks)
    for k, block in enumerate(blocks):
        next(block.children()).register_forward_hook(lambda *_, k=k: run.append(k))
    tower(tile(checkpoint))
    assert sorted(set(run)) == list(range(checkpoint.case.depth - 1))
    assert len(blocks) == checkpoint.case.depth
    # The encoder itself computes all of them.
    assert "forward" not in vars(list(encoder._trunk.blocks)[-1])
