"""Error bars: what a mean over clustered samples, a difference of two encoders or a mean over seeds is worth.

Objects of one image are not independent, so every error here is by cluster (image, document, video), never by sample.
Two ways lead to one: means use the cluster-robust formula; other statistics a bootstrap over clusters. Intervals of what
has bounds stay within them (`intervals`); those of differences are Student's t, as the test that goes with them.
Letters: N samples, G clusters, R bootstrap replicates, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rice_core.record import Metric, Scores
from rice_core.stats import intervals
from rice_core.stats.intervals import Range

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Statistic = Callable[[Floats], Floats]
"""Summed sufficient statistics [R, ...] -> the statistic [R]."""
Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Estimate:
    """A number and its error, in one unit. `stderr` and `ci95` are None where one cluster (or seed) is all there is."""

    value: float
    stderr: float | None
    ci95: tuple[float, float] | None
    n: int
    clusters: int
    method: str


def mean_clustered(
    values: npt.ArrayLike, clusters: Sequence[str] | npt.ArrayLike, bounds: Range | None = None
) -> Estimate:
    """The plain mean of N values with its cluster-robust standard error (`intervals.clustered_error`).

    Clusters of one sample each give the textbook standard error. The interval is Student's t with G-1 degrees of freedom, or
    Wilson's where the mean has bounds (linearised values may lie outside); of values that are bounds, that of clustered hits.

    Raises:
        ValueError: no values, a value that is not finite, another number of clusters than of values, or a mean out of bounds.
    """
    values_N = np.asarray(values, dtype=np.float64)
    if values_N.ndim != 1 or not values_N.size or not np.isfinite(values_N).all():
        raise ValueError("a mean needs at least one value, and finite ones")
    cluster_N, G = codes(clusters, len(values_N))
    mean, N = float(values_N.mean()), len(values_N)
    if G == 1:
        return Estimate(mean, None, None, N, 1, "one cluster: no error can be given")
    stderr = intervals.clustered_error(values_N - mean, cluster_N)
    if stderr < 1e-12 * float(np.abs(values_N).max()):
        stderr = 0.0  # Rounding of equal values, not spread.
    if bounds is None:
        return Estimate(mean, stderr, intervals.t_interval(mean, stderr, G - 1), N, G, f"clustered ({G}), t interval")
    if np.isin(values_N, bounds).all():
        number = N / intervals.design_effect(values_N, values_N == bounds[1], np.ones(N), cluster_N)
        ci95 = intervals.hits_interval(mean, number, bounds, clusters=G, lone=G == N)
    else:
        ci95 = intervals.bounded_interval(mean, stderr, bounds, clusters=G)
    return Estimate(mean, stderr, ci95, N, G, f"clustered ({G}), Wilson interval")


def metric_of(
    scores: Scores,
    name: str,
    *,
    unit: str,
    better: Better,
    chance: float | None = None,
    ceiling: float | None = None,
    bounds: Range | None = None,
    by: str = "image",
) -> Metric:
    """The mean of one column of `scores` as a Metric; `by` is the word for a cluster.

    Raises:
        ValueError: the column is empty, or its mean is out of bounds.
        KeyError: there is no such column.
    """
    found = mean_clustered(scores.values[name], scores.cluster, bounds)
    return Metric(
        name=name,
        value=found.value,
        unit=unit,
        better=better,
        n=found.n,
        stderr=found.stderr,
        ci95=found.ci95,
        method=found.method.replace("clustered", f"clustered by {by}").replace("one cluster", f"one {by}"),
        chance=chance,
        ceiling=ceiling,
        bounds=bounds,
    )


@dataclass(frozen=True)
class Paired:
    """The mean of a - b over the samples that both have, in the metric's unit."""

    name: str
    better: Better
    value: float
    stderr: float | None
    ci95: tuple[float, float] | None
    """None for one cluster, and where equal differences in few clusters would pass for certainty."""
    n: int
    clusters: int
    only_a: int
    only_b: int
    """Samples in only one of the two: left out of everything above."""
    pvalue: float | None
    """Two-sided, against no difference."""
    mde: float | None
    """The smallest true difference that this many clusters would have shown with 80 % power."""
    decisive: bool
    """The 95 % interval excludes zero."""

    def sentence(self, a: str = "the first", b: str = "the second") -> str:
        """What may be said, in words; `a` and `b` are the names of the two."""
        left_out = self.only_a + self.only_b
        aside = f" ({left_out} samples are in only one of the two and were left out)" if left_out else ""
        if self.stderr is None:
            return f"one cluster only: no error can be given{aside}"
        if not self.decisive and self.ci95 is None:
            return f"the same difference in all of only {self.clusters} clusters: not decisive{aside}"
        if not self.decisive:
            detectable = f"; a difference of {self.mde:.3g} would be detectable" if self.mde else ""
            return f"interval includes zero: not decisive{detectable}{aside}"
        word = "higher" if self.better == "neither" else "better"
        a_leads = (self.value > 0) == (self.better != "lower")
        low, high = sorted(abs(end) for end in self.ci95 or (0.0, 0.0))
        interval = f"95 % interval {low:.3g} to {high:.3g}"
        return f"{a if a_leads else b} is {word} by {abs(self.value):.3g} ({interval}){aside}"


