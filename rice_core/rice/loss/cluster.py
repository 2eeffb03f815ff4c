"""cluster_loss: region cluster discrimination (Equations 3 and 4) over class centers that are sharded over the ranks.

For a region r with positives P_r, negatives N_r = the step's sample without P_r, and c = cosine of embedding and center:

    L_r = log(1 + sum over P_r of exp(-s g(c))) + log(1 + sum over N_r of exp(s c))
    L   = sum of weight_r L_r / sum of weight_r, over the regions of all ranks

Equation 3 (objects) is Equation 4 (OCR tokens) with one positive. Each region type is a call with a bank of its own.

Letters: R regions of this rank, D width, M labels a region, n regions that count, T touched rows, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.autograd.function import once_differentiable

from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.config import LossConfig
from rice_core.rice.loss.counted import collect
from rice_core.rice.loss.formula import margin_at
from rice_core.rice.loss.scoring import Pass, PassResult
from rice_core.rice.loss.touched import touch


@dataclass(frozen=True)
class LossOutput:
    """The loss, and what to log beside it."""

    loss: torch.Tensor
    """Scalar, the same on every rank; differentiable in the embeddings and the centers."""
    stats: dict[str, torch.Tensor]
    """Detached scalars, the same on every rank; NaN where nothing was counted.

    cosine_positive: mean to the positives. cosine_negative_p95: 95th percentile to the negatives, to 0.001, over about
    1024 of the sampled classes. top1: share of regions whose best positive beats all their negatives. no_positive: share
    of the regions with a weight whose positives no rank holds, for want of labels or by a bug; it should be 0.
    coverage: distinct positives over K. mean_feature_norm: length of the mean unit embedding; 1 is a collapse.
    """


def cluster_loss(
    x_RD: torch.Tensor,
    labels_RM: torch.Tensor,
    weight_R: torch.Tensor,
    centers: ClassCenters,
    config: LossConfig,
    *,
    step: int,
    mean_reduction: bool = False,
    weight_total: torch.Tensor | None = None,
) -> LossOutput:
    """The global weighted mean loss of all ranks' regions. Every rank of the bank's group has to call it.

    The gradients are computed here and handed out by `backward`: d loss / d x of this rank's regions, and a sparse
    `centers.weight.grad` of the touched rows (sampled classes and positives), which `RowAdamW` reads. Both add up over
    micro-batches. Under `torch.no_grad()` they are left out.

    Args:
        x_RD: embeddings, any float dtype, not normalised. Cosines are float32 (float64 for float64), autocast or not.
        labels_RM: int64 global classes, padded with -1; M is the same on every rank. Repeated labels count once.
        weight_R: 0 or more. Regions with weight 0 or without a label are ignored, and their gradient is 0.
        step: the optimizer step; fixes the negatives, and the margin while it warms up.
        mean_reduction: gradients of what made x are averaged over the ranks afterwards (DDP, FSDP), so the one for x is
            multiplied by their number. The centers' never is: they are not averaged.
        weight_total: what the weighted sum is divided by, equal on all ranks, for a step in several micro-batches whose
            losses shall add up to that of the whole; None: the weights of this call's counted regions, of all ranks.

    Raises:
        UserError: a label that the bank does not have, or a feature or weight that is not finite, on any rank.
    """
    wanted = torch.is_grad_enabled() and (x_RD.requires_grad or centers.weight.requires_grad)
    # bfloat16 rounds a cosine near 1 by up to .002, and the logit by s times that.
    with torch.autocast(x_RD.device.type, enabled=False):
        x_nD, counted = collect(x_RD, labels_RM, weight_R, centers.classes, centers.ranks)
        with torch.no_grad():
            dtype = torch.promote_types(x_RD.dtype, torch.float32)
            touched = touch(centers, counted, config, step=step, dtype=dtype)
            total = counted.weight_WN.sum() if weight_total is None else weight_total
            share_WN = torch.where(total > 0, counted.weight_WN / total, 0).to(dtype)
            one = Pass(counted, touched, centers.ranks, config, margin_at(config, step), share_WN, wanted)
            scored = one.run(x_nD)
            stats = scored.tally.stats(counted, centers.classes, centers.ranks)
    if not wanted:
        return LossOutput(scored.loss, stats)
    scale = centers.ranks.world if mean_reduction else 1
    loss = _HandOut.apply(x_nD, centers.weight, scored, touched.index_T, scale)
    return LossOutput(cast(torch.Tensor, loss), stats)


class _HandOut(torch.autograd.Function):
    """Gives the finished gradients to autograd, times the gradient at the loss."""

    @staticmethod
    def forward(
        ctx: Any, x_nD: torch.Tensor, weight_KD: torch.Tensor, scored: PassResult, index_T: torch.Tensor, scale: int
    ) -> torch.Tensor:
        ctx.save_for_backward(scored.dx_nD, scored.dw_TD, index_T)
        ctx.scale, ctx.like = scale, (x_nD.dtype, weight_KD.dtype, weight_KD.shape)
        return scored.loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dloss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dx_nD, dw_TD, index_T = ctx.saved_tensors
        x_dtype, w_dtype, w_shape = ctx.like
        dx_nD = (dx_nD * (dloss * ctx.scale)).to(x_dtype) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return dx_nD, None, None, None, None
        dw_KD = torch.sparse_coo_tensor(index_T[None], (dw_TD * dloss).to(w_dtype), w_shape, check_invariants=False)
        return dx_nD, dw_KD, None, None, None
