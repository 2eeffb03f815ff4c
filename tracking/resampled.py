"""Errors by drawing whole videos anew, and two trackers over the same videos. Letters: V videos.

The formula (`Overall.estimate`, `stats.estimates.paired`) is the default, and what records have: of a mean over videos it is what resampling converges to,
without a seed, and of AO, a ratio, its intervals cover as well (docs/tracking.md).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rice_core.stats.estimates import Estimate, Paired, bootstrap, minimum_detectable_effect, paired
from rice_core.stats.intervals import t_interval
from tracking.curves import Floats
from tracking.overall import PERCENT, Overall

RESAMPLES = 1000


def resampled(whole: Overall, metric: str, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The value with the error of a bootstrap over videos: each resample's number is computed anew, weights and all.

    The seed and the number of videos alone decide which are drawn, so that all metrics and trackers meet the same ones.
    """
    drawn = bootstrap(_mean, _sums(whole, metric), bounds=PERCENT, n_boot=resamples, seed=seed)
    return replace(drawn, value=whole.values[metric], method=_by_videos(drawn.method))


def difference(a: Overall, b: Overall, metric: str, *, resamples: int = 0, seed: int = 0) -> Paired:
    """a - b over the videos that both have, each judged as if these were all.

    Args:
        resamples: of these videos, for the error; 0: by the formula. The interval is Student's t either way: percentiles take the same sign in
            three videos for certainty.

    Raises:
        UserError: of these videos none counts. ValueError: there are none.
    """
    shared = [video for video in a.videos if video in b.judged]
    both = a.part(shared), b.part(shared)
    found = paired(both[0].scores(), both[1].scores(), metric, better="higher")
    found = replace(found, only_a=len(a.videos) - len(shared), only_b=len(b.videos) - len(shared))
    if not resamples or not found.stderr:  # what is alike in all videos is so in all resamples
        return found
    sums_V22 = np.stack([_sums(each, metric) for each in both], axis=1)
    drawn = bootstrap(lambda sums: _mean(sums[:, 0]) - _mean(sums[:, 1]), sums_V22, n_boot=resamples, seed=seed)
    assert drawn.stderr is not None
    G = drawn.clusters
    # Resamples of G videos vary by (G-1)/G of what the videos do.
    stderr = drawn.stderr * math.sqrt(G / (G - 1))
    low, high = t_interval(found.value, stderr, G - 1)
    return replace(
        found,
        stderr=stderr,
        ci95=(low, high),
        pvalue=None,
        mde=minimum_detectable_effect(stderr, G - 1),
        decisive=not low <= 0 <= high,
    )


def _sums(whole: Overall, metric: str) -> Floats:
    """Weighted numbers and weights of the videos that have frames to judge, [V, 2]."""
    has_V = np.array([curves.frames > 0 for curves in whole.judged.values()])
    weight_V = whole.weights[metric][has_V]
    return np.stack([np.where(weight_V > 0, whole.each[metric][has_V], 0) * weight_V, weight_V], axis=1)


def _mean(sums_R2: Floats) -> Floats:
    """Of videos that all have nothing, which MATLAB's rules leave out of the mean, it is nothing."""
    return np.asarray(sums_R2[:, 0] / np.where(sums_R2[:, 1] > 0, sums_R2[:, 1], 1), dtype=np.float64)


def _by_videos(method: str) -> str:
    return method.replace("clusters", "videos").replace("one cluster", "one video")
