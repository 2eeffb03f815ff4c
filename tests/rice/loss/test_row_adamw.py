"""RowAdamW against torch's AdamW, and what it leaves alone."""

from typing import Any

import pytest
import torch
from torch import nn

from rice_core.errors import UserError
from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.cluster import cluster_loss
from rice_core.rice.loss.config import LossConfig
from rice_core.rice.loss.row_adamw import RowAdamW

SETTINGS: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1}


def start(rows: int = 6) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, 3, generator=torch.Generator().manual_seed(0)))


def gradient(rows: list[int], step: int, of: int = 6, scale: float = 1.0) -> torch.Tensor:
    values = scale * torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(step + 1))
    return torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.int64), values, (of, 3), check_invariants=True)


def test_with_every_row_touched_it_is_adamw() -> None:
    ours, theirs = start(), start()
    rows, dense = RowAdamW([ours], **SETTINGS), torch.optim.AdamW([theirs], **SETTINGS)
    for step in range(20):
        ours.grad = gradient(list(range(6)), step)
        theirs.grad = ours.grad.to_dense()
        rows.step()
        dense.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_row_evolves_as_under_adamw_on_the_steps_that_touch_it() -> None:
    ours, alone = start(), start()
    rows, dense = RowAdamW([ours], **SETTINGS), torch.optim.AdamW([alone], **SETTINGS)
    for step in range(30):
        ours.grad = gradient([2, 4] if step % 10 == 9 else [0, 5, 4], step)
        if step % 10 == 9:
            alone.grad = ours.grad.to_dense()
            dense.step()
        rows.step()
    torch.testing.assert_close(ours[2], alone[2], rtol=1e-5, atol=1e-6)
    assert rows.state[ours]["row_steps"].tolist() == [27, 0, 3, 0, 30, 27]


def moved(optimizer: Any, centers: ClassCenters, config: LossConfig, dense: bool) -> tuple[set[int], set[int]]:
    """Classes that the second step touched, and those that it moved."""
    rng = torch.Generator().manual_seed(3)
    touched: set[int] = set()
    before = centers.weight.detach().clone()
    for step in range(2):
        labels = torch.randint(0, 60, (4, 1), generator=rng)
        before = centers.weight.detach().clone()
        x = torch.randn(4, 8, generator=rng)
        cluster_loss(x, labels, torch.ones(4), centers, config, step=step).loss.backward()
        touched = set(labels.flatten().tolist()) | set(centers.sample(config, labels, step=step).tolist())
        if dense:
            assert centers.weight.grad is not None
            centers.weight.grad = centers.weight.grad.to_dense()
        optimizer.step()
        optimizer.zero_grad()
    return touched, set((centers.weight != before).any(1).nonzero()[:, 0].tolist())


def test_unsampled_centers_do_not_move_and_under_a_dense_adamw_they_would() -> None:
    config = LossConfig(rho=0.1)
    centers = ClassCenters(60, 8)
    touched, moves = moved(RowAdamW(centers.parameters(), **SETTINGS), centers, config, dense=False)
    assert moves == touched
    centers = ClassCenters(60, 8)
    settings = SETTINGS | {"weight_decay": 0.0}
    touched, moves = moved(torch.optim.AdamW(centers.parameters(), **settings), centers, config, dense=True)
    assert len(moves - touched) >= 4


def test_repeated_rows_of_accumulated_gradients_are_summed_first() -> None:
    ours, once = start(), start()
    ours.grad = torch.sparse_coo_tensor([[1, 1]], torch.ones(2, 3), (6, 3), check_invariants=True)
    once.grad = torch.sparse_coo_tensor([[1]], torch.full((1, 3), 2.0), (6, 3), check_invariants=True)
    # A large eps makes the size of the gradient matter.
    for weight in (ours, once):
        RowAdamW([weight], eps=1.0).step()
    assert torch.equal(ours, once)


def test_a_large_update_is_the_same_in_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, slabs = start(), start()
    for weight, entries in ((ours, 2**24), (slabs, 6)):
        monkeypatch.setattr("rice_core.rice.loss.row_adamw._SLAB", entries)
        weight.grad = gradient([0, 5, 2, 1, 3], 0)
        RowAdamW([weight], **SETTINGS).step()
    assert torch.equal(ours, slabs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stopped_and_resumed_it_goes_on_alike(dtype: torch.dtype) -> None:
    def train(weight: nn.Parameter, optimizer: RowAdamW, steps: range) -> None:
        for step in steps:
            weight.grad = gradient([step % 6, (step + 2) % 6], step)
            optimizer.step()

    whole = start()
    train(whole, RowAdamW([whole], state_dtype=dtype, **SETTINGS), range(12))
    first = start()
    optimizer = RowAdamW([first], state_dtype=dtype, **SETTINGS)
    train(first, optimizer, range(7))
    second = nn.Parameter(first.detach().clone())
    resumed = RowAdamW([second], state_dtype=dtype)
    resumed.load_state_dict(optimizer.state_dict())
    train(second, resumed, range(7, 12))
    assert torch.equal(second, whole)
    state = resumed.state[second]
    assert {name: value.dtype for name, value in state.items()} == {
        "exp_avg": dtype,
        "exp_avg_sq": dtype,
        "row_steps": torch.int32,
        "step": torch.int64,
    }
    assert state["exp_avg"].shape == state["exp_avg_sq"].shape == (6, 3)
    # What was loaded is a copy: the first optimizer's state stays where it stood.
    assert optimizer.state[first]["step"] == 7


def test_the_state_of_another_shard_is_refused() -> None:
    with pytest.raises(UserError, match="number of ranks"):
        RowAdamW([start(6)]).load_state_dict(RowAdamW([start(5)]).state_dict())


def test_bfloat16_moments_follow_a_gradient_that_shrinks() -> None:
    """Rounded to the nearest, the second moment would stay where the large gradients left it."""
    size = []
    for dtype in (torch.float32, torch.bfloat16):
        weight = start(200)
        optimizer = RowAdamW([weight], state_dtype=dtype, betas=(0.9, 0.999))
        for step in range(400):
            weight.grad = gradient(list(range(200)), step, of=200, scale=1.0 if step < 100 else 0.01)
            optimizer.step()
        size.append(optimizer.state[weight]["exp_avg_sq"].float().mean().item())
    assert size[1] == pytest.approx(size[0], rel=0.02)


def test_a_dense_gradient_is_refused() -> None:
    weight = start()
    weight.grad = torch.ones(6, 3)
    with pytest.raises(UserError, match=r"torch\.optim\.AdamW"):
        RowAdamW([weight]).step()


def test_another_state_dtype_is_refused() -> None:
    with pytest.raises(UserError, match="bfloat16"):
        RowAdamW([start()], state_dtype=torch.float16)


def test_an_empty_shard_and_a_bank_without_gradient_take_a_step() -> None:
    empty, untouched = nn.Parameter(torch.empty(0, 3)), start()
    empty.grad = gradient([], 0, of=0)
    before = untouched.detach().clone()
    RowAdamW([empty, untouched], state_dtype=torch.bfloat16).step()
    assert torch.equal(untouched, before)