def paired(a: Scores, b: Scores, name: str, *, better: Better) -> Paired:
    """Compare two encoders sample by sample on one metric. Pairing removes what makes a sample hard for both.

    Raises:
        ValueError: no sample in common, or a shared sample that lies in different clusters.
        KeyError: one of them has no such metric.
    """
    row_a, row_b = ({sample: row for row, sample in enumerate(scores.sample)} for scores in (a, b))
    shared = [sample for sample in a.sample if sample in row_b]
    if not shared:
        raise ValueError(f"no sample in common for {name!r}: the two were measured on different data")
    clusters = [a.cluster[row_a[sample]] for sample in shared]
    if clusters != [b.cluster[row_b[sample]] for sample in shared]:
        raise ValueError(f"a sample of {name!r} lies in different clusters: the two were measured on different data")
    columns = a.values[name], b.values[name]
    difference_N = [columns[0][row_a[sample]] - columns[1][row_b[sample]] for sample in shared]
    found = mean_clustered(difference_N, clusters)
    pvalue = _pvalue(found)
    # With no spread the interval has no width however few the clusters are; the sign test is what is left to ask.
    trusted = found.stderr != 0 or pvalue is None or found.value == 0 or pvalue < 0.05
    return Paired(
        name=name,
        better=better,
        value=found.value,
        stderr=found.stderr,
        ci95=found.ci95 if trusted else None,
        n=found.n,
        clusters=found.clusters,
        only_a=len(a.sample) - len(shared),
        only_b=len(b.sample) - len(shared),
        pvalue=pvalue,
        mde=None if found.stderr is None else minimum_detectable_effect(found.stderr, found.clusters - 1),
        decisive=pvalue is not None and pvalue < 0.05,
    )


