"""AP over resamples of the images: how far the score would move had other images of the same kind been drawn.

AP is no mean over images, so each resample ranks its detections anew. An image that was drawn w times counts w times:
every detection and every object in it has that weight. Letters: as in `matches.py`, R resamples.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from probes.detection.columns import Flags, Floats, Ints
from probes.detection.curves import RECALLS
from probes.detection.matches import Matches
from rice_core.stats.estimates import Estimate
from rice_core.stats.intervals import bounded_interval

# Each costs one ranking of all detections; of 200 the error's own error is 5 % (1 / sqrt(2 * 199)).
_GROUPS = 200
Counts = npt.NDArray[np.int32]

_CELLS = 4_000_000
"""Weights held at once; this bounds the memory."""


def bootstrap(
    matches: Matches, groups: Mapping[str, Ints], scenes: Sequence[str], resamples: int, seed: int
) -> dict[str, Estimate]:
    """The error of AP, AP50, AP75 and of the means over `groups` of categories, in percent; without what is not defined.

    The seed alone decides which scenes are drawn, so that two encoders meet the same ones.

    Args:
        scenes: of each image; an image alone is its own. All images of a scene are drawn together.
    """
    place = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
    code_I = [place[scene] for scene in scenes]
    values = {name: ap_R[0] for name, ap_R in _means(matches, groups, _once(len(scenes))).items()}
    replicates = _means(matches, groups, drawn(len(place), resamples, seed)[:, code_I])
    by = "images" if len(place) == len(scenes) else "scenes"
    return {
        name: _estimate(float(value), replicates[name][np.isfinite(replicates[name])], len(place), len(scenes), by)
        for name, value in values.items()
        if np.isfinite(value)
    }


def image_values(matches: Matches, groups: Mapping[str, Ints], scenes: Sequence[str]) -> dict[str, Floats]:
    """What each image adds, in percent [I]; the plain mean is the metric.

    AP without one group of images after another (the delete-a-group jackknife, Kott 2001) says what the group adds, and all
    its images get that: `AP + (N - n) / n * (mean - AP without it)`, n images of N, with the mean over groups by N - n. For
    a metric that is a mean over images this is the group's own mean.
    """
    group_I = groups_of(scenes)
    present_G, place_I, count_G = np.unique(group_I, return_inverse=True, return_counts=True)
    without_GI = (place_I != np.arange(len(present_G))[:, None]).astype(np.int32)
    values = _means(matches, groups, _once(len(scenes)))
    without = _means(matches, groups, without_GI)
    rest_G = len(scenes) - count_G
    columns = {}
    for name, (value,) in values.items():
        if np.isfinite(value):
            # A group that alone has objects of these categories says nothing: nothing is left without it.
            known_G = np.isfinite(without[name])
            weight_G = np.where(known_G, rest_G, 0)
            ap_G = np.where(known_G, without[name], 0)
            mean = float(weight_G @ ap_G) / max(float(weight_G.sum()), 1.0)
            columns[name] = (value + weight_G / count_G * (mean - ap_G))[place_I]
    return columns


def groups_of(scenes: Sequence[str]) -> Ints:
    """The group of each image, 0 to 199, by its scene's name: the same for every encoder, whichever images it could read."""
    return np.array([zlib.crc32(scene.encode()) % _GROUPS for scene in scenes], np.int64)


def drawn(images: int, resamples: int, seed: int) -> Counts:
    """How often each image (or scene) is drawn, [R, I]. One seed gives every encoder the same draws."""
    rng = np.random.default_rng(seed)
    picks_RI = rng.integers(images, size=(resamples, images)) + images * np.arange(resamples)[:, None]
    return np.bincount(picks_RI.ravel(), minlength=resamples * images).reshape(resamples, images).astype(np.int32)


def _once(images: int) -> Counts:
    return np.ones((1, images), np.int32)


def _means(matches: Matches, groups: Mapping[str, Ints], times_RI: Counts) -> dict[str, Floats]:
    """AP50, AP75 and the means over groups of categories, in percent [R]; a category that a resample lacks is left out."""
    ap_RKT = 100 * average_precision(matches, times_RI)
    every = np.arange(ap_RKT.shape[1])
    parts = {"AP50": (every, slice(0, 1)), "AP75": (every, slice(5, 6))}
    parts |= {name: (labels, slice(None)) for name, labels in groups.items()}
    return {name: _mean(ap_RKT[:, labels, t]) for name, (labels, t) in parts.items()}


