"""Region attention: what it must equal, what it must not touch, and what it costs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rice_core.errors import UserError
from rice_core.model.regions import RegionViT
from rice_core.model.vit import ViT, ViTConfig

CONFIG = ViTConfig(width=48, depth=3, heads=3, patch=4, resolution=24)


@pytest.fixture(scope="module")
def trunk() -> ViT:
    torch.manual_seed(0)
    vit = ViT(CONFIG)
    with torch.no_grad():
        for parameter in vit.parameters():  # random norms and biases make a wrong one visible
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return vit.eval()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 24, 16, generator=torch.Generator().manual_seed(1))


def _box(h: int, w: int, rows: slice, columns: slice) -> torch.Tensor:
    seen = torch.zeros(h, w, dtype=torch.bool)
    seen[rows, columns] = True
    return seen.flatten()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_full_image_region_equals_the_class_token(trunk, pixels, layers):
    out = RegionViT(trunk, layers=layers)(pixels, torch.ones(2, 4, 24, dtype=torch.bool))
    for n in range(4):
        torch.testing.assert_close(out.regions_BND[:, n], out.cls_BD, atol=1e-5, rtol=1e-5)


def test_regions_leave_the_trunk_as_it_is(trunk, pixels):
    with torch.no_grad():
        (tokens,) = trunk(pixels)
        visible = torch.rand(2, 5, 24, generator=torch.Generator().manual_seed(2)) < 0.3
        out = RegionViT(trunk, layers=2)(pixels, visible)
        none = RegionViT(trunk, layers=2)(pixels)
    torch.testing.assert_close(out.tokens_BTD, tokens, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.cls_BD, trunk.pool(tokens), atol=1e-5, rtol=1e-5)
    assert none.regions_BND.shape == (2, 0, 48)
    torch.testing.assert_close(none.tokens_BTD, tokens, atol=1e-5, rtol=1e-5)


def test_a_region_equals_the_same_query_alone_by_hand(trunk, pixels):
    """One region, one image, spelt out with a full masked self-attention over [tokens, query]."""
    seen = _box(6, 4, slice(1, 4), slice(0, 2))
    with torch.no_grad():
        got = RegionViT(trunk, layers=1)(pixels[:1], seen[None, None]).regions_BND[0, 0]
        (before,) = trunk(pixels[:1], layers=(-2,))
        block = trunk.blocks[-1]
        joint = torch.cat([before, before[:, :1]], dim=1)
        cos, sin = (torch.cat([part, part[:1]]) for part in trunk.rotation(6, 4))
        mask = torch.cat([torch.tensor([False]), seen, torch.tensor([True])])
        x = block.attention_norm(joint)
        q, k, v = block.attention.qkv(x).unflatten(-1, (3, 3, 16)).permute(2, 0, 3, 1, 4)
        turn = lambda z: z * cos + torch.cat([-z[..., 8:], z[..., :8]], -1) * sin  # noqa: E731
        scores = (turn(q)[:, :, -1:] @ turn(k).transpose(-1, -2)) / 4
        mixed = scores.masked_fill(~mask, -1e9).softmax(-1) @ v
        y = joint[:, -1:] + block.attention.out(mixed.transpose(1, 2).flatten(2))
        y = y + block.mlp_out(torch.nn.functional.gelu(block.mlp_in(block.mlp_norm(y))))
        want = trunk.post_norm(y)[0, 0]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_regions_do_not_see_each_other_or_what_lies_outside(trunk, pixels):
    model = RegionViT(trunk, layers=1)
    seen = _box(6, 4, slice(0, 2), slice(0, 2))
    other = _box(6, 4, slice(4, 6), slice(2, 4))
    with torch.no_grad():
        alone = model(pixels, seen.expand(2, 1, -1)).regions_BND[:, 0]
        together = model(pixels, torch.stack([seen, other]).expand(2, 2, -1)).regions_BND[:, 0]
        elsewhere = model(pixels, torch.stack([other, seen]).expand(2, 2, -1)).regions_BND[:, 1]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, elsewhere, atol=1e-5, rtol=1e-5)
    assert (alone - model(pixels, other.expand(2, 1, -1)).regions_BND[:, 0]).abs().max() > 1e-3


def test_an_empty_region_stays_finite_forwards_and_backwards(trunk, pixels):
    model = RegionViT(trunk, layers=2).train()
    for part in (pixels, pixels.double()):
        model = model.to(part.dtype)
        out = model(part, torch.zeros(2, 3, 24, dtype=torch.bool))
        model.zero_grad()
        out.regions_BND.square().sum().backward()
        assert out.regions_BND.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    model.zero_grad()
    model.float()


@pytest.mark.parametrize("mode", ["shared", "head"])
def test_checkpointed_activations_change_no_gradient(trunk, pixels, mode):
    visible = torch.rand(2, 4, 24, generator=torch.Generator().manual_seed(3)) < 0.4
    gradients = []
    for again in (False, True):
        torch.manual_seed(7)
        model = RegionViT(trunk, layers=2, mode=mode, checkpoint_activations=again).train()
        model.zero_grad()
        model(pixels, visible).regions_BND.square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    torch.testing.assert_close(gradients[0], gradients[1])
    trunk.zero_grad()


def test_the_fused_and_the_spelt_out_attention_agree(trunk, pixels):
    """Without gradients SDPA runs, with them on a CPU the matmuls do."""
    visible = torch.rand(2, 4, 24, generator=torch.Generator().manual_seed(4)) < 0.2
    model = RegionViT(trunk, layers=2)
    with torch.no_grad():
        fused = model(pixels, visible)
    plain = model(pixels, visible)
    torch.testing.assert_close(plain.regions_BND.detach(), fused.regions_BND, atol=1e-5, rtol=1e-5)


def test_a_head_has_parameters_of_its_own_and_leaves_the_trunk_alone(trunk, pixels):
    visible = torch.ones(2, 2, 24, dtype=torch.bool)
    shared, head = RegionViT(trunk, layers=2), RegionViT(trunk, layers=2, mode="head")
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(shared) == count(trunk)
    assert count(head) == count(trunk) + 2 * count(trunk.blocks[0])
    with torch.no_grad():
        out = head(pixels, visible)
        torch.testing.assert_close(out.tokens_BTD, trunk(pixels)[0], atol=1e-5, rtol=1e-5)
    assert out.regions_BND.isfinite().all()


@pytest.mark.parametrize(("preset", "layers"), [("S/16", 2), ("B/16", 2), ("L/14", 4)])
def test_ten_regions_cost_at_most_two_per_cent_of_the_flops(preset, layers):
    from rice_core.model.vit import PRESETS

    with torch.device("meta"):
        model = RegionViT(ViT(PRESETS[preset]), layers=layers)
        side = PRESETS[preset].resolution
        images = torch.empty(1, 3, side, side)
        visible = torch.empty(1, 10, (side // PRESETS[preset].patch) ** 2, dtype=torch.bool)
    flops = []
    for regions in (None, visible):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images, regions)
        flops.append(counter.get_total_flops())
    assert 1 < flops[1] / flops[0] <= 1.02


def test_wrong_shapes_are_refused(trunk, pixels):
    with pytest.raises(UserError, match="at most that"):
        RegionViT(trunk, layers=4)
    with pytest.raises(UserError, match="the regions see 23 patches and the image has 24"):
        RegionViT(trunk)(pixels, torch.ones(2, 1, 23, dtype=torch.bool))