def minimum_detectable_effect(stderr: float, dof: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """The true difference, in the unit of `stderr`, that a two-sided t test finds, in its right direction, with `power`.

    Exact (noncentral t), so also right for few clusters, where normal quantiles promise too much.

    Raises:
        ValueError: a negative error, no degree of freedom, or not 0 < alpha < power < 1.
    """
    if not (stderr >= 0 and dof >= 1 and 0 < alpha < power < 1):
        raise ValueError("needs stderr >= 0, dof >= 1 and 0 < alpha < power < 1")
    return stderr * _noncentrality(dof, power, alpha)


def bootstrap(
    statistic: Statistic, sums_G: npt.ArrayLike, *, bounds: Range | None = None, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """A statistic of sums over clusters (mIoU of counts), with the error of a bootstrap over clusters.

    The interval is of percentiles; of a statistic with bounds Wilson's, to which few clusters say little of their own spread,
    and equal ones are no certainty.

    Args:
        statistic: vectorised: sums [R, ...] -> [R].
        sums_G: one row of sufficient statistics a cluster [G, ...].

    Raises:
        ValueError: no cluster, a statistic that is not finite on a resample, or a value out of bounds.
    """
    array_G, parts = np.asarray(sums_G, dtype=np.float64), []
    G = len(array_G)
    if not G:
        raise ValueError("a bootstrap needs at least one cluster")
    value = float(np.asarray(statistic(array_G.sum(0, keepdims=True)))[0])
    if G == 1:
        return Estimate(value, None, None, 1, 1, "one cluster: no error can be given")
    rng = np.random.default_rng(seed)
    for start in range(0, n_boot, 100):  # A hundred resamples at a time bound the memory to 100 * G counts.
        R = min(100, n_boot - start)
        drawn_RG = rng.integers(G, size=(R, G)) + G * np.arange(R)[:, None]
        times_RG = np.bincount(drawn_RG.ravel(), minlength=R * G).reshape(R, G).astype(np.float64)
        parts.append(np.asarray(statistic(np.tensordot(times_RG, array_G, axes=1)), dtype=np.float64))
    replicate_R = np.concatenate(parts)
    if not np.isfinite(replicate_R).all():
        raise ValueError("the statistic is not finite on a resample; let it leave out what a resample lacks")
    stderr = float(replicate_R.std(ddof=1))
    if bounds is None:
        low, high = np.quantile(replicate_R, (0.025, 0.975))
        ci95, how = (float(low), float(high)), "percentile"
    else:
        # Resamples of G clusters vary by (G-1)/G of what the clusters do.
        ci95, how = intervals.bounded_interval(value, stderr * math.sqrt(G / (G - 1)), bounds, clusters=G), "Wilson"
    return Estimate(value, stderr, ci95, G, G, f"bootstrap over clusters ({n_boot}), {how} interval")


def across_seeds(metrics: Sequence[Metric]) -> Estimate:
    """The mean of one metric over seeds; `clusters` of the result counts the seeds, `n` the samples of one of them.

    A seed's value is mean + (luck of the validation images) + (luck of the seed). All seeds share the images, so their
    luck does not average out: `stderr^2 = mean of the seeds' stderr^2 + s^2 / S`, s the spread between S seeds. The
    interval joins the two half-widths, each from its own t, in quadrature (MOVER; Zou and Donner 2008); within the metric's
    bounds where it has them (`intervals.pooled_interval`).

    Raises:
        ValueError: no metric, or metrics that differ in name, unit or direction.
    """
    if len({(metric.name, metric.unit, metric.better) for metric in metrics}) != 1:
        raise ValueError("a mean over seeds needs at least one metric, all of one name, unit and direction")
    values_S, S = np.array([metric.value for metric in metrics]), len(metrics)
    mean, n = float(values_S.mean()), min(metric.n for metric in metrics)
    known = [(m.stderr, m.ci95) for m in metrics if m.stderr is not None and m.ci95 is not None]
    if S == 1:
        return Estimate(mean, metrics[0].stderr, metrics[0].ci95, n, 1, f"one seed; {metrics[0].method}")
    between = float(values_S.std(ddof=1)) / math.sqrt(S)
    # A record of before has no bounds, and its interval may cross them.
    bounds = metrics[0].bounds if len({metric.bounds for metric in metrics}) == 1 else None
    if len(known) < S:
        alone = (
            intervals.t_interval(mean, between, S - 1)
            if bounds is None
            else intervals.bounded_interval(mean, between, bounds, clusters=S)
        )
        return Estimate(mean, between, alone, n, S, f"between {S} seeds alone")
    stderr = math.sqrt(sum(error**2 for error, _ in known) / S + between**2)
    members = [(metric.value, ci95) for metric, (_, ci95) in zip(metrics, known, strict=True)]
    if bounds is None:
        half = between * intervals.t_quantile(S - 1)
        below, above = (sum((value - ci95[end]) ** 2 for value, ci95 in members) / S for end in (0, 1))
        joint = mean - math.sqrt(below + half**2), mean + math.sqrt(above + half**2)
    else:
        joint = intervals.pooled_interval(mean, members, between, bounds)
    return Estimate(mean, stderr, joint, n, S, f"{S} seeds: spread between them and sampling error")


def codes(labels: Any, expected: int) -> tuple[Ints, int]:
    """Labels as numbers from 0, and how many differ."""
    unique, code_N = np.unique(np.asarray(labels), return_inverse=True)
    if code_N.shape != (expected,):
        raise ValueError(f"{len(code_N)} labels for {expected} values")
    return code_N.astype(np.int64), len(unique)


def _pvalue(found: Estimate) -> float | None:
    if found.stderr is None or found.value == 0:
        return None if found.stderr is None else 1.0
    if found.stderr == 0:
        return 2.0 ** (1 - found.clusters)
    from scipy.special import stdtr  # scipy.special loads in a tenth of the time of scipy.stats.

    return float(2 * stdtr(found.clusters - 1, -abs(found.value) / found.stderr))


@cache
def _noncentrality(dof: int, power: float, alpha: float) -> float:
    from scipy.special import nctdtrinc

    return float(nctdtrinc(dof, 1 - power, intervals.t_quantile(dof, 1 - alpha / 2)))
