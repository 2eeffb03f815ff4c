"""The controls: what each synthetic encoder tells, and what it must not tell."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.features import IGNORE, Encoder, Features, Informed, Truth
from rice_core.spec import EncoderSpec

KINDS = ("noise", "constant", "random-weights", "oracle", "oracle/0.5")


def load(kind: str) -> Encoder:
    return load_encoder(EncoderSpec.parse(f"synthetic:{kind}"))


def images(batch: int, h: int = 96, w: int = 96, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, h, w, generator=torch.Generator().manual_seed(seed))


def told(kind: str, truths: list[Truth], pixels: torch.Tensor) -> Features:
    encoder = load(kind)
    assert isinstance(encoder, Informed)
    encoder.observe(truths)
    return encoder.encode(pixels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("h", "w"), [(96, 96), (48, 80)])
def test_shapes_and_promises(kind: str, h: int, w: int) -> None:
    encoder = load(kind)
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, Informed) == kind.startswith("oracle")
    assert (encoder.patch, encoder.spec.resolution) == (8, (96, 96))
    assert encoder.dim == (96 if kind == "random-weights" else 64)
    assert {"dense", "cls", "multires"} <= encoder.provides
    assert ("grad" in encoder.provides) == ("levels" in encoder.provides) == (kind == "random-weights")
    if isinstance(encoder, Informed):
        encoder.observe([Truth(None, 1)] * 2)
    features = encoder.encode(images(2, h, w))
    assert features.dense_BCHW.shape == (2, encoder.dim, h // 8, w // 8)
    assert features.cls_BC is not None
    assert features.cls_BC.shape == (2, encoder.dim)
    assert features.dense_BCHW.dtype == torch.float32


def test_noise_depends_on_the_bytes_alone_and_is_standard_normal() -> None:
    pixels = images(8)
    encoder = load("noise")
    dense = encoder.encode(pixels).dense_BCHW
    alone = load("noise").encode(pixels[3:4])
    assert torch.equal(dense[3:4], alone.dense_BCHW)
    nudged = pixels.clone()
    nudged[3, 0, 0, 0] += 1e-3
    other = encoder.encode(nudged).dense_BCHW
    # One pixel redraws everything: a nearly equal image has unrelated features.
    assert np.corrcoef(dense[3].flatten(), other[3].flatten())[0, 1] == pytest.approx(0, abs=0.05)
    assert torch.equal(dense[4], other[4])
    assert dense.mean().item() == pytest.approx(0, abs=0.02)
    assert dense.std().item() == pytest.approx(1, abs=0.02)
    tokens = dense.permute(0, 2, 3, 1).reshape(-1, 64)
    assert torch.corrcoef(tokens[:50]).fill_diagonal_(0).abs().mean() < 0.15


def test_constant_tells_nothing() -> None:
    features = load("constant").encode(images(3))
    assert features.dense_BCHW.unique().numel() == 1
    assert torch.isfinite(torch.nn.functional.normalize(features.dense_BCHW, dim=1)).all()


def test_oracle_tokens_are_coverage_weighted_codes() -> None:
    pixels = images(1, 16, 16)
    pure = [
        told("oracle", [Truth(np.full((16, 16), label), None)], pixels).dense_BCHW[0, :, 0, 0] for label in (-1, 0, 5)
    ]
    codes = torch.stack(pure)
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(3))
    assert (codes @ codes.T).fill_diagonal_(0).abs().max() < 0.5
    labels = np.full((16, 16), -1)
    labels[:8, :2], labels[:2, 8:] = 0, 5  # a quarter of the first cell each way round
    labels[8:, 8:] = 5
    dense = told("oracle", [Truth(labels, 3)], pixels).dense_BCHW[0]
    background, zero, five = codes
    torch.testing.assert_close(dense[:, 0, 0], 0.75 * background + 0.25 * zero)
    torch.testing.assert_close(dense[:, 0, 1], 0.75 * background + 0.25 * five)
    torch.testing.assert_close(dense[:, 1, 0], background)
    torch.testing.assert_close(dense[:, 1, 1], five)


def test_oracle_knows_nothing_of_ignored_pixels() -> None:
    pixels = images(1, 16, 16)

    def tokens(labels: np.ndarray) -> torch.Tensor:
        return told("oracle", [Truth(labels, None)], pixels).dense_BCHW[0]

    background, five = (tokens(np.full((16, 16), label))[:, 0, 0] for label in (-1, 5))
    labels = np.full((16, 16), -1)
    labels[:8, :6], labels[:2, :8] = IGNORE, 5  # of the first cell 16 pixels are 5, 36 ignored, 12 background
    labels[8:, :8] = IGNORE
    dense = tokens(labels)
    torch.testing.assert_close(dense[:, 0, 0], (16 * five + 12 * background) / 28)
    torch.testing.assert_close(dense[:, 0, 1], background)
    assert not dense[:, 1, 0].any()
    assert not tokens(np.full((16, 16), IGNORE)).any()


def test_oracle_tells_the_whole_image_s_class() -> None:
    pixels, labels = images(1, 16, 16), np.full((16, 16), -1)
    without = told("oracle", [Truth(None, 3)], pixels)
    code = without.cls_BC
    assert code is not None
    torch.testing.assert_close(without.dense_BCHW, code[:, :, None, None].expand(1, 64, 2, 2))
    torch.testing.assert_close(told("oracle", [Truth(labels, 3)], pixels).cls_BC, code)
    unknown = told("oracle", [Truth(labels, None)], pixels)
    torch.testing.assert_close(unknown.cls_BC, unknown.dense_BCHW.mean((2, 3)))
    assert torch.isfinite(told("oracle", [Truth(None, None)], pixels).dense_BCHW).all()


def test_share_of_noise_destroys_the_signal_step_by_step() -> None:
    pixels, truths = images(64, 16, 16), [Truth(None, i % 16) for i in range(64)]
    clean = told("oracle", truths, pixels)
    assert torch.equal(told("oracle/0", truths, pixels).dense_BCHW, clean.dense_BCHW)
    torch.testing.assert_close(told("oracle/1", truths, pixels).dense_BCHW, load("noise").encode(pixels).dense_BCHW)
    assert clean.cls_BC is not None
    codes = clean.cls_BC[:16]
    hits = []
    for share in (0.0, 0.3, 0.5, 0.7, 0.9, 1.0):
        cls = told(f"oracle/{share}", truths, pixels).cls_BC
        assert cls is not None
        hits.append(((cls @ codes.T).argmax(1) == torch.arange(64) % 16).float().mean().item())
    assert hits[0] == 1
    assert hits[-1] < 0.25
    assert all(a >= b for a, b in pairwise(hits)), hits


def test_oracle_must_be_told_each_time() -> None:
    encoder = load("oracle")
    assert isinstance(encoder, Informed)
    with pytest.raises(UserError, match="told the truth"):
        encoder.encode(images(1))
    encoder.observe([Truth(None, 0)])
    encoder.encode(images(1))
    with pytest.raises(UserError, match="told the truth"):
        encoder.encode(images(1))
    with pytest.raises(ValueError, match="labels are"):
        told("oracle", [Truth(np.zeros((8, 8), dtype=np.int64), 0)], images(1, 16, 16))


def test_padding_counts_as_background() -> None:
    encoder = load_encoder(EncoderSpec.parse("synthetic:oracle?pad=1"))
    assert isinstance(encoder, Informed)
    encoder.observe([Truth(np.zeros((12, 8), dtype=np.int64), 0)])
    dense = encoder.encode(images(1, 12, 8)).dense_BCHW[0]
    background = told("oracle", [Truth(np.full((8, 8), -1), 0)], images(1, 8, 8)).dense_BCHW[0, :, 0, 0]
    torch.testing.assert_close(dense[:, 1, 0], (dense[:, 0, 0] + background) / 2)


def test_random_weights_are_drawn_from_their_own_seed() -> None:
    before = torch.get_rng_state()
    digests = {kind: load(kind).weights_digest() for kind in ("random-weights", "random-weights/0", "random-weights/1")}
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert load("random-weights").weights_digest() == digests["random-weights"] == digests["random-weights/0"]
    assert digests["random-weights/1"] != digests["random-weights/0"]
    # A floor, not chance: an untrained ViT tells images apart.
    flat = load("random-weights").encode(images(2)).dense_BCHW
    assert not torch.allclose(flat[0], flat[1])


def test_every_kind_has_its_own_digest() -> None:
    kinds = [*KINDS, "oracle/0.25", "random-weights/3"]
    assert len({load(kind).weights_digest() for kind in kinds}) == len(kinds)
    assert load("oracle/0.50").weights_digest() == load("oracle/0.5").weights_digest()


@pytest.mark.parametrize(
    "kind",
    ["oracle/2", "oracle/-1", "oracle/x", "oracle/nan", "oracle/", "random-weights/x", "noise/3", "noise@v1", "nois"],
)
def test_wrong_kinds_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match=r"synthetic encoder|share from 0 to 1"):
        load(kind)


@pytest.mark.parametrize("query", ["layers=0", "norm=1", "dtype=bf16", "res=97"])
def test_settings_that_mean_nothing_are_refused(query: str) -> None:
    with pytest.raises(UserError, match=r"leave out|no multiple"):
        load(f"noise?{query}")
