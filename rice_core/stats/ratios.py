"""Means of ratios: balanced accuracy, mean IoU. One value a sample, so that they can be clustered and paired like means.

Letters: E entries (hits and counts of one group in one row), R rows (samples), C groups (classes), G clusters (images).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rice_core.stats.estimates import Floats, codes


def mean_of_ratios(
    num_E: npt.ArrayLike,
    den_E: npt.ArrayLike,
    *,
    group_E: npt.ArrayLike,
    row_E: npt.ArrayLike,
    cluster_E: npt.ArrayLike,
) -> tuple[float, Floats]:
    """The mean over groups of (sum of num) / (sum of den), and one value a row whose plain mean it is.

    Balanced accuracy (group = class, num = hit, den = 1) and mean IoU (num = intersection, den = union) are such means.
    The value of a row is linearised, `metric + rows/groups * sum of (num - ratio * den) / (group's den)`, so that
    `mean_clustered` of the values is the delta method's error, and differences of two encoders can be paired. Plain
    shares `hit * rows / (groups * class size)` have the same mean, but their spread also counts the class sizes: a
    perfect score would have an error.

    Residuals of a group seen in m clusters are too small by (m-1)/m and are scaled back; groups seen in one cluster have
    none at all, so they are compared with one another (collapsed strata; Cochran 1977, section 5A.12).

    Args:
        num_E: numerators of the entries.
        den_E: their denominators, > 0 in sum for each group.
        group_E: the group of each entry.
        row_E: its row, numbered from 0 without gaps.
        cluster_E: its cluster.

    Raises:
        ValueError: no entry, or a group whose den sums to zero.
    """
    num_E, den_E = np.asarray(num_E, dtype=np.float64), np.asarray(den_E, dtype=np.float64)
    group_E, C = codes(group_E, len(num_E))
    den_C = np.bincount(group_E, den_E, minlength=C)
    if not len(num_E) or (den_C <= 0).any():
        raise ValueError("a mean of ratios needs entries, and a denominator above zero in every group")
    ratio_C = np.bincount(group_E, num_E, minlength=C) / den_C
    cluster_E, G = codes(cluster_E, len(num_E))
    seen_C = np.bincount(np.unique(group_E * G + cluster_E) // G, minlength=C)
    residual_E = (num_E - ratio_C[group_E] * den_E) * np.sqrt(seen_C / np.maximum(seen_C - 1, 1))[group_E]
    lone_C = seen_C == 1
    if (lone := int(lone_C.sum())) > 1:
        apart_C = np.where(lone_C, ratio_C - ratio_C[lone_C].mean(), 0.0) * math.sqrt(lone / (lone - 1))
        residual_E = np.where(lone_C[group_E], apart_C[group_E] * den_E, residual_E)
    row_E = np.asarray(row_E, dtype=np.int64)
    rows = int(row_E.max()) + 1
    metric = float(ratio_C.mean())
    share_R = np.bincount(row_E, residual_E / den_C[group_E], minlength=rows)
    return metric, np.asarray(metric + rows / C * share_R, dtype=np.float64)
