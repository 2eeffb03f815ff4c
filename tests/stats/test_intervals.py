"""Intervals of bounded metrics: Wilson's as statsmodels has it, inside the range always, and as often right as they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from statsmodels.stats.proportion import proportion_confint

from rice_core.record import Metric
from rice_core.stats.estimates import across_seeds, bootstrap, mean_clustered
from rice_core.stats.intervals import bounded_interval, design_effect, hits_interval, pooled_interval, t_interval

PERCENT = (0.0, 100.0)


@pytest.mark.parametrize("n", [2, 3, 10, 400])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97, 1.0])
def test_independent_hits_have_the_wilson_interval_of_statsmodels(n, share):
    hits = round(share * n)
    found = mean_clustered(100.0 * (np.arange(n) < hits), range(n), PERCENT)
    oracle = proportion_confint(hits, n, method="wilson")
    assert found.ci95 == pytest.approx((100 * oracle[0], 100 * oracle[1]), abs=1e-9)
    assert found.ci95[1] - found.ci95[0] > 0.5


def test_clustered_hits_have_that_of_fewer_samples_and_students_quantile():
    """Five images of four objects, all or nothing: twenty objects that are worth about five."""
    hit_N = np.repeat([True, True, True, False, False], 4)
    code_N = np.arange(5).repeat(4)
    found = mean_clustered(100.0 * hit_N, code_N, PERCENT)
    # 4.75 times the variance of twenty single ones, by hand: 5/4 * 16 * 1.2 / (20/19 * 4.8); eight misses against one for 4.
    effect = (8 * 4.75 + 4) / 9
    assert design_effect(hit_N.astype(float), hit_N, np.ones(20), code_N) == pytest.approx(effect)
    spread = 2.7764451**2 / (20 / effect)
    # The ends solve (p - q)^2 = spread q (1 - q).
    for end in (q / 100 for q in found.ci95):
        assert (0.6 - end) ** 2 == pytest.approx(spread * end * (1 - end), rel=1e-6)


def test_without_hits_the_worst_is_assumed_of_the_clusters():
    code_N = np.array([0, 1, 1, 2, 2, 2])
    none_N = np.zeros(6, bool)
    assert design_effect(none_N * 1.0, none_N, np.ones(6), code_N) == pytest.approx((1 + 4 + 9) / 6)
    assert design_effect(none_N * 1.0, none_N, np.ones(6), np.arange(6)) == 1
    few, many = (mean_clustered(np.zeros(60), np.arange(60) // each, PERCENT) for each in (10, 1))
    assert few.ci95[0] == many.ci95[0] == 0
    assert few.ci95[1] == pytest.approx(100 * 2.5705818**2 / (6 + 2.5705818**2))  # 0 of 6 with t(5)
    assert many.ci95[1] == pytest.approx(100 * 1.9599640**2 / (60 + 1.9599640**2))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.floats(0, 2), st.sampled_from([0.0, 2.0])), st.integers(0, 6)), min_size=2),
    st.booleans(),
)
def test_never_outside_always_around_the_value_and_never_without_width_at_a_bound(rows, binary):
    values = [2.0 * (v > 1) if binary else v for v, _ in rows]
    found = mean_clustered(values, [str(c) for _, c in rows], (0.0, 2.0))
    if found.ci95 is None:
        assert found.clusters == 1
        return
    low, high = found.ci95
    assert 0 <= low <= found.value * (1 + 1e-12) + 1e-300
    assert found.value * (1 - 1e-12) <= high <= 2
    if found.value in (0, 2):
        assert high - low > 0.01


def test_far_from_the_bounds_it_is_students():
    inside, students = bounded_interval(50.0, 0.5, PERCENT, clusters=200), t_interval(50.0, 0.5, 199)
    assert inside == pytest.approx(students, abs=2e-3)


def test_equal_values_are_no_certainty():
    """As 0 of 20 at a bound; inside, each of the clusters not seen could have been anything."""
    other = 2.0930241**2 / (20 + 2.0930241**2)
    assert bounded_interval(0.0, 0.0, PERCENT, clusters=20) == pytest.approx((0, 100 * other))
    assert bounded_interval(100.0, 0.0, PERCENT, clusters=20) == pytest.approx((100 - 100 * other, 100))
    low, high = bounded_interval(30.0, 0.0, PERCENT, clusters=20)
    assert (low, high) == pytest.approx((30 * (1 - other), 30 * (1 - other) + 100 * other))


def test_a_value_out_of_its_bounds_is_an_error_and_rounding_is_not():
    assert bounded_interval(100.0 + 1e-12, 1.0, PERCENT, clusters=9)[1] == 100
    with pytest.raises(ValueError, match="not within 0 to 100"):
        bounded_interval(100.1, 1.0, PERCENT, clusters=9)
    with pytest.raises(ValueError, match="not within 0 to 2"):
        mean_clustered([1.0, 4.0], ["a", "b"], (0.0, 2.0))


def drawn(rng, p, icc, sizes):
    """Hits whose images share their luck; at icc 1 all objects of an image are hits, or none."""
    if icc in (0, 1):
        share_G = np.full(len(sizes), p) if icc == 0 else (rng.random(len(sizes)) < p).astype(float)
    else:
        share_G = rng.beta(p * (1 - icc) / icc, (1 - p) * (1 - icc) / icc, len(sizes))
    code_N = np.arange(len(sizes)).repeat(sizes)
    return 100.0 * (rng.random(len(code_N)) < share_G[code_N]), code_N


@pytest.mark.parametrize("p", [0.005, 0.02, 0.98, 0.5])
@pytest.mark.parametrize("icc", [0, 0.3, 1])
@pytest.mark.parametrize("images", ["60 of 4", "60 of 20", "30 uneven", "6 of 4"])
def test_the_interval_of_hits_covers_the_truth(images, icc, p):
    """At 2 % Student's covers it in 20 to 95 %; few uneven images at an icc of 1 are the hardest."""
    rng, runs, covered = np.random.default_rng(0), 500, 0
    for _ in range(runs):
        G, *_, each = images.split()
        sizes = rng.geometric(0.15, int(G)) if each == "uneven" else np.full(int(G), int(each))
        low, high = mean_clustered(*drawn(rng, p, icc, sizes), PERCENT).ci95
        assert 0 <= low < high <= 100
        covered += low <= 100 * p <= high
    assert covered / runs > 0.92


