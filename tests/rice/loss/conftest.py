"""The loss written plainly: float64, one region and one class at a time, gradients by autograd."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from rice_core.rice.loss.config import LossConfig

Plain = Callable[..., "Answer"]


@dataclass(frozen=True)
class Answer:
    loss: torch.Tensor
    dx: torch.Tensor
    dw: torch.Tensor


def _margin(c: torch.Tensor, m: float, config: LossConfig) -> torch.Tensor:
    if config.margin == "cos":
        g = c - m
    elif math.acos(c.item()) + m > math.pi:
        g = c - m * math.sin(m)
    else:
        g = c * math.cos(m) - torch.sqrt(torch.clamp(1 - c**2, min=1e-6)) * math.sin(m)
    return g if config.margin_grad == "exact" else c + (g - c).detach()


def _region(cosines: torch.Tensor, positives: set[int], sampled: Iterable[int], m: float, config: LossConfig) -> Any:
    s, filtered = config.s, config.interclass_filter
    others = [k for k in sampled if k not in positives and (filtered is None or cosines[k] <= filtered)]
    up = [s * cosines[k] for k in others]
    down = [s * _margin(cosines[k], m, config) for k in sorted(positives)]
    zero = torch.zeros((), dtype=torch.float64)
    if config.form == "two_sided":
        return torch.stack([zero, *(-z for z in down)]).logsumexp(0) + torch.stack([zero, *up]).logsumexp(0)
    return sum(torch.stack([z, *up]).logsumexp(0) - z for z in down) / len(down)


def plain_loss(
    x: torch.Tensor,
    labels: Sequence[Sequence[int]] | torch.Tensor,
    weight: torch.Tensor,
    w: torch.Tensor,
    sampled: Iterable[int],
    config: LossConfig,
    m: float | None = None,
) -> Answer:
    rows = labels.tolist() if isinstance(labels, torch.Tensor) else labels
    x, w = (t.detach().double().requires_grad_() for t in (x, w))
    sampled = list(sampled)
    total, loss = 0.0, (x.sum() + w.sum()) * 0
    for i, row in enumerate(rows):
        positives = {k for k in row if k >= 0}
        if weight[i] > 0 and positives:
            cosines = torch.clamp((x[i] / x[i].norm()) @ (w / w.norm(dim=1, keepdim=True)).T, -1, 1)
            region = _region(cosines, positives, sampled, config.m if m is None else m, config)
            loss, total = loss + weight[i].double() * region, total + weight[i].item()
    loss = loss / total if total else loss
    loss.backward()
    return Answer(loss.detach(), x.grad, w.grad)


@pytest.fixture(scope="session")
def plain() -> Plain:
    return plain_loss
