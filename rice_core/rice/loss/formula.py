"""Equations 3 and 4 of the paper for one region, from its cosines: the only place where the margin and the forms are.

Letters: C regions, M places for positives.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from rice_core.rice.loss.config import LossConfig

_EPS = 1e-6
"""Least sin^2: the slope of the sine is infinite at c = 1, and 1 - c^2 has no digits left there in float32."""


def margin_at(config: LossConfig, step: int) -> float:
    """m of a step: it rises linearly from 0 over `margin_warm_up` steps."""
    return config.m * min(1.0, step / config.margin_warm_up) if config.margin_warm_up else config.m


def with_margin(c: torch.Tensor, m: float, config: LossConfig) -> torch.Tensor:
    """g(c) of cosines in [-1, 1], any shape.

    arc: cos(arccos c + m) = c cos m - sqrt(max(1 - c^2, eps)) sin m, and c - m sin m where arccos c + m > pi, since
    cos rises again there and would reward features that point away from their center. cos: c - m.
    """
    if config.margin == "cos":
        g = c - m
    else:
        turned = c * math.cos(m) - (1 - c * c).clamp(min=_EPS).sqrt() * math.sin(m)
        g = torch.where(c < math.cos(max(math.pi - m, 0.0)), c - m * math.sin(m), turned)
    return g if config.margin_grad == "exact" else c + (g - c).detach()


def region_loss(
    c_CM: torch.Tensor, valid_CM: torch.Tensor, lse_C: torch.Tensor, m: float, config: LossConfig
) -> torch.Tensor:
    """The loss of each region, (C,), differentiable in `c_CM` and `lse_C`.

    two_sided: log(1 + sum of exp(-s g(c+))) + log(1 + sum of exp(s c-)). softmax: -log of the share that a positive has
    among itself and the negatives, averaged over the positives.

    Args:
        c_CM: cosines to the positives; whatever is in places where `valid_CM` is false does not count.
        lse_C: log of the sum of exp(s c-) over the negatives of all ranks; -inf where there are none.
    """
    z_CM = config.s * with_margin(c_CM, m, config)
    if config.form == "two_sided":
        # softplus(lse) = log(1 + sum exp); a finite filler keeps the gradient of rows without any positive finite.
        positive_C = (-z_CM).masked_fill(~valid_CM, torch.finfo(z_CM.dtype).min).logsumexp(1)
        return F.softplus(positive_C) + F.softplus(lse_C)
    each_CM = F.softplus(lse_C[:, None] - z_CM).masked_fill(~valid_CM, 0)
    return each_CM.sum(1) / valid_CM.sum(1).clamp(min=1)
