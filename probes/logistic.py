"""Multinomial logistic regression: the same minimum as scikit-learn's, on the encoder's device.

Ours because scikit-learn's solver stays on the CPU, where the 300,000 tokens of `linear-seg` take minutes a fit; on small
problems the two take about as long. scikit-learn is the oracle in the tests. Letters: N rows, D features, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
"""scikit-learn's C: the weight of the data against |weights|^2 / 2."""


def penalties(holdout: float) -> str:
    """How C is chosen, in words."""
    grid = ", ".join(f"{C:g}" for C in PENALTIES)
    return f"scikit-learn's C is one of {grid}, by cross-entropy on {holdout:.0%} of the train images, never on val."


@dataclass(frozen=True)
class PenaltyChoice:
    """The C of the least cross-entropy on held-out images."""

    C: float
    weight_DK: torch.Tensor | None
    """What it came to on the other images: a near start for the fit on all."""
    sentence: str
    held_out: int
    """Images; 0 where there were too few."""


def choose_C(
    x_ND: torch.Tensor,
    y_N: torch.Tensor,
    image_N: npt.NDArray[np.str_],
    grid: Iterable[float],
    *,
    holdout: float,
    seed: int,
) -> PenaltyChoice:
    """Fit with each C on a part of the images, judge on the held-out ones.

    Cross-entropy rather than accuracy: it uses every row, and accuracy of rare classes is a matter of a few hits.

    Args:
        y_N: classes from 0 without gaps. A class that only the held-out images have is left out of the judgement.
        image_N: the image of each row: objects of one image are never on both sides.
        grid: from strong to weak penalty, left at the first that is worse than the one before. Each fit starts from the one
            before, which takes fewer steps than from zero.
    """
    import torch

    images = np.unique(image_N)
    held = np.random.default_rng(seed).permutation(images)[: math.ceil(holdout * len(images))]
    held_N = torch.from_numpy(np.isin(image_N, held)).to(x_ND.device)
    met_K = torch.bincount(y_N[~held_N], minlength=int(y_N.max()) + 1) > 0
    judged_N = held_N & met_K[y_N]
    if met_K.sum() < 2 or not judged_N.any():
        return PenaltyChoice(1.0, None, "C is 1: too few train images to hold any out.", 0)
    fit_x, fit_y, held_x, held_y = x_ND[~held_N], y_N[~held_N], x_ND[judged_N], y_N[judged_N]
    least, best, best_DK = math.inf, 0.0, None
    for C in grid:
        weight_DK = fit_logistic(fit_x, fit_y, len(met_K), C=C, start_DK=best_DK)
        missed = float(torch.nn.functional.cross_entropy(logits(held_x, weight_DK), held_y))
        if missed >= least:
            break  # A weaker penalty only fits the noise better from here on.
        least, best, best_DK = missed, C, weight_DK
    return PenaltyChoice(
        best, best_DK, f"C is {best:g}: best of the grid on {len(held)} held-out train images.", len(held)
    )


def standardiser(x_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and scale [D] of each feature; the scale of a constant feature is 1, so that it stays what it is: nothing."""
    import torch

    mean_D = x_ND.mean(0, dtype=torch.float64)
    # Feature by feature in float64 would double the memory; centred first, float32 is precise enough.
    scale_D = (x_ND - mean_D.to(x_ND.dtype)).std(0, correction=0).double()
    scale_D[scale_D <= 1e-6 * mean_D.abs()] = 1.0
    return mean_D.to(x_ND.dtype), scale_D.to(x_ND.dtype)


def fit_logistic(
    x_ND: torch.Tensor,
    y_N: torch.Tensor,
    classes: int,
    *,
    C: float,
    start_DK: torch.Tensor | None = None,
    iterations: int = 100,
    tolerance: float = 1e-4,
) -> torch.Tensor:
    """Weights [D + 1, K], the intercept last, that minimise `C * sum of cross-entropies + |weights|^2 / 2` by L-BFGS.

    Args:
        start_DK: where to begin (the weights of a neighbouring C); zeros if not given.
        tolerance: of the largest gradient of the mean loss, scikit-learn's default.
    """
    import torch

    # Not torch.optim: its first step imports torch's compiler, five seconds in every process.
    from scipy.optimize import minimize

    N, D = x_ND.shape
    start_DK = x_ND.new_zeros(D + 1, classes) if start_DK is None else start_DK

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weight_DK = x_ND.new_tensor(flat).view(D + 1, classes)
        log_NK = logits(x_ND, weight_DK).log_softmax(1)
        missed = -log_NK.gather(1, y_N[:, None]).double().mean()
        slope_NK = log_NK.exp_().scatter_add_(1, y_N[:, None], -x_ND.new_ones(N, 1)) / N
        penalty_DK = weight_DK[:-1] / (C * N)
        slope_DK = torch.cat([x_ND.T @ slope_NK + penalty_DK, slope_NK.sum(0, keepdim=True)])
        value = missed + (penalty_DK.double() * weight_DK[:-1]).sum() / 2
        return float(value), slope_DK.double().cpu().numpy().ravel()

    found = minimize(
        loss,
        start_DK.double().cpu().numpy().ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "gtol": tolerance, "ftol": 64 * np.finfo(np.float64).eps},
    )
    return x_ND.new_tensor(found.x).view(D + 1, classes)


def logits(x_ND: torch.Tensor, weight_DK: torch.Tensor) -> torch.Tensor:
    """[N, K]; weights as `fit_logistic` gives them."""
    return x_ND @ weight_DK[:-1] + weight_DK[-1]
