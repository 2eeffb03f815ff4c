"""Tokens of crops, and encoders that cannot look at them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rice_core.encoders import load_encoder
from rice_core.encoders.own import wrap
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec
from tracking.crops import truth
from tracking.geometry import Crop
from tracking.losses import tracking_losses
from tracking.model import TrackerHead
from tracking.recipe import RECIPES, LearningConfig, TrackerConfig
from tracking.tokens import check_encoder, sizes_of, tokens_of

CONFIG = TrackerConfig(template_grid=3, search_grid=6, head_width=8)
NAMES = ("one-1", "two-2")


def encoder(words: str):
    return load_encoder(EncoderSpec.parse(words))


def crops(size: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def asked(words, pixels=None, config=CONFIG, **more):
    pixels = crops() if pixels is None else pixels
    found = encoder(words) if isinstance(words, str) else words
    return tokens_of(found, pixels, config, precision="fp32", names=NAMES, **more)


def test_tokens_are_the_encoders_own() -> None:
    found = encoder("rice:builtin/mini-supervised")
    tokens = asked(found, config=CONFIG.model_copy(update={"norm": "none"}))
    with torch.no_grad():
        direct = found.encode(found.normalize(crops().permute(0, 3, 1, 2).float() / 255)).dense_BCHW
    assert torch.equal(tokens, direct)
    assert tokens.shape == (2, found.dim, 6, 6)
    assert not tokens.requires_grad


def test_none_of_the_encoder_is_trained() -> None:
    found = encoder("synthetic:random-weights")
    head = TrackerHead(CONFIG, found.dim)
    z = head.template(asked(found, crops(24)), torch.ones(2, 3, 3, dtype=torch.bool))
    losses = tracking_losses(head(z, asked(found)), torch.tensor([[0.5, 0.5, 0.2, 0.2]] * 2), LearningConfig())
    sum(losses.values()).backward()
    assert all(parameter.grad is None for parameter in found.module.parameters())
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_norms_are_as_in_detection() -> None:
    layer = asked("rice:builtin/mini-supervised")
    assert torch.allclose(layer.mean(1), torch.zeros(()), atol=1e-5)
    final = asked("rice:builtin/mini-supervised", config=CONFIG.model_copy(update={"norm": "final"}))
    assert torch.equal(
        final, asked("rice:builtin/mini-supervised?norm=1", config=CONFIG.model_copy(update={"norm": "none"}))
    )
    with pytest.raises(UserError, match="has no final norm over its tokens; write norm=layer or norm=none"):
        check_encoder(encoder("synthetic:noise"), CONFIG.model_copy(update={"norm": "final"}))


def test_constant_features_stay_finite() -> None:
    assert torch.equal(asked("synthetic:constant"), torch.zeros(2, 64, 6, 6))


def test_sizes_are_counted_in_tokens() -> None:
    assert sizes_of(RECIPES["paper@1"].tracker, 16) == (128, 256)
    assert sizes_of(RECIPES["paper@1"].tracker, 14) == (112, 224)


class Broken(nn.Module):
    """NaN where a picture is white in its first pixel."""

    def forward(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        x_BChw = nn.functional.avg_pool2d(pixels_B3HW, 8)
        return torch.where(pixels_B3HW[:, :1, :1, :1] > 0.9, torch.nan, x_BChw)


def own(module: nn.Module):
    return wrap(module, size=48, patch=8, mean=(0.5,) * 3, std=(0.5,) * 3, name="mine")


def test_tokens_that_are_no_numbers_name_the_video() -> None:
    pixels = crops().clamp(max=100)
    pixels[1, 0, 0] = 255
    with pytest.raises(UserError, match=r"mine gives NaN or infinite features for two-2; try \?dtype=fp32"):
        asked(own(Broken()), pixels)


def test_the_oracle_is_told_the_box_and_nothing_else() -> None:
    crop = Crop.around((20, 20, 16, 16), 3, 48)
    told = [truth(crop, (20, 20, 16, 16)), truth(crop, None)]
    tokens = asked("synthetic:oracle", config=CONFIG.model_copy(update={"norm": "none"}), truths=told)
    object_C, background_C = tokens[0, :, 2, 2], tokens[0, :, 0, 0]
    assert not torch.allclose(object_C, background_C)
    assert torch.allclose(tokens[1], background_C[:, None, None].expand_as(tokens[1]))
    assert torch.allclose(tokens[0, :, 2:4, 2:4], object_C[:, None, None].expand(-1, 2, 2))
    with pytest.raises(UserError, match="has to be told where the object is, which is not known here"):
        asked("synthetic:oracle")


def test_an_encoder_that_takes_one_size_is_refused_unless_it_is_both() -> None:
    class OneSize:
        """A real one, but for what it says that it can."""

        provides = frozenset({"dense"})

        def __init__(self, side: int) -> None:
            found = encoder("synthetic:random-weights")
            self.spec, self.patch = found.spec.model_copy(update={"resolution": (side, side)}), 8

    with pytest.raises(
        UserError, match="takes pictures of 48x48 pixels alone, and a tracker looks at crops of 24 and 48"
    ):
        check_encoder(OneSize(48), CONFIG)
    check_encoder(OneSize(48), CONFIG.model_copy(update={"template_grid": 6}))
    check_encoder(encoder("synthetic:random-weights"), CONFIG)
