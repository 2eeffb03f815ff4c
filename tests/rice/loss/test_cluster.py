"""The loss against its plain writing, by finite differences, and at its edges."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from rice_core.errors import UserError
from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.cluster import cluster_loss
from rice_core.rice.loss.config import LossConfig


def configs() -> st.SearchStrategy[LossConfig]:
    return st.builds(
        LossConfig,
        form=st.sampled_from(["two_sided", "softmax"]),
        margin=st.sampled_from(["arc", "cos"]),
        m=st.sampled_from([0.0, 0.3, 0.5]),
        margin_grad=st.sampled_from(["exact", "straight_through"]),
        s=st.sampled_from([1.0, 16.0, 64.0]),
        negatives=st.sampled_from(["uniform", "partial_fc", "all"]),
        rho=st.sampled_from([0.1, 0.5, 1.0]),
        interclass_filter=st.sampled_from([None, 0.0, 0.4]),
        chunk=st.sampled_from([1, 3, 100]),
    )


def scene(seed: int, R: int, K: int, D: int, M: int) -> tuple[ClassCenters, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A bank, and regions among which some have no weight, no label or a label twice."""
    rng = torch.Generator().manual_seed(seed)
    x_RD = torch.randn(R, D, generator=rng, dtype=torch.float64)
    labels_RM = torch.randint(-1, K, (R, M), generator=rng)
    weight_R = torch.rand(R, generator=rng) * (torch.rand(R, generator=rng) > 0.2)
    return ClassCenters(K, D, seed=seed), x_RD, labels_RM, weight_R


def dense(centers: ClassCenters) -> torch.Tensor:
    assert centers.weight.grad is not None
    assert centers.weight.grad.is_sparse
    return centers.weight.grad.to_dense()


def assert_near(found: torch.Tensor | None, exact: torch.Tensor, to: float) -> None:
    """As numbers, to a share of the largest entry: small entries of a gradient are differences of large terms."""
    assert found is not None
    torch.testing.assert_close(found.double(), exact.double(), rtol=to, atol=to * exact.abs().max().item())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    config=configs(),
    seed=st.integers(0, 2**16),
    R=st.integers(1, 8),
    K=st.integers(1, 12),
    M=st.integers(1, 3),
    step=st.integers(0, 50),
)
def test_it_is_what_the_plain_writing_says(
    plain: Any, config: LossConfig, seed: int, R: int, K: int, M: int, step: int
) -> None:
    centers, x_RD, labels_RM, weight_R = scene(seed, R, K, 4, M)
    x_RD.requires_grad_()
    output = cluster_loss(x_RD, labels_RM, weight_R, centers, config, step=step)
    output.loss.backward()
    counted = labels_RM[(weight_R > 0) & (labels_RM >= 0).any(1)]
    sampled = centers.sample(config, counted, step=step).tolist()
    answer = plain(x_RD, labels_RM, weight_R, centers.weight, sampled, config)
    torch.testing.assert_close(output.loss, answer.loss, rtol=1e-6, atol=1e-7)
    assert_near(x_RD.grad, answer.dx, to=1e-6)
    assert_near(dense(centers), answer.dw, to=1e-6)


