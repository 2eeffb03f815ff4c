"""What the classification probes share: labelled unit vectors in, an Outcome of hits out.

Letters: N items, C channels, K classes, R guesses of an item (1 or 5), best first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rice_core.errors import NotApplicable, UserError
from rice_core.light import LightProbe
from rice_core.pooling import Pooling, PoolKind
from rice_core.probe import Read
from rice_core.record import Metric, Outcome, Scores
from rice_core.spec import Param
from rice_core.stats.estimates import Ints, codes, metric_of
from rice_core.stats.intervals import design_effect, hits_interval
from rice_core.stats.ratios import mean_of_ratios

if TYPE_CHECKING:
    from rice_core.features import Encoder
    from rice_core.probe import Work

PERCENT = (0.0, 100.0)
BEST = 5
"""Guesses of `top5`."""
_GEOMETRY = (
    "on images squashed to the encoder's input (whole labelled images: by the model's own resize and crop, where the data set "
    "has no regions)"
)
ASSUMPTIONS = (
    "Vectors are scaled to unit length first: the length of a mean depends on how many patches it is over, so it would "
    "tell the size of an object, hence its class, even from tokens that are noise.",
    "accuracy is the mean of the per-class accuracies over the classes of the validation split; a class without a "
    "training item counts as missed.",
)


@dataclass(frozen=True)
class ItemProbe(LightProbe):
    """A classifier of the labelled items of a data set: their vectors are pooled alike in both splits."""

    pool: PoolKind = "mean"
    """Of the patch tokens; or cls, or cls+mean, of whole labelled images."""
    layers: Annotated[int, Field(ge=1)] = 1
    """Last blocks whose vectors stand side by side."""

    data: ClassVar[frozenset[str]] = frozenset({"labels"})
    later: ClassVar[frozenset[str]] = frozenset({"pool", "layers"})

    @property
    def pooling(self) -> Pooling:
        return Pooling(self.pool, self.layers)

    @property
    def reads(self) -> tuple[Read, ...]:
        return Read("train", "items", pooling=self.pooling), Read("val", "items", pooling=self.pooling)

    def split(self, work: Work, encoder: Encoder) -> tuple[Labelled, Labelled]:
        """The train and the val items. Raises as `labelled`."""
        return labelled(work, encoder, "train", self.pooling), labelled(work, encoder, "val", self.pooling)


@dataclass(frozen=True)
class Labelled:
    """The labelled items of one split, ordered by id, so that no result depends on the order in which they were read."""

    x_NC: npt.NDArray[np.float32]
    """Unit length, or zero."""
    y_N: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    clusters: tuple[str, ...]


def labelled(work: Work, encoder: Encoder, split: str, pooling: Pooling) -> Labelled:
    """The items of a split that have a label, as unit vectors.

    Raises:
        NotApplicable: fewer than two classes, or nothing to pool that way.
        UserError: a feature that is not finite.
    """
    items = work.items(encoder, split, pooling)
    rows = np.array([row for row in np.argsort(np.array(items.ids)) if items.y_N[row] >= 0], dtype=np.int64)
    found = len(np.unique(items.y_N[rows]))
    if found < 2:
        raise NotApplicable(f"classification needs at least two classes, and the {split} split has {found}")
    x_NC = items.x_NC[rows].astype(np.float32)
    if not np.isfinite(x_NC).all():
        raise UserError("The encoder gives features that are not finite; try dtype=fp32 in its spec.")
    x_NC /= np.maximum(np.linalg.norm(x_NC, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    ids, clusters = (tuple(names[row] for row in rows) for names in (items.ids, items.clusters))
    return Labelled(x_NC, items.y_N[rows], ids, clusters)


def outcome(
    ranked_NR: npt.NDArray[np.int64],
    val: Labelled,
    pooling: Pooling,
    assumptions: tuple[str, ...],
    used: Mapping[str, Param] | None = None,
) -> Outcome:
    """`accuracy` (mean per class, the headline), `top1`, and `top5` where five guesses are given; percent, clustered by image or scene.

    A classifier that cannot see the image guesses class c with the same probability whatever the truth, so its mean
    per-class accuracy is 100 / classes exactly, however uneven the classes: that is `chance`. Top-1 and top-5 have no such level.

    Args:
        ranked_NR: classes, the best first; -1 is no guess.
        used: of the probe's parameters, those that were not used as asked.
    """
    hit_NR = ranked_NR == val.y_N[:, None]
    hits = {"accuracy": hit_NR[:, 0], "top1": hit_NR[:, 0]}
    if ranked_NR.shape[1] == BEST:
        hits["top5"] = hit_NR.any(1)
    groups = {name: np.zeros_like(val.y_N) for name in hits} | {"accuracy": val.y_N}
    columns = {name: tuple((100.0 * hit_N).tolist()) for name, hit_N in hits.items()}
    columns["accuracy"] = _balanced(hits["accuracy"], val)
    scores = Scores(sample=val.ids, cluster=val.clusters, values=columns)
    chance = {"accuracy": 100.0 / len(np.unique(val.y_N))}
    alone = all(item == each or item.startswith(f"{each}#") for item, each in zip(val.ids, val.clusters, strict=True))
    told = {"unit": "%", "ceiling": 100.0, "bounds": PERCENT, "by": "image" if alone else "scene"}
    metrics = [metric_of(scores, name, better="higher", chance=chance.get(name), **told) for name in hits]
    return Outcome(
        metrics=tuple(no_surer_than_hits(metric, scores, hits[metric.name], groups[metric.name]) for metric in metrics),
        scores=scores,
        assumptions=(_vector(pooling), *ASSUMPTIONS, *assumptions),
        used=dict(used or {}),
    )


def _balanced(hit_N: npt.NDArray[np.bool_], val: Labelled) -> tuple[float, ...]:
    ones_N, rows_N = np.ones(len(hit_N)), np.arange(len(hit_N))
    clusters = np.array(val.clusters)
    _, values_N = mean_of_ratios(100.0 * hit_N, ones_N, group_E=val.y_N, row_E=rows_N, cluster_E=clusters)
    return tuple(values_N.tolist())


def _vector(pooling: Pooling) -> str:
    """What an item's vector is, in words."""
    last = (
        ""
        if pooling.layers == 1
        else f" of each of the last {pooling.layers} blocks, behind the final norm, side by side"
    )
    if pooling.kind == "mean":
        return (
            "An item is one annotated object (or one labelled image) and its vector is the mean of the patch tokens it covers, "
            f"weighted by coverage{last}, {_GEOMETRY}."
        )
    mean = "" if pooling.kind == "cls" else ", and after it the mean of the last block's patch tokens"
    return (
        f"An item is one labelled image and its vector is the class token{last}{mean} (as in DINOv2's linear evaluation), on "
        "images by the model's own resize and crop."
    )


