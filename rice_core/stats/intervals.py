"""95 % intervals that cannot leave a metric's range: Wilson's, with the effective number of clustered samples.

A share p of n independent samples has the variance p (1 - p) / n. Wilson (1927) asks which true shares q would have let
(p - q)^2 be as large as `quantile^2 q (1 - q) / n`; they lie in [0, 1] by construction, 0 of n and n of n included, where
Student's interval leaves the range or has no width. Any bounded mean takes the same form: with its clustered error e and
its place p in the range, n = p (1 - p) / e^2 is the number of samples that are worth as much.
Letters: N samples, G clusters; `spread` is quantile^2 / n.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Range = tuple[float, float]


def t_interval(value: float, stderr: float, dof: int) -> Range:
    """Student's t: of a number without bounds, such as a difference."""
    half = stderr * t_quantile(dof)
    return value - half, value + half


def bounded_interval(value: float, stderr: float, bounds: Range, *, clusters: int) -> Range:
    """Wilson's interval of a mean within `bounds` that has the clustered error `stderr`.

    Where all clusters gave the same, there is no spread to go by, and yet others might have given anything: up to a share w
    of them, by the interval of 0 in G. So the mean lies between that of a share w at the lower and at the upper bound; at a
    bound this is the interval of 0 of G, or of G of G.

    Raises:
        ValueError: the value is not within the bounds, or there is one cluster alone.
    """
    place, unit, quantile = place_in(value, bounds), bounds[1] - bounds[0], t_quantile(clusters - 1)
    room = place * (1 - place)
    if stderr == 0 or room == 0:
        other = quantile**2 / (clusters + quantile**2)
        return _scaled(((1 - other) * place, (1 - other) * place + other), bounds)
    return _scaled(wilson(place, (quantile * stderr / unit) ** 2 / room), bounds)


def hits_interval(value: float, number: float, bounds: Range, *, clusters: int, lone: bool) -> Range:
    """Wilson's interval of a share of hits that is worth `number` independent ones.

    Args:
        lone: each sample is a cluster of its own. Then nothing about clusters was estimated, and the quantile is the normal one.
    """
    quantile = t_quantile(None if lone else clusters - 1)
    return _scaled(wilson(place_in(value, bounds), quantile**2 / number), bounds)


def pooled_interval(value: float, members: list[tuple[float, Range]], between: float, bounds: Range) -> Range:
    """The interval of a mean of members that share their samples and differ by chance besides.

    Each member's interval says how far its own sampling error reaches (`reach`); that does not average out. What the members
    spread between them is added. In a range without bounds this is MOVER (Zou and Donner 2008).

    Args:
        members: value and interval of each. between: standard error of their mean, from their spread alone.
    """
    place, unit, quantile = place_in(value, bounds), bounds[1] - bounds[0], t_quantile(len(members) - 1)
    room = place * (1 - place)
    added = (quantile * between / unit) ** 2 / room if between and room else 0.0
    placed = [(place_in(one, bounds), [place_in(end, bounds) for end in ends]) for one, ends in members]
    reaches = [(reach(one, low, high), reach(one, high, low)) for one, (low, high) in placed]
    below, above = (sum(side) / len(members) + added for side in zip(*reaches, strict=True))
    return _scaled((wilson(place, below)[0], wilson(place, above)[1]), bounds)


def wilson(share: float, spread: float) -> Range:
    """All q in [0, 1] with (share - q)^2 <= spread q (1 - q)."""
    if math.isinf(spread):
        return 0.0, 1.0
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    # Rounding alone can cross a bound, or the share itself where the interval has hardly any width.
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)


def reach(share: float, end: float, other: float) -> float:
    """The spread whose interval of `share` has this end; of the other end where this one and the share are the same bound."""
    end = other if end == share else end
    room = end * (1 - end)
    return (share - end) ** 2 / room if room > 0 else (0.0 if end == share else math.inf)


def design_effect(values_N: Floats, hit_N: npt.NDArray[np.bool_], weight_N: Floats, code_N: Ints) -> float:
    """How many times the variance of independent hits a weighted share of clustered hits has, at least 1.

    It is seen in the spread of the clusters, of which a few hits (or misses) show little. So what was seen counts once for
    each of the fewer of the two, against one for the worst case: samples of one cluster are all hits or all misses.

    Args:
        values_N: values whose plain mean is the share, in any unit. weight_N: what each sample weighs in it.
        code_N: clusters as numbers from 0 without gaps.
    """
    G = int(code_N.max()) + 1
    if len(code_N) == G:
        return 1.0
    alone = clustered_error(values_N - values_N.mean(), np.arange(len(values_N)))
    seen = (clustered_error(values_N - values_N.mean(), code_N) / alone) ** 2 if alone else 0.0
    worst = float((np.bincount(code_N, weight_N) ** 2).sum() / (weight_N**2).sum())
    few = min(int(hit_N.sum()), int((~hit_N).sum()))
    return max(1.0, (few * seen + worst) / (few + 1))


def clustered_error(residual_N: Floats, code_N: Ints) -> float:
    """Standard error of a mean from residuals, `sqrt(G/(G-1) * sum over clusters of (sum of residuals)^2) / N`.

    CR1 (Cameron and Miller 2015, eq. 11, for a constant alone).
    """
    sums_G = np.bincount(code_N, residual_N)
    G = len(sums_G)
    return math.sqrt(G / (G - 1) * float(sums_G @ sums_G)) / len(residual_N)


def place_in(value: float, bounds: Range) -> float:
    """Where in the range, 0 to 1; rounding is forgiven.

    Raises:
        ValueError: outside.
    """
    place = (value - bounds[0]) / (bounds[1] - bounds[0])
    if not -1e-9 <= place <= 1 + 1e-9:
        raise ValueError(f"{value} is not within {bounds[0]:g} to {bounds[1]:g}")
    return min(max(place, 0.0), 1.0)


def _scaled(ends: Range, bounds: Range) -> Range:
    low, high = bounds
    # The bound itself where the place is 1: low + (high - low) may be another number.
    first, last = (high if end == 1 else low + (high - low) * end for end in ends)
    return max(first, low), min(last, high)


@cache
def t_quantile(dof: int | None, p: float = 0.975) -> float:
    """Of Student's t; of the normal distribution for None. Loads scipy.special alone: a tenth of scipy.stats' time."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(p) if dof is None else stdtrit(dof, p))
