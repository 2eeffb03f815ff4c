"""The bank: its start and its sample."""

import pytest
import torch

from rice_core.errors import UserError
from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.config import LossConfig

LABELS = torch.tensor([[3, -1], [90, 3]])


def test_a_seed_fixes_the_start() -> None:
    one, same, other = ClassCenters(5000, 3, seed=1), ClassCenters(5000, 3, seed=1), ClassCenters(5000, 3, seed=2)
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
    assert one.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not torch.equal(one.weight[:904], one.weight[4096:])


@pytest.mark.parametrize(("classes", "rho", "count"), [(100, 0.1, 10), (100, 0.29, 29), (105, 0.1, 10), (5, 0.1, 1)])
def test_uniform_negatives_are_a_share_of_the_classes(classes: int, rho: float, count: int) -> None:
    bank = ClassCenters(classes, 2)
    sampled = bank.sample(LossConfig(rho=rho), LABELS, step=0)
    assert len(sampled) == count
    assert len(sampled.unique()) == count
    assert (sampled.diff() > 0).all()


def test_uniform_negatives_know_the_step_and_not_the_labels() -> None:
    bank, config = ClassCenters(100, 2, seed=5), LossConfig()
    draw = bank.sample(config, LABELS, step=7)
    assert torch.equal(draw, bank.sample(config, LABELS + 1, step=7))
    assert not torch.equal(draw, bank.sample(config, LABELS, step=8))
    assert not torch.equal(draw, ClassCenters(100, 2, seed=6).sample(config, LABELS, step=7))


def test_uniform_negatives_reach_every_class_equally_often() -> None:
    bank = ClassCenters(50, 2)
    counts = torch.cat([bank.sample(LossConfig(rho=0.2), LABELS, step=step) for step in range(500)]).bincount(
        minlength=50
    )
    assert counts.min() > 100 - 5 * 9  # 500 draws at 0.2: 100, standard deviation 8.9
    assert counts.max() < 100 + 5 * 9


def test_partial_fc_takes_the_positives_first_and_fills_up_at_random() -> None:
    bank = ClassCenters(100, 2)
    sampled = bank.sample(LossConfig(negatives="partial_fc"), LABELS, step=0)
    assert {3, 90} <= set(sampled.tolist())
    assert len(sampled.unique()) == len(sampled) == 10
    assert not torch.equal(sampled, bank.sample(LossConfig(negatives="partial_fc"), LABELS, step=1))
    many = torch.arange(40)[:, None]
    assert bank.sample(LossConfig(negatives="partial_fc"), many, step=0).tolist() == list(range(40))


def test_all_is_every_class() -> None:
    assert ClassCenters(7, 2).sample(LossConfig(negatives="all"), LABELS, step=0).tolist() == list(range(7))


def test_an_empty_bank_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        ClassCenters(0, 4)
