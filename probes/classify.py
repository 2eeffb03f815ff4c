"""What the classification probes share: labelled unit vectors in, an Outcome of hits out. N items, C channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rice_core.errors import NotApplicable, UserError
from rice_core.ratios import mean_of_ratios
from rice_core.record import Metric, Outcome, Scores
from rice_core.stats import Ints, metric_of, t_interval

if TYPE_CHECKING:
    from rice_core.features import Encoder
    from rice_core.probe import SplitName, Work

ASSUMPTIONS = (
    "An item is one annotated object (or one labelled image) and its vector is the mean of the patch tokens it covers, "
    "weighted by coverage, on images squashed to the encoder's input.",
    "Vectors are scaled to unit length first: the length of a mean depends on how many patches it is over, so it would "
    "tell the size of an object, hence its class, even from tokens that are noise.",
    "accuracy is the mean of the per-class accuracies over the classes of the validation split; a class without a "
    "training item counts as missed.",
)


@dataclass(frozen=True)
class Labelled:
    """The labelled items of one split, ordered by id, so that no result depends on the order in which they were read."""

    x_NC: npt.NDArray[np.float32]
    """Unit length, or zero."""
    y_N: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    clusters: tuple[str, ...]


def labelled(work: Work, encoder: Encoder, split: SplitName) -> Labelled:
    """The items of a split that have a label, as unit vectors.

    Raises:
        NotApplicable: fewer than two classes.
        UserError: a feature that is not finite.
    """
    items = work.items(encoder, split)
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


def outcome(guess_N: npt.NDArray[np.int64], val: Labelled, assumptions: tuple[str, ...]) -> Outcome:
    """`accuracy` (mean per class, the headline) and `top1`, both in percent, clustered by image.

    A classifier that cannot see the image guesses class c with the same probability whatever the truth, so its mean
    per-class accuracy is 100 / classes exactly, however uneven the classes: that is `chance`. Top-1 has no such level.
    """
    hit_N = 100.0 * (guess_N == val.y_N)
    rows_N = np.arange(len(hit_N))
    _, balanced_N = mean_of_ratios(
        hit_N, np.ones(len(hit_N)), group_E=val.y_N, row_E=rows_N, cluster_E=np.array(val.clusters)
    )
    columns = {"accuracy": tuple(balanced_N.tolist()), "top1": tuple(hit_N.tolist())}
    scores = Scores(sample=val.ids, cluster=val.clusters, values=columns)
    chance = 100.0 / len(np.unique(val.y_N))
    accuracy = metric_of(scores, "accuracy", unit="%", better="higher", chance=chance, ceiling=100.0)
    top1 = metric_of(scores, "top1", unit="%", better="higher", ceiling=100.0)
    images = len(set(val.clusters))
    return Outcome(
        metrics=(
            no_surer_than_hits(accuracy, hit_N > 0, val.y_N, images),
            no_surer_than_hits(top1, hit_N > 0, np.zeros_like(val.y_N), images),
        ),
        scores=scores,
        assumptions=ASSUMPTIONS + assumptions,
    )


def no_surer_than_hits(metric: Metric, hit_N: npt.NDArray[np.bool_], group_N: Ints, images: int) -> Metric:
    """The metric with at least the error of independent hits whose class shares are smoothed.

    A class with no hit (or no miss) shows no spread, so near chance and near 100 the observed error is far too small, and
    noise would look worse than chance by many sigma. Here each class takes ten more items that hit at the overall rate,
    the overall rate two hits and two misses more (Agresti and Coull 1998), and what fell below chance fell by luck, so it
    has the error of chance. In simulations (240 items, 48 classes) noise is off by 3 sigma in 0.3 % instead of 6 %.
    """
    if metric.stderr is None:
        return metric
    _, code_N = np.unique(group_N, return_inverse=True)
    n_K, hits_K = np.bincount(code_N), np.bincount(code_N, hit_N)
    alike = len(n_K) ** 2 / (1 / n_K).sum()  # Items of one class that would give as exact a mean as these classes do.
    rate = (metric.value / 100 * alike + 2) / (alike + 4)
    share_K = (hits_K + 10 * rate) / (n_K + 10)
    if metric.chance is not None and metric.value < metric.chance:
        share_K = np.full(len(n_K), metric.chance / 100)
    floor = 100 * float(np.sqrt((share_K * (1 - share_K) / n_K).sum())) / len(n_K)
    if metric.stderr >= floor:
        return metric
    update = {"stderr": floor, "ci95": t_interval(metric.value, floor, images - 1)}
    return metric.model_copy(
        update=update | {"method": f"binomial with smoothed class shares, wider than {metric.method}"}
    )
