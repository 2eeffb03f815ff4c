"""Cosine distances between the patch tokens of one image (paper Figure 4), and whether they tell its objects apart.

A larger mean distance alone is no merit: noise has the largest. So where objects are annotated, pairs of tokens within one
object are also ranked against pairs across. Shapes: A anchor tokens, T tokens, C channels, H x W the patch grid, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.label_maps import IGNORED, majority
from rice_core.features import IGNORE

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenPairs:
    """Distances of pairs of tokens of one image, each 1 - cosine, in [0, 2]."""

    all_P: npt.NDArray[np.float32]
    within_P: npt.NDArray[np.float32]
    """Both tokens in objects of one category. Empty without annotations."""
    across_P: npt.NDArray[np.float32]
    """One token in an object, the other in another category or the background. Empty without annotations.

    Tokens that are ignored are in neither kind of pair.
    """

    tokens: int

    @property
    def sampled(self) -> bool:
        """Whether they are not all pairs of the image."""
        return len(self.all_P) < self.tokens * (self.tokens - 1)

    @property
    def separation(self) -> float | None:
        """AUROC in percent that a pair within one object is closer than a pair across; None without both kinds."""
        return auroc(self.within_P, self.across_P) if len(self.within_P) and len(self.across_P) else None


def token_pairs(x_TC: Floats, label_T: Ints | None, *, most: int, generator: np.random.Generator) -> TokenPairs:
    """Measure the pairs of one image: all of them, or, where there are more than `most`, those of a sample of tokens.

    Pairs are ordered (each counts in both directions), which changes no mean, median or rank. Sampling whole tokens
    keeps this one matrix product. A zero vector is at distance 0 from another one, and at 1 from everything else.

    Args:
        label_T: category of each token, else BACKGROUND or IGNORE.
    """
    T = len(x_TC)
    anchors = T if most >= T * (T - 1) else max(1, most // (T - 1))
    chosen_A = np.arange(T) if anchors == T else np.sort(generator.choice(T, anchors, replace=False))
    distance_AT = _distances(x_TC, chosen_A)
    other_AT = chosen_A[:, None] != np.arange(T)
    if label_T is None:
        nothing = np.zeros(0, np.float32)
        return TokenPairs(distance_AT[other_AT], nothing, nothing, T)
    same_AT = label_T[chosen_A, None] == label_T
    object_AT = (label_T[chosen_A, None] >= 0) | (label_T >= 0)
    known_AT = (label_T[chosen_A, None] != IGNORE) & (label_T != IGNORE)
    return TokenPairs(
        distance_AT[other_AT], distance_AT[other_AT & same_AT & object_AT], distance_AT[~same_AT & known_AT], T
    )


def token_labels(label_HW: Ints, grid_hw: tuple[int, int]) -> Ints:
    """The most frequent of category, BACKGROUND and IGNORE among the pixels under each token, row by row."""
    known_K = np.setdiff1d(label_HW, [IGNORE])
    code_HW = np.where(label_HW == IGNORE, IGNORED, np.searchsorted(known_K, label_HW))
    # IGNORED is -1: the last one.
    return np.append(known_K, IGNORE)[majority(code_HW, grid_hw, len(known_K)).ravel()]


def auroc(lower_P: Floats, higher_P: Floats) -> float:
    """Percent of (lower, higher) pairs that are in this order; ties count half. 50 is chance."""
    from scipy.stats import rankdata

    n = len(lower_P)
    beaten = rankdata(np.concatenate([lower_P, higher_P]))[:n].sum() - n * (n + 1) / 2
    return float(100 * (1 - beaten / (n * len(higher_P))))


def _distances(x_TC: Floats, chosen_A: Ints) -> npt.NDArray[np.float32]:
    x_TC = np.asarray(x_TC, dtype=np.float32)
    # By the largest entry first: the squares of very large or very small features would leave float32.
    largest_T1 = np.abs(x_TC).max(1, keepdims=True)
    unit_TC = x_TC / np.where(largest_T1 > 0, largest_T1, 1)
    unit_TC /= np.maximum(np.linalg.norm(unit_TC, axis=1, keepdims=True), 1)
    zero_T = largest_T1[:, 0] == 0
    cosine_AT = unit_TC[chosen_A] @ unit_TC.T + np.outer(zero_T[chosen_A], zero_T)
    # Rounded to what float32 carries, so that equal tokens are ties and not a lottery of the last bit.
    return np.round(1 - cosine_AT, 6).clip(0, 2).astype(np.float32)
