"""OSTrack's own code gives the same: recorded by oracles/record_ostrack_model.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tracking.center import CenterHead, Maps, hann
from tracking.crops import cut
from tracking.geometry import Crop, clip
from tracking.losses import heat_map, tracking_losses
from tracking.recipe import LearningConfig

RECORDED = load_file(Path(__file__).parent / "oracles" / "ostrack-model.safetensors")
FACTORS = {32: 2.0, 24: 4.0, 20: 5.0}


def under(prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in RECORDED.items() if name.startswith(prefix)}


def ours(name: str) -> str:
    """conv2_ctr.1.weight -> score.1.1.weight."""
    layer, rest = name.split(".", 1)
    number, branch = layer.removeprefix("conv").split("_")
    return f"{'score' if branch == 'ctr' else branch}.{int(number) - 1}.{rest}"


def head() -> CenterHead:
    head = CenterHead(12, 16)
    head.load_state_dict({ours(name): value for name, value in under("head/weights/").items()})
    return head


@pytest.mark.parametrize("mode", ["judging", "learning"])
def test_the_head_is_ostracks(mode) -> None:
    mine, theirs = head(), under(f"head/{mode}/")
    mine.train(mode == "learning")
    maps = mine(RECORDED["head/input"])
    assert torch.allclose(maps.score_BSS[:, None], theirs["score"], atol=1e-6)
    assert torch.allclose(maps.size_B2SS, theirs["size"], atol=1e-6)
    assert torch.allclose(maps.offset_B2SS, theirs["offset"], atol=1e-5)
    assert torch.allclose(maps.boxes()[0], theirs["box"], atol=1e-6)
    assert torch.allclose(maps.boxes(hann(7))[0], theirs["windowed"], atol=1e-6)
    assert not torch.allclose(theirs["windowed"], theirs["box"], atol=1e-2)


def test_batch_norm_learns_what_ostracks_learns() -> None:
    mine = head().train()
    mine(RECORDED["head/input"])
    learnt = mine.state_dict()
    for name, value in under("head/learnt/").items():
        assert torch.allclose(learnt[ours(name)], value, atol=1e-6), name


def test_the_score_is_that_of_the_cell_without_the_window() -> None:
    maps = head().eval()(RECORDED["head/input"])
    score_B = maps.boxes(hann(7))[1]
    best = (maps.score_BSS * hann(7)).flatten(1).argmax(1)
    assert torch.equal(score_B, maps.score_BSS.flatten(1).gather(1, best[:, None])[:, 0])


def test_the_window_is_ostracks_and_its_share_is_between() -> None:
    assert torch.allclose(hann(7), RECORDED["head/window"], atol=1e-6)
    assert torch.equal(hann(7, 0), torch.ones(7, 7))
    assert torch.allclose(hann(7, 0.25), 0.75 + 0.25 * hann(7))


@pytest.mark.parametrize("side", [16, 9])
def test_heat_maps_are_ostracks(side) -> None:
    x_N, y_N, w_N, h_N = RECORDED["heat/boxes"].unbind(1)
    theirs = RECORDED[f"heat/{side}"]
    mine = heat_map(torch.stack([x_N + w_N / 2, y_N + h_N / 2, w_N, h_N], 1), side)
    assert torch.allclose(mine, theirs, atol=1e-6)
    assert torch.equal(mine == 1, theirs == 1)


@pytest.mark.parametrize("number", range(4))
def test_losses_and_their_gradients_are_ostracks(number) -> None:
    theirs = under(f"loss/{number}/")
    score, size, offset = (theirs[name].clone().requires_grad_() for name in "sco")
    x_N, y_N, w_N, h_N = theirs["boxes"].unbind(1)
    boxes_B4 = torch.stack([x_N + w_N / 2, y_N + h_N / 2, w_N, h_N], 1)
    losses = tracking_losses(Maps(score[:, 0], size, offset), boxes_B4, LearningConfig())
    total, location, giou, l1 = theirs["values"].tolist()
    assert losses["focal"].item() == pytest.approx(location, rel=1e-5)
    assert losses["giou"].item() == pytest.approx(2 * giou, rel=1e-5)
    assert losses["l1"].item() == pytest.approx(5 * l1, rel=1e-5)
    loss = sum(losses.values())
    assert loss.item() == pytest.approx(total, rel=1e-5)
    loss.backward()
    for name, each in zip("sco", (score, size, offset), strict=True):
        assert torch.allclose(each.grad, theirs[f"grad_{name}"], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("size", FACTORS)
def test_boxes_of_style_ostrack_are_ostracks(size) -> None:
    crops = [Crop.around(box, FACTORS[size], size, "ostrack") for box in RECORDED["crop/around"].tolist()]
    for place, crop in enumerate(crops):
        x, y, w, h = RECORDED[f"crop/{size}/labels"][place].tolist()
        label = crop.into(RECORDED["crop/true"][place].tolist())
        assert label == pytest.approx((x + w / 2, y + h / 2, w, h), abs=1e-9)
        assert crop.back((0.4, 0.55, 0.3, 0.2)) == pytest.approx(
            RECORDED[f"crop/{size}/back"][place].tolist(), abs=1e-9
        )


@pytest.mark.parametrize("size", FACTORS)
def test_the_pixels_of_style_ostrack_are_ostracks(size) -> None:
    """To a level of opencv's fixed-point weights; ours differ in the last row and column of a frame, which OSTrack loses."""
    frame = RECORDED["crop/frame"].numpy()
    for place, box in enumerate(RECORDED["crop/around"].tolist()):
        theirs = RECORDED[f"crop/{size}/pixels"][place].numpy().astype(int)
        assert np.abs(cut(frame, Crop.around(box, FACTORS[size], size, "ostrack")) - theirs).max() <= 1
        exact = Crop.around(box, FACTORS[size], size)
        reaches = exact.left + exact.side >= frame.shape[1] or exact.top + exact.side >= frame.shape[0]
        assert (np.abs(cut(frame, exact) - theirs).max() <= 1) or reaches


def test_clipping_is_ostracks() -> None:
    for box, clipped in zip(RECORDED["clip/boxes"].tolist(), RECORDED["clip/clipped"].tolist(), strict=True):
        assert clip(box, (90, 120), 10) == pytest.approx(clipped, abs=1e-9)
