"""Sigmoid scores and the federated loss (Zhou et al. 2021, "Probabilistic two-stage detection", 4.2; made for LVIS).

An image of LVIS is labelled for some categories only, so an absent category is no proof of absence. Each step learns from
the categories of its own boxes and from drawn ones, the frequent more often. Letters: R boxes, K categories.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from rice_core.errors import UserError

DRAWN = 50
"""Categories a step learns from, background included where a box has it."""
_POWER = 0.5


def category_weights(frequencies: Sequence[float] | None, classes: int) -> torch.Tensor:
    """How often each category is drawn as a negative, (K,): the square root of its images.

    Raises:
        UserError: there is not a number for each category, one is below 0, or all are 0.
    """
    counts_K = torch.tensor(list(frequencies or ()), dtype=torch.float32)
    if len(counts_K) != classes or not (counts_K >= 0).all() or not counts_K.any():
        raise UserError(
            f"The federated loss needs the number of images of each of {classes} categories and got {counts_K.tolist()[:8]}; "
            "use annotations with image_count, as LVIS has them, or a recipe with federated=false."
        )
    return counts_K**_POWER


def drawn_categories(weight_K: torch.Tensor) -> int:
    """DRAWN, or all there are in a smaller data set."""
    return min(DRAWN, int((weight_K > 0).sum()))


def learnt_categories(
    label_R: torch.Tensor, weight_K: torch.Tensor, drawn: int, generator: torch.Generator | None
) -> torch.Tensor:
    """What a step learns of: the boxes' own categories, and drawn ones where they are fewer than `drawn`.

    Args:
        label_R: 0 to K - 1, or K for background.
        drawn: `drawn_categories(weight_K)`, which a GPU is not asked for in each step.
    """
    if not len(label_R):
        return label_R
    learnt = label_R.unique()
    if len(learnt) < drawn:
        chance_J = F.pad(weight_K, (0, 1))
        chance_J[learnt] = 0
        more = drawn - len(learnt)
        device = generator.device if generator else chance_J.device
        others = torch.multinomial(chance_J.to(device), more, replacement=False, generator=generator)
        learnt = torch.cat([learnt, others.to(learnt.device)])
    return learnt


def federated_loss(logits_RJ: torch.Tensor, label_R: torch.Tensor, learnt: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy over the categories that are learnt, summed over these, mean over boxes.

    Args:
        logits_RJ: of K categories and of background, which is not learnt.
        label_R: 0 to K - 1, or K for background.
        learnt: `learnt_categories`.
    """
    if not len(label_R):
        return logits_RJ.sum() * 0
    classes = logits_RJ.shape[1] - 1
    learnt_J = torch.zeros_like(logits_RJ[0], dtype=torch.float32)
    learnt_J[learnt] = 1
    truth_RJ = F.one_hot(label_R, classes + 1).float()
    loss_RK = F.binary_cross_entropy_with_logits(logits_RJ[:, :classes], truth_RJ[:, :classes], reduction="none")
    return (loss_RK * learnt_J[:classes]).sum() / len(label_R)
