"""`norm=`: what the pyramid is made of, whatever the scale of an encoder's tokens."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes.detection.annotations import read_ground_truth
from probes.detection.loader import ViewBatch, training_batches
from probes.detection.probe import CocoDetection
from probes.detection.recipe import RECIPES
from probes.detection.tokens import tokens_of
from rice_core.datasets import open_dataset
from rice_core.encoders import load_encoder
from rice_core.encoders.own import wrap
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec
from rice_core.world.layouts.coco import write_coco

CONFIG = RECIPES["mini"].training


class ScaledMap(nn.Module):
    """A map whose channels do not agree, so many times over."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        x_BChw = nn.functional.avg_pool2d(pixels_B3HW, 8)
        return self.scale * torch.cat([x_BChw, x_BChw.square(), x_BChw.sin() + 1, -x_BChw], 1)


def mapped(scale: float):
    return wrap(ScaledMap(scale), size=96, patch=8, mean=(0.5,) * 3, std=(0.5,) * 3, name=f"x{scale}")


def shipped(query: str = ""):
    return load_encoder(EncoderSpec.parse(f"rice:builtin/mini-supervised{query}"))


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> ViewBatch:
    data = open_dataset(write_coco(tmp_path_factory.mktemp("world") / "w", seed=3, train=4, val=2))
    truth = read_ground_truth(data.annotations["train"], data.splits["train"], name="train")
    return next(iter(training_batches(truth.images, CONFIG, side=96, masks=False, told=False, seed=0)))


def test_layer_makes_the_scale_of_tokens_no_matter(batch) -> None:
    plain = [tokens_of(mapped(scale), batch, "fp32", "none") for scale in (0.1, 1, 10)]
    assert torch.allclose(plain[2], 100 * plain[0], rtol=1e-4)
    small, one, large = (tokens_of(mapped(scale), batch, "fp32", "layer") for scale in (0.1, 1, 10))
    # The epsilon of the variance is felt at a tenth, where a view is plain gray.
    assert torch.allclose(one, large, atol=1e-3)
    assert torch.allclose(one, small, atol=1e-2)
    assert torch.allclose(one.mean(1), torch.zeros(()), atol=1e-5)
    assert torch.allclose(one.var(1, unbiased=False), torch.ones(()), atol=1e-3)


def test_layer_is_of_each_token_by_itself(batch) -> None:
    tokens = tokens_of(shipped(), batch, "fp32", "none")
    normed = tokens_of(shipped(), batch, "fp32", "layer")
    x_C = tokens[1, :, 3, 5]
    assert torch.allclose(normed[1, :, 3, 5], (x_C - x_C.mean()) / x_C.std(unbiased=False), atol=1e-4)


def test_final_is_the_models_own_norm_and_none_is_the_models_own_way(batch) -> None:
    assert torch.equal(
        tokens_of(shipped(), batch, "fp32", "final"), tokens_of(shipped("?norm=1"), batch, "fp32", "none")
    )
    assert torch.equal(
        tokens_of(shipped(), batch, "fp32", "none"), tokens_of(shipped("?norm=0"), batch, "fp32", "none")
    )
    assert not torch.equal(tokens_of(shipped(), batch, "fp32", "final"), tokens_of(shipped(), batch, "fp32", "none"))


@pytest.mark.parametrize("encoder", [mapped(1), load_encoder(EncoderSpec.parse("synthetic:noise"))])
def test_a_final_norm_that_is_not_there_is_refused(batch, encoder) -> None:
    with pytest.raises(UserError, match="has no final norm over its tokens; write norm=layer or norm=none"):
        tokens_of(encoder, batch, "fp32", "final")


def test_a_norm_is_a_setting_of_the_probe() -> None:
    assert CocoDetection(norm="layer").settings().training.norm == "layer"
    assert CocoDetection(norm="none").spec.params["norm"] == "none"
    with pytest.raises(UserError, match="norm"):
        CocoDetection(norm="batch")


def test_a_norm_of_nothing_is_nothing(batch) -> None:
    """Tokens whose channels are all alike, as of an encoder that says nothing, stay finite."""
    constant = load_encoder(EncoderSpec.parse("synthetic:constant"))
    assert torch.equal(tokens_of(constant, batch, "fp32", "layer"), torch.zeros(4, 64, 12, 12))