@pytest.mark.parametrize("form", ["two_sided", "softmax"])
@pytest.mark.parametrize("margin", ["arc", "cos"])
def test_adversarial_directions_in_float32(plain: Any, form: Any, margin: Any) -> None:
    """Embeddings on, opposite to and across their centers, very long, very short, and two equal centers."""
    config = LossConfig(form=form, margin=margin, negatives="all")
    centers = ClassCenters(6, 5, seed=3)
    with torch.no_grad():
        centers.weight[4] = centers.weight[5]
    w = centers.weight.detach()
    x_RD = torch.stack([w[0], -w[1], w[2] * 1e6, w[4], -w[3] * 1e-6, w[0] + w[1]]).requires_grad_()
    labels_RM = torch.tensor([[0], [1], [2], [4], [3], [1]])
    output = cluster_loss(x_RD, labels_RM, torch.ones(6), centers, config, step=0)
    output.loss.backward()
    answer = plain(x_RD, labels_RM, torch.ones(6), w, range(6), config)
    assert_near(output.loss, answer.loss, to=1e-5)
    # A gradient goes with 1 / length; times the length, the rows are of one size.
    assert x_RD.grad is not None
    x_R1, w_K1 = x_RD.detach().double().norm(dim=1, keepdim=True), w.double().norm(dim=1, keepdim=True)
    assert_near(x_RD.grad * x_R1, answer.dx * x_R1, to=1e-5)
    assert_near(dense(centers) * w_K1, answer.dw * w_K1, to=1e-5)


