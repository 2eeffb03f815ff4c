"""Counted: which regions of all ranks the loss counts, with their labels and weights, checked.

Letters: W ranks, R regions of a rank, N regions of the fullest rank that count, D width, M labels a region.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from rice_core.errors import UserError
from rice_core.rice.loss.holders import Holders


@dataclass(frozen=True)
class Counted:
    """Regions with a weight and a label. Their features stay on their ranks."""

    labels_WNM: torch.Tensor
    """int64; -1 for padding, duplicates and the missing regions of emptier ranks."""
    weight_WN: torch.Tensor
    """float32; 0 for the missing regions of emptier ranks."""
    classes: torch.Tensor
    """Distinct labels, ascending."""
    weighted: int
    """Regions with a weight, with or without a label."""


def collect(
    x_RD: torch.Tensor, labels_RM: torch.Tensor, weight_R: torch.Tensor, classes: int, ranks: Holders
) -> tuple[torch.Tensor, Counted]:
    """This rank's regions that count, (n, D), and the labels and weights of all ranks'.

    Raises:
        UserError: an impossible label, a feature or weight that is not finite, or a negative weight, on any rank; every
            rank raises, so none waits for another.
    """
    counts_R = (weight_R > 0) & (labels_RM >= 0).any(1)
    facts_WF = ranks.gather(_facts(x_RD, labels_RM, weight_R, counts_R)).tolist()  # the one wait for the device
    _check(facts_WF, classes)
    rows, weighted = max(facts[0] for facts in facts_WF), sum(facts[1] for facts in facts_WF)
    # Loaders pad labels to the longest of their own rank.
    wider = max(facts[-1] for facts in facts_WF) - labels_RM.shape[1]
    labels_nM = F.pad(_distinct(labels_RM[counts_R]), (0, wider), value=-1)
    weight_n = weight_R[counts_R].float()
    missing = rows - len(labels_nM)
    labels_WNM = ranks.gather(F.pad(labels_nM, (0, 0, 0, missing), value=-1)) if rows else labels_nM[None]
    weight_WN = ranks.gather(F.pad(weight_n, (0, missing))) if rows else weight_n[None]
    counted = Counted(labels_WNM, weight_WN, torch.unique(labels_WNM[labels_WNM >= 0]), weighted)
    return x_RD[counts_R], counted


def _facts(x_RD: torch.Tensor, labels_RM: torch.Tensor, weight_R: torch.Tensor, counts_R: torch.Tensor) -> torch.Tensor:
    # Features that do not count are looked at as well: their zero gradient times an infinite one is NaN in the trunk.
    least, most = torch.cat([labels_RM.flatten(), labels_RM.new_full((1,), -1)]).aminmax()
    weights = (weight_R.isfinite() & (weight_R >= 0)).all()
    facts = [counts_R.sum(), (weight_R > 0).sum(), least, most, x_RD.isfinite().all().long(), weights.long()]
    return torch.stack([*facts, least.new_tensor(labels_RM.shape[1])])


def _check(facts_WF: list[list[int]], classes: int) -> None:
    for _, _, least, most, features, weights, _ in facts_WF:
        if least < -1 or most >= classes:
            raise UserError(
                f"Label {least if least < -1 else most} does not fit a bank of {classes} classes (0 to {classes - 1}, "
                "-1 for padding); train on the folder whose manifest sized the bank, or curate again."
            )
        if not features:
            raise UserError(
                "A region embedding is not finite, so this step would spoil the weights; lower the learning rate, "
                "clip the gradient, or use precision fp32."
            )
        if not weights:
            raise UserError("A region's weight is negative or not finite; weights are 0 (leave out) or more.")


def _distinct(labels_RM: torch.Tensor) -> torch.Tensor:
    """Each row's labels once, descending; repeats become -1. The positives of a region are a set."""
    sorted_RM = labels_RM.sort(dim=1, descending=True).values
    repeated_RM = F.pad(sorted_RM[:, 1:] == sorted_RM[:, :-1], (1, 0))
    return sorted_RM.masked_fill(repeated_RM, -1)