def _mean(ap_RKT: Floats) -> Floats:
    defined = np.isfinite(ap_RKT)
    count_R = defined.sum((1, 2))
    return np.where(count_R > 0, np.where(defined, ap_RKT, 0).sum((1, 2)) / np.maximum(count_R, 1), np.nan)


def _estimate(value: float, replicates_R: Floats, scenes: int, images: int, by: str) -> Estimate:
    if scenes == 1 or len(replicates_R) < 2:
        return Estimate(value, None, None, images, scenes, "no error can be given")
    # Around the value, not the percentiles: AP takes maxima, so it rises with noise, and a resample has more of that than
    # the sample. On a set of COCO's size all resamples can lie above the value.
    stderr = float(replicates_R.std(ddof=1))
    method = f"bootstrap over {by} ({len(replicates_R)}), Wilson interval"
    # Resamples of G images vary by (G-1)/G of what the images do.
    ci95 = bounded_interval(value, stderr * math.sqrt(scenes / (scenes - 1)), (0.0, 100.0), clusters=scenes)
    return Estimate(value, stderr, ci95, images, scenes, method)


def average_precision(matches: Matches, times_RI: Counts) -> Floats:
    """AP in [0, 1] by resample, category and threshold [R, K, T]; NaN where a resample has no object of the category."""
    R, K, T = len(times_RI), len(matches.start_K) - 1, matches.right_DT.shape[1]
    ap_RKT = np.full((R, K, T), np.nan)
    for k in np.flatnonzero(np.diff(matches.object_start_K)):
        of_category = matches.object_image_O[matches.object_start_K[k] : matches.object_start_K[k + 1]]
        objects_R = np.take(times_RI, of_category, axis=1).sum(1)
        part = slice(matches.start_K[k], matches.start_K[k + 1])
        right_DT, ignored_DT, image_D = matches.right_DT[part], matches.ignored_DT[part], matches.image_D[part]
        # After the last right one, detections change nothing.
        n = int(np.flatnonzero(right_DT.any(1))[-1]) + 1 if right_DT.any() else 0
        step = max(1, _CELLS // max(n, 1))
        for start in range(0, R, step):
            rows = slice(start, start + step)
            times_RD = np.take(times_RI[rows], image_D[:n], axis=1)
            ap_RKT[rows, k] = _curve_areas(times_RD, right_DT[:n], ignored_DT[:n], objects_R[rows])
    return ap_RKT


def _curve_areas(times_RD: Counts, right_DT: Flags, ignored_DT: Flags, objects_R: Ints) -> Floats:
    """One category: the mean over 101 recalls of the best precision at that recall or a higher one, [R, T]."""
    T = right_DT.shape[1]
    area_RT = np.zeros((len(times_RD), T))
    area_RT[objects_R == 0] = np.nan
    seen_RD = np.cumsum(times_RD, axis=1, dtype=np.int32)
    for t in range(T):
        hits = np.flatnonzero(right_DT[:, t])
        if not len(hits):
            continue
        right_RH = np.cumsum(times_RD[:, hits], axis=1)
        judged_RH = seen_RD[:, hits]
        if (ignored := np.flatnonzero(ignored_DT[:, t])).size:
            before_RX = np.cumsum(times_RD[:, ignored], axis=1)
            before_RX = np.concatenate([np.zeros((len(times_RD), 1), before_RX.dtype), before_RX], axis=1)
            judged_RH = judged_RH - before_RX[:, np.searchsorted(ignored, hits)]
        # pycocotools adds it too, so that AP agrees with its to the last digits.
        precision_RH = right_RH / (judged_RH + np.spacing(1))
        best_RH = np.maximum.accumulate(precision_RH[:, ::-1], axis=1)[:, ::-1]
        recall_RH = right_RH / np.maximum(objects_R, 1)[:, None]
        # Each hit answers for the recalls that it is the first to reach.
        reached_RH = np.searchsorted(RECALLS, recall_RH, side="right")
        area_RT[:, t] += (best_RH * np.diff(reached_RH, axis=1, prepend=0)).sum(1) / len(RECALLS)
    return area_RT