@pytest.mark.parametrize("form", ["two_sided", "softmax"])
@pytest.mark.parametrize("margin", ["arc", "cos"])
def test_gradients_by_finite_differences(form: Any, margin: Any) -> None:
    config = LossConfig(form=form, margin=margin, negatives="uniform", rho=0.5, s=8.0, chunk=3)
    centers, x_RD, labels_RM, weight_R = scene(5, 7, 9, 4, 2)
    centers = centers.double()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return cluster_loss(x, labels_RM, weight_R, centers, config, step=1).loss

    torch.autograd.gradcheck(loss, x_RD.requires_grad_(), eps=1e-6, atol=1e-6)
    loss(x_RD).backward()
    analytic, start, h = dense(centers), centers.weight.detach().clone(), 1e-7
    for k, d in [(k, k % 4) for k in range(9)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                centers.weight.copy_(start)
                centers.weight[k, d] += sign * h
                values.append(loss(x_RD.detach()).item())
        assert analytic[k, d].item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("negatives", ["uniform", "partial_fc", "all"])
@pytest.mark.parametrize("form", ["two_sided", "softmax"])
def test_the_result_does_not_depend_on_the_chunk(form: Any, negatives: Any) -> None:
    found = []
    for chunk in (1, 7, 16, 1000):
        centers, x_RD, labels_RM, weight_R = scene(8, 50, 200, 16, 3)
        x_RD = x_RD.float().requires_grad_()
        config = LossConfig(form=form, negatives=negatives, rho=0.2, chunk=chunk)
        output = cluster_loss(x_RD, labels_RM, weight_R, centers, config, step=2)
        output.loss.backward()
        found.append((output.loss.detach(), x_RD.grad, dense(centers), *output.stats.values()))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert_near(two, one, to=1e-5)


def test_no_tensor_is_larger_than_a_chunk_of_logits() -> None:
    class Largest(TorchFunctionMode):
        entries = 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and not out.is_sparse and out.data_ptr() != centers.weight.data_ptr():
                self.entries = max(self.entries, out.numel())
            return out

    centers, x_RD, labels_RM, _ = scene(0, 256, 4000, 4, 1)
    with Largest() as largest:
        config = LossConfig(rho=0.25, chunk=8)
        cluster_loss(x_RD.float().requires_grad_(), labels_RM, torch.ones(256), centers, config, step=0)
    assert largest.entries == 8 * 1000


def test_only_sampled_centers_and_positives_get_a_gradient() -> None:
    centers, x_RD, labels_RM, weight_R = scene(1, 6, 500, 8, 1)
    config = LossConfig(rho=0.05)
    cluster_loss(x_RD, labels_RM, weight_R, centers, config, step=4).loss.backward()
    counted = labels_RM[(weight_R > 0) & (labels_RM >= 0).any(1)]
    expected = set(counted.flatten().tolist()) | set(centers.sample(config, counted, step=4).tolist())
    assert centers.weight.grad is not None
    assert set(centers.weight.grad.coalesce().indices()[0].tolist()) == expected
    assert len(expected) < 35


def test_micro_batches_add_up_to_the_whole_batch_and_zero_grad_clears_them() -> None:
    centers, x_RD, labels_RM, weight_R = scene(2, 12, 40, 8, 2)
    config = LossConfig(rho=0.3)
    whole = cluster_loss(x_RD.requires_grad_(), labels_RM, weight_R, centers, config, step=1).loss
    whole.backward()
    expected_w, expected_x = dense(centers).clone(), x_RD.grad
    x_RD.grad = None
    centers.zero_grad()
    assert centers.weight.grad is None
    total = weight_R[(labels_RM >= 0).any(1)].sum()
    parts = 0.0
    for part in (slice(0, 5), slice(5, 6), slice(6, 12)):
        loss = cluster_loss(
            x_RD[part], labels_RM[part], weight_R[part], centers, config, step=1, weight_total=total
        ).loss
        loss.backward()
        parts += loss.item()
    assert parts == pytest.approx(whole.item(), rel=1e-6)
    assert_near(dense(centers), expected_w, to=1e-6)
    assert_near(x_RD.grad, expected_x, to=1e-6)
    centers.zero_grad(set_to_none=False)
    assert dense(centers).abs().max() == 0


def test_the_gradient_at_the_loss_scales_both() -> None:
    centers, x_RD, labels_RM, weight_R = scene(2, 6, 20, 4, 1)
    loss = cluster_loss(x_RD.requires_grad_(), labels_RM, weight_R, centers, LossConfig(), step=1).loss
    loss.backward(retain_graph=True)
    once_x, once_w = x_RD.grad, dense(centers)
    x_RD.grad = centers.weight.grad = None
    (loss * 3).backward()
    assert once_x is not None
    torch.testing.assert_close(x_RD.grad, once_x * 3)
    torch.testing.assert_close(dense(centers), once_w * 3)


@pytest.mark.parametrize("reason", ["no weight", "no label", "no region"])
def test_nothing_to_learn_is_loss_zero_with_zero_gradient(reason: str) -> None:
    centers, x_RD, labels_RM, weight_R = scene(2, 6, 20, 4, 2)
    if reason == "no weight":
        weight_R = torch.zeros(6)
    elif reason == "no label":
        labels_RM = torch.full((6, 2), -1)
    else:
        x_RD, labels_RM, weight_R = x_RD[:0], labels_RM[:0], weight_R[:0]
    x_RD.requires_grad_()
    output = cluster_loss(x_RD, labels_RM, weight_R, centers, LossConfig(), step=0)
    output.loss.backward()
    assert output.loss == 0
    assert x_RD.grad is not None
    assert (x_RD.grad == 0).all()
    assert centers.weight.grad is not None
    assert centers.weight.grad.coalesce().indices().numel() == 0


def test_a_zero_embedding_has_a_finite_loss_and_no_direction_to_learn() -> None:
    centers = ClassCenters(5, 4)
    x_RD = torch.zeros(2, 4, requires_grad=True)
    output = cluster_loss(x_RD, torch.tensor([[0], [1]]), torch.ones(2), centers, LossConfig(), step=0)
    output.loss.backward()
    assert output.loss.isfinite()
    assert x_RD.grad is not None
    assert (x_RD.grad == 0).all()


def test_without_gradients_there_is_the_same_loss() -> None:
    centers, x_RD, labels_RM, weight_R = scene(2, 6, 20, 4, 2)
    config = LossConfig()
    with torch.no_grad():
        loss = cluster_loss(x_RD, labels_RM, weight_R, centers, config, step=0).loss
    assert not loss.requires_grad
    torch.testing.assert_close(loss, cluster_loss(x_RD, labels_RM, weight_R, centers, config, step=0).loss)


def test_cosines_are_float32_under_bfloat16_autocast() -> None:
    centers, x_RD, labels_RM, weight_R = scene(2, 20, 50, 16, 1)
    x = x_RD.bfloat16().requires_grad_()
    config = LossConfig(negatives="all")
    with torch.autocast("cpu", torch.bfloat16):
        loss = cluster_loss(x, labels_RM, weight_R, centers, config, step=0).loss
    exact = cluster_loss(x.detach().double(), labels_RM, weight_R, centers, config, step=0).loss
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)
    loss.backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("label", [7, 12, -2])
