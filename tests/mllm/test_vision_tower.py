"""Towers that are refused, and what is special to one. Every family as a tower is in tests/encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf
from tiny_llava import CLIP, SIDE, clip_encoder, noise, shaken

from mllm.llava.packing import Anyres
from mllm.llava.vision import VisionTower
from rice_core.encoders import load_encoder
from rice_core.encoders.own import wrap
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec


def load(typed: str) -> VisionTower:
    return VisionTower(load_encoder(EncoderSpec.parse(typed)))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
def test_layer_minus_2_is_the_last_of_a_model_without_its_last_block(tmp_path: Path, kind: str) -> None:
    models = {"clip": "CLIPVision", "siglip": "SiglipVision", "dinov2": "Dinov2"}
    vision = {key: value for key, value in CLIP.items() if kind != "dinov2" or key != "intermediate_size"}
    config, model = getattr(hf, f"{models[kind]}Config"), getattr(hf, f"{models[kind]}Model")
    whole = shaken(model(config(**vision)), 0)
    less = model(config(**vision | {"num_hidden_layers": 2}))
    less.load_state_dict(whole.state_dict(), strict=False)
    processor = hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    for each, name in ((whole, "whole"), (less, "less")):
        each.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
    tower = load(f"hf:{tmp_path / 'whole'}")
    pixels = torch.randn(2, 3, SIDE, SIDE)
    last = load_encoder(EncoderSpec.parse(f"hf:{tmp_path / 'less'}?norm=0")).encode(pixels).dense_BCHW
    assert torch.equal(tower(pixels), last.flatten(2).transpose(1, 2))
    theirs = whole(pixels, output_hidden_states=True).hidden_states[-2]
    assert torch.allclose(tower(pixels), theirs[:, int(kind != "siglip") :], atol=1e-5)


@torch.no_grad()
def test_a_side_that_the_patch_does_not_divide_is_the_tiles(tmp_path: Path) -> None:
    vision = CLIP | {"image_size": 30}  # patches of 7: four of them and two pixels
    model = shaken(hf.SiglipVisionModel(hf.SiglipVisionConfig(**vision)), 0)
    model.save_pretrained(tmp_path)
    hf.SiglipImageProcessor(size={"height": 30, "width": 30}).save_pretrained(tmp_path)
    tower = load(f"hf:{tmp_path}")
    anyres = Anyres(tower.side, tower.patch)
    tiles = anyres.tiles(noise(60, 45), tower.recipe)
    assert (tower.side, tiles.shape[2:], anyres.plan(60, 45).grid) == (30, (30, 30), 4)
    theirs = model(tiles, output_hidden_states=True).hidden_states[-2]
    assert tower(tiles).shape == theirs.shape == (len(tiles), 16, tower.dim)
    assert torch.allclose(tower(tiles), theirs, atol=1e-5)


def test_it_stays_in_the_mode_that_features_are_read_in(tmp_path: Path) -> None:
    tower = VisionTower(clip_encoder(tmp_path))
    outer = torch.nn.ModuleList([tower]).train()
    assert outer.training
    assert not any(part.training for part in tower.modules())


class Squares(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3 * 64))

    def forward(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pixel_unshuffle(pixels_B3HW, 8) * self.weight[:, None, None]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("synthetic:noise", "has no blocks and weights that a language model could be trained with"),
        ("synthetic:oracle", "has no blocks and weights"),
        ("synthetic:random-weights?layers=-2", "leave out layers= and norm="),
        ("synthetic:random-weights?norm=1", "leave out layers= and norm="),
        ("synthetic:random-weights?dtype=bf16", "small steps are lost in weights of bfloat16; leave out dtype="),
        ("synthetic:random-weights?res=64x96", "64x96 make no square tiles; give it one side, as in res=64"),
    ],
)
def test_what_cannot_be_a_tower_is_refused(typed: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(typed)


def test_an_encoder_of_one_block_has_no_second_to_last() -> None:
    half = (0.5, 0.5, 0.5)
    encoder = wrap(Squares(), size=32, patch=8, mean=half, std=half, name="squares")
    with pytest.raises(UserError, match="squares has no block -2, which the language model reads"):
        VisionTower(encoder)
    assert VisionTower(encoder, layer=-1)(torch.ones(1, 3, 32, 32)).shape == (1, 16, 192)


def test_another_size_is_the_tiles() -> None:
    tower = load("synthetic:random-weights?res=64")
    assert tower.side == 64
    assert tower(torch.zeros(2, 3, 64, 64)).shape == (2, 64, 96)
