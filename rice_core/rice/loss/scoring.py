"""The loss and its gradients in one pass over chunks of regions, while their logits are there.

Logits are the loss's only big tensor (regions x sampled classes). Each chunk makes its own, reduces them over the ranks
to a few numbers a region, turns them into gradients in place, and drops them: nothing is kept for, or recomputed in,
a backward pass.

Letters: N regions of the fullest rank, n of this one, c of each in a chunk, C = W * c of the chunk over W ranks, D width,
M places for positives, S sampled classes and T touched rows of this rank, P pairs of region and positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from rice_core.rice.loss.config import LossConfig
from rice_core.rice.loss.counted import Counted
from rice_core.rice.loss.formula import region_loss
from rice_core.rice.loss.holders import Holders
from rice_core.rice.loss.tally import Tally
from rice_core.rice.loss.touched import PositivePairs, Touched, denormalized_, normalized


@dataclass(frozen=True)
class PassResult:
    """What a pass found."""

    loss: torch.Tensor
    dx_nD: torch.Tensor | None
    """d loss / d x of this rank's regions."""
    dw_TD: torch.Tensor | None
    """d loss / d center of the touched rows."""
    tally: Tally


@dataclass(frozen=True)
class Pass:
    """One call of the loss."""

    counted: Counted
    touched: Touched
    ranks: Holders
    config: LossConfig
    m: float
    share_WN: torch.Tensor
    """Weight of each region over that of all."""
    gradients: bool

    def run(self, x_nD: torch.Tensor) -> PassResult:
        """Score this rank's regions, and its centers against everyone's."""
        unit_TD = self.touched.unit_TD
        scored = PassResult(
            loss=unit_TD.new_zeros(()),
            dx_nD=torch.zeros_like(x_nD, dtype=unit_TD.dtype) if self.gradients else None,
            dw_TD=torch.zeros_like(unit_TD) if self.gradients else None,
            tally=Tally(unit_TD, x_nD.shape[1]),
        )
        size = max(1, self.config.chunk // self.ranks.world)
        for at in range(0, self.share_WN.shape[1], size):
            here = slice(at, at + size)
            share_C = self.share_WN[:, here].flatten()
            unit_cD, norm_c1 = normalized(x_nD[here].to(unit_TD.dtype))
            missing = self.share_WN[:, here].shape[1] - len(unit_cD)
            unit_CD = self.ranks.gather(F.pad(unit_cD, (0, 0, 0, missing))).flatten(0, 1)
            dunit_CD = self._chunk(unit_CD, self.counted.labels_WNM[:, here].flatten(0, 1), share_C, scored)
            if scored.dx_nD is not None and dunit_CD is not None:
                own_cD = self.ranks.own_total(dunit_CD)[: len(unit_cD)]
                scored.dx_nD[here] = denormalized_(own_cD, unit_cD, norm_c1)
        if scored.dw_TD is not None:
            denormalized_(scored.dw_TD, unit_TD, self.touched.norm_T1)
        return scored

    def _chunk(
        self, unit_CD: torch.Tensor, labels_CM: torch.Tensor, share_C: torch.Tensor, into: PassResult
    ) -> torch.Tensor | None:
        """Add a chunk's part; returns this rank's part of the gradient at the unit embeddings of all ranks."""
        s, valid_CM = self.config.s, labels_CM >= 0
        pairs = self.touched.pairs(labels_CM)
        cos_CS = self._negatives(unit_CD, pairs)
        into.tally.negatives(cos_CS, valid_CM, self.ranks.world)

        top_C = cos_CS.amax(1) if cos_CS.shape[1] else cos_CS.new_full(cos_CS.shape[:1], -torch.inf)
        top_C = self.ranks.greatest(top_C)
        shift_C = torch.where(top_C.isfinite(), s * top_C, 0)
        exp_CS = cos_CS.mul_(s).sub_(shift_C[:, None]).exp_()
        sums = (exp_CS.sum(1, keepdim=True), self._positives(unit_CD, pairs, labels_CM))
        summed = self.ranks.total(torch.cat(sums, 1))
        sum_C1, found_C1, cos_CM = summed[:, :1], summed[:, 1:2], summed[:, 2:]
        into.tally.positives(unit_CD, cos_CM, valid_CM, top_C, found_C1)

        lse_C = shift_C + sum_C1[:, 0].log()
        loss, dcos_CM, dlse_C = self._losses(cos_CM, valid_CM, lse_C, share_C)
        into.loss.add_(loss)
        if into.dw_TD is None:
            return None
        # The greatest of all terms is exp(0), so a sum below 1 is 0: no negatives, and nothing to divide.
        dcos_CS = exp_CS.mul_((s * dlse_C[:, None]) / sum_C1.clamp(min=1))
        return self._spread(unit_CD, dcos_CS, dcos_CM, pairs, into.dw_TD)

    def _negatives(self, unit_CD: torch.Tensor, pairs: PositivePairs) -> torch.Tensor:
        """Cosines to this rank's sample, (C, S); -inf where a class is a positive of the region, or filtered."""
        cos_CS = (unit_CD @ self.touched.unit_TD[: self.touched.sampled].T).clamp_(-1, 1)
        if self.config.interclass_filter is not None:
            cos_CS.masked_fill_(cos_CS > self.config.interclass_filter, -torch.inf)
        among = pairs.row_P < self.touched.sampled
        cos_CS[pairs.region_P[among], pairs.row_P[among]] = -torch.inf
        return cos_CS

    def _positives(self, unit_CD: torch.Tensor, pairs: PositivePairs, labels_CM: torch.Tensor) -> torch.Tensor:
        """How many positives of a region this rank holds, then the cosine to each, or 0 where it does not, (C, 1 + M)."""
        found_CM = torch.zeros_like(labels_CM, dtype=unit_CD.dtype)
        cos_CM = torch.zeros_like(found_CM)
        found_CM[pairs.region_P, pairs.place_P] = 1
        for region_P, place_P, row_P in pairs.split(len(unit_CD)):
            cos_P = (unit_CD[region_P] * self.touched.unit_TD[row_P]).sum(1)
            cos_CM[region_P, place_P] = cos_P.clamp(-1, 1)
        return torch.cat([found_CM.sum(1, keepdim=True), cos_CM], 1)

    def _losses(
        self, cos_CM: torch.Tensor, valid_CM: torch.Tensor, lse_C: torch.Tensor, share_C: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The chunk's share of the loss, and its gradient at the positives' cosines and at the negatives' sum."""
        with torch.enable_grad():
            cos_CM, lse_C = cos_CM.detach().requires_grad_(), lse_C.detach().requires_grad_()
            loss = (region_loss(cos_CM, valid_CM, lse_C, self.m, self.config) * share_C).sum()
            dcos_CM, dlse_C = torch.autograd.grad(loss, (cos_CM, lse_C))
        return loss.detach(), dcos_CM, dlse_C

    def _spread(
        self,
        unit_CD: torch.Tensor,
        dcos_CS: torch.Tensor,
        dcos_CM: torch.Tensor,
        pairs: PositivePairs,
        dw_TD: torch.Tensor,
    ) -> torch.Tensor:
        """From the gradient at the cosines to that at the unit embeddings (returned) and centers (added to)."""
        unit_TD, sampled = self.touched.unit_TD, self.touched.sampled
        dunit_CD = dcos_CS @ unit_TD[:sampled]
        dw_TD[:sampled].addmm_(dcos_CS.T, unit_CD)
        for region_P, place_P, row_P in pairs.split(len(unit_CD)):
            d_P1 = dcos_CM[region_P, place_P][:, None]
            dunit_CD.index_add_(0, region_P, d_P1 * unit_TD[row_P])
            dw_TD.index_add_(0, row_P, d_P1 * unit_CD[region_P])
        return dunit_CD