@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_an_impossible_label_is_named_with_the_number_of_classes(label: int, weight: float) -> None:
    labels_RM = torch.tensor([[0, 1], [label, -1]])
    with pytest.raises(UserError, match=rf"Label {label} .* 7 classes"):
        cluster_loss(torch.randn(2, 4), labels_RM, torch.tensor([1, weight]), ClassCenters(7, 4), LossConfig(), step=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_an_embedding_that_is_not_finite_stops_the_step(bad: float, weight: float) -> None:
    x_RD = torch.randn(2, 4)
    x_RD[1, 2] = bad
    with pytest.raises(UserError, match="not finite"):
        cluster_loss(
            x_RD, torch.tensor([[0], [1]]), torch.tensor([1, weight]), ClassCenters(7, 4), LossConfig(), step=0
        )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_a_weight_that_cannot_be_stops_the_step(bad: float) -> None:
    with pytest.raises(UserError, match="weight"):
        cluster_loss(
            torch.randn(2, 4),
            torch.tensor([[0], [1]]),
            torch.tensor([1, bad]),
            ClassCenters(7, 4),
            LossConfig(),
            step=0,
        )


def test_the_margin_warms_up_with_the_step(plain: Any) -> None:
    centers, x_RD, labels_RM, weight_R = scene(4, 6, 20, 4, 1)
    config = LossConfig(margin_warm_up=10, negatives="all")
    loss = cluster_loss(x_RD, labels_RM, weight_R, centers, config, step=5).loss
    answer = plain(x_RD, labels_RM, weight_R, centers.weight, range(20), config, m=0.15)
    torch.testing.assert_close(loss.detach(), answer.loss, rtol=1e-6, atol=0)


def test_the_stats_are_what_they_say() -> None:
    """Centers e1..e4. Three regions on e1 (labels 1, 1 and 2, so the third is wrong), one without a label."""
    centers = ClassCenters(4, 4)
    with torch.no_grad():
        centers.weight.copy_(3 * torch.eye(4))
    e = torch.eye(4)
    x_RD = torch.stack([e[0], 2 * e[0], 0.8 * e[0] + 0.6 * e[1], e[3]])
    labels_RM = torch.tensor([[0, 0], [0, -1], [1, -1], [-1, -1]])
    stats = cluster_loss(x_RD, labels_RM, torch.ones(4), centers, LossConfig(negatives="all"), step=0).stats
    assert stats["cosine_positive"] == pytest.approx((1 + 1 + 0.6) / 3)
    assert stats["cosine_negative_p95"] == pytest.approx(0.8, abs=1.1e-3)  # the largest of nine
    assert stats["top1"] == pytest.approx(2 / 3)
    assert stats["no_positive"] == pytest.approx(1 / 4)
    assert stats["coverage"] == pytest.approx(2 / 4)
    assert stats["mean_feature_norm"] == pytest.approx(math.hypot(2.8, 0.6) / 3)
    assert all(not value.requires_grad and value.shape == () for value in stats.values())


def test_the_percentile_of_many_negatives() -> None:
    centers, x_RD, labels_RM, weight_R = scene(4, 40, 5000, 16, 1)
    stats = cluster_loss(x_RD, labels_RM, weight_R + 0.1, centers, LossConfig(negatives="all"), step=0).stats
    cosines = torch.nn.functional.normalize(x_RD.float()) @ torch.nn.functional.normalize(centers.weight.detach()).T
    assert stats["cosine_negative_p95"] == pytest.approx(cosines.flatten().quantile(0.95).item(), abs=0.01)
