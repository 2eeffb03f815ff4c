"""The native trunk against `transformers.MLCDVisionModel`, both ways, square and non-square."""

import json

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from transformers import MLCDVisionConfig, MLCDVisionModel

from rice_core.errors import UserError
from rice_core.model.mlcd import from_mlcd_state_dict, to_mlcd_config, to_mlcd_state_dict
from rice_core.model.vit import ViT, ViTConfig

CONFIG = ViTConfig(width=48, depth=3, heads=2, mlp_ratio=2.5, patch=4, resolution=16)
SIZES = [(16, 16), (12, 24), (24, 8)]


def _mlcd() -> MLCDVisionModel:
    return MLCDVisionModel(MLCDVisionConfig.from_dict(to_mlcd_config(CONFIG)))


def _shuffled(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Norms start at one and biases at zero; random values make a swap of two of them visible."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_from_mlcd_computes_the_same(h, w):
    theirs = _shuffled(_mlcd(), 0)
    ours = ViT(CONFIG).eval()
    ours.load_state_dict(from_mlcd_state_dict(theirs.state_dict()))
    pixels = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want, (got,) = theirs(pixels), ours(pixels)
    assert got.shape == (2, 1 + h * w // 16, 48)
    torch.testing.assert_close(got, want.last_hidden_state, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.pool(got), want.pooler_output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_to_mlcd_loads_from_disk_in_transformers(tmp_path, h, w):
    ours = _shuffled(ViT(CONFIG), 2)
    save_file(to_mlcd_state_dict(ours.state_dict()), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(to_mlcd_config(CONFIG)))
    theirs, report = MLCDVisionModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    pixels = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        (got,), want = ours(pixels), theirs.eval()(pixels)
    torch.testing.assert_close(got, want.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_state_dict_survives_the_round_trip_bit_for_bit():
    state = _shuffled(ViT(CONFIG), 4).state_dict()
    for prefix in ("vision_model.", ""):
        back = from_mlcd_state_dict(to_mlcd_state_dict(state, prefix=prefix))
        assert back.keys() == state.keys()
        assert all(torch.equal(back[key], state[key]) for key in state)


def test_layers_are_the_blocks_own_outputs():
    vit = _shuffled(ViT(CONFIG), 5)
    seen: list[torch.Tensor] = []
    for block in vit.blocks:
        block.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.no_grad():
        first, last = vit(torch.randn(1, 3, 8, 8), layers=(0, -1))
    torch.testing.assert_close((first, last), (seen[0], seen[2]), atol=0, rtol=0)
    with pytest.raises(IndexError):
        vit(torch.randn(1, 3, 8, 8), layers=(3,))


def test_wrong_sizes_and_shapes_are_refused():
    with pytest.raises(UserError, match="multiple of the 4-pixel patch"):
        ViT(CONFIG)(torch.zeros(1, 3, 18, 16))
    with pytest.raises(ValidationError, match="multiple of 4"):
        ViTConfig(width=30, heads=5)


def test_foreign_checkpoints_are_refused():
    state = to_mlcd_state_dict(ViT(CONFIG).state_dict())
    with pytest.raises(UserError, match="no 'class_pos_emb'"):
        from_mlcd_state_dict({key: value for key, value in state.items() if "class_pos_emb" not in key})
    with pytest.raises(UserError, match=r"'text_model\.x' is unknown"):
        from_mlcd_state_dict(state | {"text_model.x": torch.zeros(1)})