def no_surer_than_hits(metric: Metric, scores: Scores, hit_N: npt.NDArray[np.bool_], group_N: Ints) -> Metric:
    """The metric with at least the error of independent hits whose class shares are smoothed, and Wilson's interval.

    A class with no hit (or no miss) shows no spread, so near chance and near 100 the observed error is far too small, and
    noise would look worse than chance by many sigma. Here each class takes ten more items that hit at the overall rate,
    the overall rate two hits and two misses more (Agresti and Coull 1998), and what fell below chance fell by luck, so it
    has the error of chance. In simulations (240 items, 48 classes) noise is off by 3 sigma in 0.3 % instead of 6 %.
    """
    if metric.stderr is None:
        return metric
    code_N, K = codes(group_N, len(hit_N))
    n_K, hits_K = np.bincount(code_N), np.bincount(code_N, hit_N)
    alike = K**2 / (1 / n_K).sum()  # Items of one class that would give as exact a mean as these classes do.
    rate = (metric.value / 100 * alike + 2) / (alike + 4)
    share_K = (hits_K + 10 * rate) / (n_K + 10)
    if metric.chance is not None and metric.value < metric.chance:
        share_K = np.full(K, metric.chance / 100)
    floor = 100 * float(np.sqrt((share_K * (1 - share_K) / n_K).sum())) / K
    # The independent hits of one class that would have this error; clustered ones are worth fewer.
    share, cluster_N, G = float(share_K.mean()), *codes(scores.cluster, len(hit_N))
    independent = share * (1 - share) / (floor / 100) ** 2
    effect = design_effect(np.array(scores.values[metric.name]), hit_N, 1 / n_K[code_N], cluster_N)
    ci95 = hits_interval(metric.value, independent / effect, PERCENT, clusters=G, lone=len(hit_N) == G)
    if metric.stderr >= floor:
        return metric.model_copy(update={"ci95": ci95})
    method = f"binomial with smoothed class shares, wider than {metric.method}"
    return metric.model_copy(update={"stderr": floor, "ci95": ci95, "method": method})