def test_students_interval_would_have_missed_it():
    rng, covered, outside = np.random.default_rng(1), 0, 0
    for _ in range(300):
        low, high = mean_clustered(*drawn(rng, 0.02, 1, np.full(60, 4))).ci95
        covered += low <= 2 <= high
        outside += low < 0
    assert covered < 0.8 * 300
    assert outside > 100


@pytest.mark.parametrize("G", [3, 10, 40])
@pytest.mark.parametrize("mean", [0.05, 0.5, 0.9])
def test_the_interval_of_a_bounded_mean_covers_the_truth(G, mean):
    rng, runs, covered = np.random.default_rng(2), 800, 0
    for _ in range(runs):
        low, high = mean_clustered(2 * rng.beta(40 * mean, 40 * (1 - mean), G), range(G), (0.0, 2.0)).ci95
        covered += low <= 2 * mean <= high
    assert 0.92 < covered / runs < 0.98


def test_a_bootstrap_of_few_clusters_covers_what_percentiles_miss():
    rng, runs, covered, percentile = np.random.default_rng(3), 250, 0, 0

    def ratio(sums_R2):
        return 100 * sums_R2[:, 0] / sums_R2[:, 1]

    for _ in range(runs):
        total_G = rng.integers(5, 30, 6)
        sums_G2 = np.stack([rng.binomial(total_G, rng.beta(9, 1, 6)), total_G], 1)
        found = bootstrap(ratio, sums_G2, bounds=PERCENT, n_boot=300)
        low, high = found.ci95
        covered += low <= 90 <= high
        bare = bootstrap(ratio, sums_G2, n_boot=300)
        percentile += bare.ci95[0] <= 90 <= bare.ci95[1]
        assert (found.value, found.stderr) == (bare.value, bare.stderr)
    assert covered / runs > 0.92 > percentile / runs
    perfect = bootstrap(ratio, [[5, 5]] * 8, bounds=PERCENT)
    assert perfect.ci95[0] < 90
    assert perfect.ci95[1] == 100


