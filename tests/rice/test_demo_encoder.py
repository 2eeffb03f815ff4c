"""The trainer of the demo's encoder in miniature, and the encoder that ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rice_core.encoders import load_encoder
from rice_core.model.vit import ViTConfig
from rice_core.rice import demo_encoder
from rice_core.rice.demo_encoder import BACKGROUND, DemoSettings, draw, main, pool, train
from rice_core.spec import EncoderSpec
from rice_core.world.scenes import draw_scene

TINY = ViTConfig(width=24, depth=1, heads=2)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_targets_follow_the_scene() -> None:
    scenes = draw(1000, range(6), TINY)
    assert scenes.pixels_B3HW.shape == (6, 3, 96, 96)
    first = draw_scene(1000, 0)
    assert scenes.labels_N[scenes.image_N == 0].tolist() == [thing.category for thing in first.things]
    masks_nHW = np.stack([thing.mask_HW for thing in first.things])
    share_nT = masks_nHW.reshape(len(masks_nHW), 12, 8, 12, 8).mean(axis=(2, 4)).reshape(len(masks_nHW), -1)
    np.testing.assert_allclose(scenes.shares_NT[scenes.image_N == 0], share_nT, atol=1e-6)
    empty = share_nT.max(axis=0) < 0.25
    assert (scenes.tokens_BT[0][torch.from_numpy(empty)] == BACKGROUND).all()
    assert scenes.tokens_BT[0][int(share_nT[1].argmax())] == first.things[1].category


def test_picking_keeps_objects_with_their_images() -> None:
    scenes = draw(1000, range(5), TINY)
    batch = scenes.pick(torch.tensor([4, 1]))
    assert torch.equal(batch.pixels_B3HW[0], scenes.pixels_B3HW[4])
    assert torch.equal(batch.labels_N[batch.image_N == 0], scenes.labels_N[scenes.image_N == 4])
    assert len(batch.labels_N) == int(((scenes.image_N == 4) | (scenes.image_N == 1)).sum())


def test_pooling_is_the_mean_weighted_by_coverage() -> None:
    scenes = draw(1000, range(1), TINY)
    patches_BTC = torch.randn(1, 144, 5, generator=torch.Generator().manual_seed(0))
    weights = scenes.shares_NT[0].numpy()
    want = (patches_BTC[0].numpy() * weights[:, None]).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(pool(patches_BTC, scenes)[0], want, atol=1e-5)


def test_training_learns_and_repeats_itself() -> None:
    scenes = draw(1000, range(4), TINY)
    settings = DemoSettings(steps=12, batch=4, warm_up=2, rate=5e-3)
    torch.manual_seed(0)
    runs = []
    for _ in range(2):
        model = train(settings, TINY, scenes)
        runs.append([parameter.detach().clone() for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    untrained = train(DemoSettings(steps=0), TINY, scenes)
    with torch.no_grad():
        assert model.loss(scenes) < untrained.loss(scenes) - 0.5


def test_the_command_writes_an_encoder_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_encoder, "ViTConfig", lambda: TINY)
    main(["--out", str(tmp_path / "e"), "--steps", "2", "--scenes", "4", "--held-out", "4", "--workers", "1"])
    encoder = load_encoder(EncoderSpec.parse(f"rice:{tmp_path / 'e'}"))
    assert encoder.dim == 24
    tags = json.loads((tmp_path / "e/encoder.json").read_text())["tags"]
    assert "seed 1000" in tags["world"]
    assert "demo_encoder --seed 0 --steps 2 --scenes 4" in tags["command"]


def test_the_encoder_that_ships_is_small_and_knows_categories_of_scenes_it_has_not_seen() -> None:
    folder = Path(demo_encoder.__file__).parents[1] / "data" / "mini-supervised"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2**20
    encoder = load_encoder(EncoderSpec.parse("rice:builtin/mini-supervised"))
    scenes = draw(0, range(200), ViTConfig())
    with torch.no_grad():
        dense_BCHW = torch.cat(
            [encoder.encode(encoder.normalize(p / 255)).dense_BCHW for p in scenes.pixels_B3HW.split(50)]
        )
    x_NC, y_N = pool(dense_BCHW.flatten(2).transpose(1, 2), scenes).numpy(), scenes.labels_N.numpy()
    x_NC /= np.linalg.norm(x_NC, axis=1, keepdims=True)
    half = len(x_NC) // 2
    nearest = (x_NC[half:] @ x_NC[:half].T).argmax(axis=1)
    # Random weights reach about 0.15, and categories that are missing from the first half cost a little.
    assert (y_N[:half][nearest] == y_N[half:]).mean() > 0.6
