"""The margin and the two forms of one region."""

import math

import pytest
import torch

from rice_core.rice.loss.config import LossConfig
from rice_core.rice.loss.formula import margin_at, region_loss, with_margin


def test_an_arc_margin_turns_by_m_and_goes_on_straight_past_pi() -> None:
    c = torch.linspace(-0.999, 0.999, 401, dtype=torch.float64)
    g = with_margin(c, 0.3, LossConfig())
    theta = c.arccos() + 0.3
    inside = theta <= math.pi
    torch.testing.assert_close(g[inside], theta[inside].cos(), rtol=0, atol=1e-12)
    torch.testing.assert_close(g[~inside], c[~inside] - 0.3 * math.sin(0.3), rtol=0, atol=1e-12)
    assert 0 < (~inside).sum() < 20


@pytest.mark.parametrize("m", [0.0, 0.3, 2.0, 4.0])
def test_the_arc_margin_has_a_finite_slope_at_both_ends(m: float) -> None:
    c = torch.tensor([-1.0, -1 + 1e-7, 0.0, 1 - 1e-7, 1.0], requires_grad=True)
    with_margin(c, m, LossConfig()).sum().backward()
    assert c.grad is not None
    assert c.grad.isfinite().all()


def test_a_cosine_margin_is_subtracted() -> None:
    c = torch.tensor([-0.5, 0.25])
    torch.testing.assert_close(with_margin(c, 0.35, LossConfig(margin="cos")), c - 0.35)


def test_straight_through_keeps_the_value_and_takes_the_slope_of_the_plain_cosine() -> None:
    c = torch.linspace(-0.9, 0.9, 7, requires_grad=True)
    g = with_margin(c, 0.3, LossConfig(margin_grad="straight_through"))
    torch.testing.assert_close(g, with_margin(c, 0.3, LossConfig()))
    g.sum().backward()
    torch.testing.assert_close(c.grad, torch.ones(7))


def test_the_margin_rises_from_zero() -> None:
    config = LossConfig(m=0.4, margin_warm_up=4)
    assert [margin_at(config, step) for step in (0, 1, 2, 4, 9)] == [0.0, 0.1, 0.2, 0.4, 0.4]
    assert margin_at(LossConfig(m=0.4), 0) == 0.4


@pytest.mark.parametrize("form", ["two_sided", "softmax"])
@pytest.mark.parametrize("negatives", [-torch.inf, -200.0, 0.0, 300.0])
def test_extreme_logits_stay_finite_with_finite_slopes(form: str, negatives: float) -> None:
    cosines = torch.tensor([[1.0, -1.0], [0.2, 0.0], [0.5, 0.5]], requires_grad=True)
    valid = torch.tensor([[True, True], [True, False], [False, False]])
    lse = torch.full((3,), negatives, requires_grad=True)
    loss = region_loss(cosines, valid, lse, 0.3, LossConfig(form=form, s=1000.0))  # type: ignore[arg-type]
    assert loss.isfinite().all()
    loss.sum().backward()
    assert cosines.grad is not None
    assert lse.grad is not None
    assert cosines.grad.isfinite().all()
    assert (cosines.grad[~valid] == 0).all()
    assert lse.grad.isfinite().all()
