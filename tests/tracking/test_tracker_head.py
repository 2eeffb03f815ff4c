"""The tracker that is trained: shapes, gradients, caching, skipping, parameters."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import nn

from rice_core.errors import UserError
from tracking.center import Maps
from tracking.losses import tracking_losses
from tracking.model import TrackerHead, sines
from tracking.recipe import LearningConfig, TrackerConfig

SMALL = TrackerConfig(template_grid=3, search_grid=5, width=24, head_width=16)


def built(config: TrackerConfig = SMALL, channels: int = 20, seed: int = 0) -> TrackerHead:
    torch.manual_seed(seed)
    return TrackerHead(config, channels)


def drawn(config: TrackerConfig = SMALL, channels: int = 20, batch: int = 4, seed: int = 1):
    draw = torch.Generator().manual_seed(seed)
    T, S = config.template_grid, config.search_grid
    return (
        torch.randn(batch, channels, T, T, generator=draw),
        torch.rand(batch, T, T, generator=draw) > 0.5,
        torch.randn(batch, channels, S, S, generator=draw),
    )


def asked(head: TrackerHead, template_BCTT, foreground_BTT, search_BCSS) -> Maps:
    return head(head.template(template_BCTT, foreground_BTT), search_BCSS)


@pytest.mark.parametrize(
    ("T", "S", "channels", "width"), [(3, 5, 20, 24), (2, 2, 7, None), (4, 9, 65, 30), (6, 4, 130, None)]
)
def test_any_grids_and_widths(T, S, channels, width) -> None:
    config = SMALL.model_copy(update={"template_grid": T, "search_grid": S, "width": width, "heads": 1})
    maps = asked(built(config, channels), *drawn(config, channels))
    assert maps.score_BSS.shape == (4, S, S)
    assert maps.size_B2SS.shape == maps.offset_B2SS.shape == (4, 2, S, S)
    boxes_B4, score_B = maps.boxes()
    assert boxes_B4.shape == (4, 4)
    assert score_B.shape == (4,)


@pytest.mark.parametrize("change", [{}, {"foreground": False}, {"width": None}, {"blocks": 1}, {"drop_path": 0.0}])
def test_gradients_reach_every_parameter_and_no_token(change) -> None:
    config = SMALL.model_copy(update={"drop_path": 0.0} | change)
    head = built(config, 24)
    given = drawn(config, 24)
    losses = tracking_losses(asked(head, *given), torch.tensor([[0.5, 0.5, 0.3, 0.2]] * 4), LearningConfig())
    assert set(losses) == {"focal", "giou", "l1"}
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # The ones before a batch norm have none.
        assert parameter.grad.abs().sum() > 0 or name.endswith("0.bias"), name
    assert given[0].grad is None


def plain(head: TrackerHead, template_BCTT, foreground_BTT, search_BCSS) -> Maps:
    """All tokens through all blocks, and the search tokens picked behind them."""
    S = search_BCSS.shape[-1]
    search_BLD = head.project(search_BCSS.flatten(2).transpose(1, 2)) + head.search_positions + head.types[0]
    x_BLD = torch.cat([head.template(template_BCTT, foreground_BTT), search_BLD], 1)
    for block in head.blocks:
        x_BLD = block(x_BLD, x_BLD.shape[1])
    x_BLD = head.norm(x_BLD)[:, -S * S :]
    return head.head(x_BLD.transpose(1, 2).unflatten(2, (S, S)))


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_what_nobody_reads_is_not_computed_and_changes_nothing(blocks) -> None:
    config = SMALL.model_copy(update={"blocks": blocks})
    head = built(config).double().eval()
    template, foreground, search = drawn(config)
    given = template.double(), foreground, search.double()
    for each in fields(Maps):
        ours, theirs = (getattr(maps, each.name) for maps in (asked(head, *given), plain(head, *given)))
        assert torch.allclose(ours, theirs, atol=1e-12)
        assert ours.dtype == torch.float64


def test_a_cached_template_is_the_template() -> None:
    """One cached row for each sequence, whatever sequences are beside it."""
    head = built().double().eval()
    template, foreground, search = drawn(batch=5)
    template, search = template.double(), search.double()
    together = asked(head, template, foreground, search)
    cached = [head.template(template[i : i + 1], foreground[i : i + 1]) for i in range(5)]
    for i in (3, 0, 4):
        alone = head(cached[i], search[i : i + 1])
        assert torch.allclose(alone.score_BSS[0], together.score_BSS[i], atol=1e-12)
        assert torch.allclose(alone.boxes()[0][0], together.boxes()[0][i], atol=1e-12)


def test_judging_draws_nothing() -> None:
    head, given = built(SMALL.model_copy(update={"drop_path": 0.5})), drawn()
    assert not torch.equal(asked(head, *given).score_BSS, asked(head, *given).score_BSS)
    head.eval()
    before = torch.random.get_rng_state()
    first, second = asked(head, *given), asked(head, *given)
    assert torch.equal(first.score_BSS, second.score_BSS)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_which_tokens_show_the_object_is_told() -> None:
    template, foreground, search = drawn()
    head = built().eval()
    assert not torch.equal(
        asked(head, template, foreground, search).score_BSS, asked(head, template, ~foreground, search).score_BSS
    )
    untold = built(SMALL.model_copy(update={"foreground": False})).eval()
    assert torch.equal(
        asked(untold, template, foreground, search).score_BSS, asked(untold, template, ~foreground, search).score_BSS
    )


def test_constant_features_and_a_box_beyond_the_crop_give_finite_losses() -> None:
    head = built()
    for value in (0.0, 1.0, -1e4):
        ones = (
            torch.full((4, 20, 3, 3), value),
            torch.zeros(4, 3, 3, dtype=torch.bool),
            torch.full((4, 20, 5, 5), value),
        )
        boxes = torch.tensor([[0.5, 0.5, 0.3, 0.2], [1.2, -0.3, 0.1, 0.1], [0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 2.0, 2.0]])
        losses = tracking_losses(asked(head, *ones), boxes, LearningConfig())
        assert all(loss.isfinite() for loss in losses.values())


def test_mixed_precision_keeps_the_scores_off_one() -> None:
    head = built()
    nn.init.constant_(head.head.score[-1].bias, 100.0)
    with torch.autocast("cpu", torch.bfloat16):
        maps = asked(head, *drawn())
    assert maps.score_BSS.dtype == torch.float32
    assert maps.score_BSS.max().item() == pytest.approx(1 - 1e-4)


def test_a_vit_b_has_20_9_million_parameters_and_20_7_without_its_positions() -> None:
    with torch.device("meta"):
        head = TrackerHead(TrackerConfig(), 768)
    counted = sum(parameter.numel() for parameter in head.parameters())
    positions = head.template_positions.numel() + head.search_positions.numel()
    assert sum(parameter.numel() for parameter in head.head.parameters()) == 6_474_117
    assert sum(parameter.numel() for parameter in head.blocks.parameters()) == 2 * (12 * 768**2 + 13 * 768)
    assert positions == (64 + 256) * 768
    assert counted == 20_899_461
    assert counted - positions == 20_653_701


def test_heads_are_a_64th_of_the_width_and_have_to_divide_it() -> None:
    assert built(TrackerConfig(template_grid=2, search_grid=2, head_width=8), 192).blocks[0].heads == 3
    assert built(TrackerConfig(template_grid=2, search_grid=2, head_width=8), 30).blocks[0].heads == 1
    with pytest.raises(
        UserError, match="130 channels does not divide into 4 heads of attention; write heads=2, or another width="
    ):
        built(TrackerConfig(heads=4), 130)


def test_positions_begin_as_sines_of_row_and_column() -> None:
    table = sines(5, 24).view(5, 5, 24)
    assert torch.equal(table[0, :, :12], table[3, :, :12])
    assert torch.equal(table[:, 0, 12:], table[:, 4, 12:])
    assert table[2, 3, 0] == pytest.approx(torch.tensor(3.0).sin().item())
    assert table[2, 3, 18] == pytest.approx(torch.tensor(2.0).cos().item())
    assert len({tuple(row) for row in sines(6, 9).tolist()}) == 36
