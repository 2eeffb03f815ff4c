"""How well clusters agree with known categories: purity, NMI, and the same purity for shuffled labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def quality(label_N: npt.NDArray[np.int64], truth_N: npt.NDArray[np.int64], seed: int) -> dict[str, float]:
    """purity: share of regions whose category is the commonest of their cluster. purity_shuffled: the same after the
    labels were permuted, which is what clusters of these sizes reach by luck. nmi: mutual information over the mean of
    the entropies (scikit-learn's), in [0, 1].
    """
    from sklearn.metrics import normalized_mutual_info_score

    shuffled_N = np.random.Generator(np.random.PCG64(seed)).permutation(label_N)
    return {
        "purity": purity(label_N, truth_N),
        "purity_shuffled": purity(shuffled_N, truth_N),
        "nmi": float(normalized_mutual_info_score(truth_N, label_N)),
        "nmi_shuffled": float(normalized_mutual_info_score(truth_N, shuffled_N)),
    }


def purity(label_N: npt.NDArray[np.int64], truth_N: npt.NDArray[np.int64]) -> float:
    """In (0, 1]."""
    width = int(truth_N.max()) + 1
    pair, count = np.unique(label_N * width + truth_N, return_counts=True)
    # Pairs are sorted, so a cluster's counts are neighbours.
    _, starts = np.unique(pair // width, return_index=True)
    return float(np.maximum.reduceat(count, starts).sum() / len(label_N))
