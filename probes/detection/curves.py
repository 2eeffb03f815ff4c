"""Matches -> interpolated precision and recall, as pycocotools accumulates them.

Letters: as in `matches.py`, R recalls, M limits of detections.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probes.detection.columns import Flags, Floats
from probes.detection.matches import Matches

RECALLS = np.linspace(0.0, 1.0, 101)


def curves_of(matches: Matches, limits_M: Sequence[int]) -> tuple[Floats, Floats]:
    """Precision [T, R, K] and recall [T, K, M], in [0, 1]; -1 for a category without objects.

    Args:
        limits_M: how many detections of an image and category the recall is of.
    """
    T, K = matches.right_DT.shape[1], len(matches.start_K) - 1
    precision_TRK, recall_TKM = -np.ones((T, len(RECALLS), K)), -np.ones((T, K, len(limits_M)))
    objects_K = np.diff(matches.object_start_K)
    for k in np.flatnonzero(objects_K):
        part = slice(matches.start_K[k], matches.start_K[k + 1])
        right_DT = matches.right_DT[part]
        precision_TRK[..., k] = precision_of(right_DT, matches.ignored_DT[part], objects=int(objects_K[k]))
        for m, limit in enumerate(limits_M):
            recall_TKM[:, k, m] = right_DT[matches.rank_D[part] < limit].sum(0) / objects_K[k]
    return precision_TRK, recall_TKM


def precision_of(right_DT: Flags, ignored_DT: Flags | None = None, *, objects: int) -> Floats:
    """One category, [T, R]: the best precision at each recall or a higher one; 0 where it is not reached."""
    right_TD = np.cumsum(right_DT.T, axis=1)
    wrong_TD = np.cumsum(~(right_DT if ignored_DT is None else right_DT | ignored_DT).T, axis=1)
    precision_TD = right_TD / (wrong_TD + right_TD + np.spacing(1))
    best_TD = np.maximum.accumulate(precision_TD[:, ::-1], axis=1)[:, ::-1]
    best_TD = np.concatenate([best_TD, np.zeros((len(best_TD), 1))], axis=1)
    reached_TR = [np.searchsorted(recall_D, RECALLS) for recall_D in right_TD / objects]
    return np.take_along_axis(best_TD, np.array(reached_TR), axis=1)
