"""The last blocks of an encoder against timm's and transformers' own, and against DINOv2's linear input."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import transformers as hf

from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.features import Layered
from rice_core.pooling import Pooling, blocks_of, class_vectors, side_by_side
from rice_core.spec import EncoderSpec

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


def load(typed: str) -> Any:
    return load_encoder(EncoderSpec.parse(typed))


def dinov2_linear_input(outputs: list[tuple[torch.Tensor, torch.Tensor]], n: int, *, avgpool: bool) -> torch.Tensor:
    """`create_linear_input` of dinov2/eval/linear.py, as published."""
    last = outputs[-n:]
    output = torch.cat([class_token for _, class_token in last], dim=-1)
    if avgpool:
        output = torch.cat((output, torch.mean(last[-1][0], dim=1)), dim=-1)
        output = output.reshape(output.shape[0], -1)
    return output.float()


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_class_vectors_are_dinov2_s_linear_input(written: dict[str, Any], layers: int) -> None:
    """On timm's `get_intermediate_layers`, which is DINOv2's."""
    checkpoint = written["timm-vit"]
    encoder, pixels = load(checkpoint.typed), checkpoint.pixels(4, 4)
    model = timm.create_model(f"local-dir:{checkpoint.folder}", pretrained=True).eval()
    found = model.get_intermediate_layers(pixels, n=layers, return_prefix_tokens=True, norm=True)
    outputs = [(patches, prefix[:, 0]) for patches, prefix in found]
    for kind, avgpool in (("cls", False), ("cls+mean", True)):
        pooling = Pooling(kind, layers)
        ours = class_vectors(blocks_of(encoder, pixels, pooling), pooling)
        torch.testing.assert_close(ours, dinov2_linear_input(outputs, layers, avgpool=avgpool), **CLOSE)
    grids = side_by_side(blocks_of(encoder, pixels, Pooling("mean", layers)))
    means = torch.cat([patches.mean(1) for patches, _ in outputs], 1)
    torch.testing.assert_close(grids.mean((2, 3)), means, **CLOSE)


@torch.no_grad()
def test_each_block_stands_behind_the_final_norm(written: dict[str, Any]) -> None:
    checkpoint = written["hf-dinov2"]
    pixels = checkpoint.pixels(4, 4)
    model = hf.Dinov2Model.from_pretrained(checkpoint.folder).eval()
    hidden = model(pixels, output_hidden_states=True).hidden_states
    blocks = load(checkpoint.typed).blocks(pixels, 3)
    raw = load(f"{checkpoint.typed}?norm=0").blocks(pixels, 3)
    for block, bare, tokens in zip(blocks, raw, hidden[-3:], strict=True):
        torch.testing.assert_close(block.cls_BC, model.layernorm(tokens)[:, 0], **CLOSE)
        torch.testing.assert_close(block.dense_BCHW.flatten(2).mT, model.layernorm(tokens)[:, 1:], **CLOSE)
        torch.testing.assert_close(bare.cls_BC, tokens[:, 0], **CLOSE)


@torch.no_grad()
def test_they_end_where_the_spec_s_layers_end(written: dict[str, Any]) -> None:
    checkpoint = written["hf-dinov2"]
    pixels = checkpoint.pixels(4, 4)
    three = load(checkpoint.typed).blocks(pixels, 3)
    (one, two) = load(f"{checkpoint.typed}?layers=0,-2").blocks(pixels, 2)
    torch.testing.assert_close(one.dense_BCHW, three[0].dense_BCHW)
    torch.testing.assert_close(two.cls_BC, three[1].cls_BC)
    with pytest.raises(UserError, match=r"has 2 blocks up to the one that its layers= names \(block 1\).*layers=2\."):
        load(f"{checkpoint.typed}?layers=-2").blocks(pixels, 3)


@torch.no_grad()
def test_every_family_gives_them_and_no_more_than_it_has(checkpoint: Any) -> None:
    case = checkpoint.case
    own = case.side // case.patch
    encoder, pixels = load(checkpoint.typed), checkpoint.pixels(own, own)
    assert isinstance(encoder, Layered)
    blocks = encoder.blocks(pixels, case.depth)
    assert [block.dense_BCHW.shape for block in blocks] == [encoder.encode(pixels).dense_BCHW.shape] * case.depth
    assert all((block.cls_BC is not None) == case.cls for block in blocks)
    normed = load(f"{checkpoint.typed}?norm=1").encode(pixels)
    torch.testing.assert_close(blocks[-1].dense_BCHW, normed.dense_BCHW)
    with pytest.raises(UserError, match=rf"has {case.depth} blocks; write layers=1 to layers={case.depth}"):
        encoder.blocks(pixels, case.depth + 1)