def metric(value, ci95, bounds=PERCENT, stderr=1.0):
    return Metric(name="m", unit="%", value=value, n=50, stderr=stderr, ci95=ci95, method="clustered", bounds=bounds)


def test_seeds_that_agree_have_the_interval_of_each():
    ci95 = hits_interval(99.0, 80, PERCENT, clusters=40, lone=False)
    assert across_seeds([metric(99.0, ci95)] * 3).ci95 == pytest.approx(ci95)
    nothing = hits_interval(0.0, 80, PERCENT, clusters=40, lone=False)
    assert across_seeds([metric(0.0, nothing, stderr=0.0)] * 2).ci95 == pytest.approx(nothing)


def test_seeds_that_differ_widen_it_and_never_beyond_the_bounds():
    ends = [hits_interval(value, 80, PERCENT, clusters=40, lone=False) for value in (97.0, 99.0, 100.0)]
    members = [metric(value, ci95) for value, ci95 in zip((97.0, 99.0, 100.0), ends, strict=True)]
    found = across_seeds(members)
    # In quadrature the interval would reach 103 %.
    bare = across_seeds([m.model_copy(update={"bounds": None}) for m in members])
    assert bare.ci95[1] > 100.5
    assert 100 > found.ci95[1] > found.value
    assert found.ci95[0] < min(low for low, _ in ends[:2])
    assert (found.value, found.stderr) == (bare.value, bare.stderr)
    alone = across_seeds([m.model_copy(update={"stderr": None, "ci95": None}) for m in members])
    assert alone.ci95[1] < 100
    assert alone.method == "between 3 seeds alone"


def test_far_from_the_bounds_seeds_are_joined_in_quadrature():
    members = [metric(50 + d, (49.2 + d, 50.8 + d)) for d in (-0.2, 0.0, 0.2)]
    bare = across_seeds([m.model_copy(update={"bounds": None}) for m in members])
    assert across_seeds(members).ci95 == pytest.approx(bare.ci95, abs=2e-3)


def test_records_of_before_have_no_bounds_and_are_joined_as_before():
    old = [metric(v, (v - 9, v + 9), bounds=None) for v in (95.0, 99.0)]
    mixed = [old[0], metric(99.0, (95.0, 100.0))]
    assert across_seeds(old).ci95[1] > 100
    assert across_seeds(mixed).ci95[1] > 100
    with pytest.raises(ValueError, match="not within"):
        pooled_interval(97.0, [(95.0, (86.0, 104.0)), (99.0, (90.0, 108.0))], 1.0, PERCENT)


def test_the_interval_over_seeds_covers_the_truth_near_a_bound():
    rng, runs, covered = np.random.default_rng(4), 400, 0
    for _ in range(runs):
        chance_N = rng.beta(49, 1, 60)  # of each image, in all seeds
        shares = np.clip(chance_N + rng.normal(0, 0.005, 3)[:, None], 0, 1)
        found = [mean_clustered(100 * row, range(60), PERCENT) for row in shares]
        low, high = across_seeds([metric(f.value, f.ci95, stderr=f.stderr) for f in found]).ci95
        covered += low <= 98 <= high
    assert covered / runs > 0.93


def test_a_metric_keeps_to_its_bounds():
    assert metric(100.0 + 1e-10, (99.0, 100.0)).bounds == PERCENT
    for bad in (
        {"value": 101.0, "ci95": None},
        {"value": 99.0, "ci95": (97.0, 101.0)},
        {"value": 1.0, "ci95": (-0.1, 2.0)},
    ):
        with pytest.raises(ValidationError, match="not within 0 to 100"):
            metric(**bad)
    with pytest.raises(ValidationError, match="not within"):
        metric(5.0, None, bounds=(9.0, 1.0))
    old = Metric.model_validate({"name": "m", "value": 99.0, "n": 5, "ci95": (95.0, 103.0)})
    assert old.bounds is None


def test_rounding_cannot_push_an_end_across():
    for value in np.linspace(0, 2, 97):
        for stderr in (1e-18, 1e-9, 1e-3, 0.5, 3.0):
            low, high = bounded_interval(float(value), stderr, (0.0, 2.0), clusters=3)
            assert 0 <= low <= high <= 2
            assert low <= value + 1e-12
            assert value <= high + 1e-12
            assert not math.isnan(low + high)
