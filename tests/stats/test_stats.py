"""Error bars against statsmodels and scipy, and against what they promise: coverage and power in simulations."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.power import TTestPower

from rice_core.record import Metric, Scores
from rice_core.stats.estimates import (
    across_seeds,
    bootstrap,
    mean_clustered,
    metric_of,
    minimum_detectable_effect,
    paired,
)


def clustered_draws(rng, images=30, per_image=6, image_sd=1.0):
    """Objects that share their image's luck; the true mean is zero."""
    values = rng.normal(0, image_sd, images).repeat(per_image) + rng.normal(size=images * per_image)
    return values, np.arange(images).repeat(per_image)


def scores(values, clusters=None, ids=None):
    ids = ids or [f"s{i}" for i in range(len(values))]
    clusters = ids if clusters is None else [str(c) for c in clusters]
    return Scores(sample=tuple(ids), cluster=tuple(clusters), values={"acc": tuple(map(float, values))})


def test_stderr_is_that_of_a_clustered_regression_on_a_constant():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 17, 200)
    values = rng.normal(5, 2, 200) + clusters
    found = mean_clustered(values, clusters)
    oracle = OLS(values, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    assert found.value == pytest.approx(oracle.params[0], rel=1e-12)
    assert found.stderr == pytest.approx(oracle.bse[0], rel=1e-12)
    assert found.ci95 == pytest.approx(tuple(oracle.conf_int()[0]), rel=1e-9)
    assert (found.n, found.clusters) == (200, 17)


def test_samples_of_their_own_give_the_textbook_error():
    values = np.random.default_rng(1).normal(size=50)
    found = mean_clustered(values, [str(i) for i in range(50)])
    assert found.stderr == pytest.approx(scipy_stats.sem(values), rel=1e-12)


def test_the_interval_covers_the_truth_and_the_naive_one_does_not():
    rng, runs, covered, naive = np.random.default_rng(2), 1500, 0, 0
    for _ in range(runs):
        values, clusters = clustered_draws(rng)
        low, high = mean_clustered(values, clusters).ci95
        covered += low <= 0 <= high
        low, high = mean_clustered(values, np.arange(len(values))).ci95
        naive += low <= 0 <= high
    assert 0.935 < covered / runs < 0.965
    assert naive / runs < 0.8


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 5)), min_size=1, max_size=40), st.randoms())
def test_order_and_names_of_clusters_do_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    one = mean_clustered([v for v, _ in rows], [str(c) for _, c in rows])
    two = mean_clustered([v for v, _ in shuffled], [f"image {9 - c}" for _, c in shuffled])
    assert one.value == pytest.approx(two.value, abs=1e-9)
    assert (one.stderr is None) == (two.stderr is None)
    assert one.stderr is None or one.stderr == pytest.approx(two.stderr, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=3, max_size=30), st.floats(0.1, 10), st.floats(-50, 50))
def test_error_scales_with_the_unit_and_ignores_a_shift(values, scale, shift):
    clusters = [str(i // 2) for i in range(len(values))]
    one, two = mean_clustered(values, clusters), mean_clustered([scale * v + shift for v in values], clusters)
    assert two.stderr == pytest.approx(scale * one.stderr, abs=1e-6)


def test_degenerate_means():
    lone = mean_clustered([1.0, 3.0], ["a", "a"])
    assert (lone.value, lone.stderr, lone.ci95) == (2.0, None, None)
    flat = mean_clustered([0.1] * 30, range(30))
    assert flat.stderr == 0
    assert flat.ci95 == (flat.value, flat.value)
    for bad in ([], [math.nan], [math.inf, 1.0], [[1.0]]):
        with pytest.raises(ValueError, match="at least one value"):
            mean_clustered(bad, range(len(bad)))
    with pytest.raises(ValueError, match="3 labels for 2"):
        mean_clustered([1.0, 2.0], ["a", "b", "c"])


def test_metric_of_names_the_cluster_and_keeps_the_yardsticks():
    metric = metric_of(scores([0, 100, 100, 0], [1, 1, 2, 3]), "acc", unit="%", better="higher", chance=50, ceiling=100)
    assert (metric.value, metric.n, metric.chance, metric.ceiling, metric.unit) == (50, 4, 50, 100, "%")
    assert metric.method == "clustered by image (3), t interval"
    lone = metric_of(scores([1, 2], [1, 1]), "acc", unit="", better="lower", by="video")
    assert (lone.stderr, lone.method) == (None, "one video: no error can be given")


def test_paired_is_the_paired_t_test():
    rng = np.random.default_rng(3)
    a, b = rng.normal(1, 1, 40), rng.normal(0.5, 1, 40)
    found, oracle = paired(scores(a), scores(b), "acc", better="higher"), scipy_stats.ttest_rel(a, b)
    assert found.value == pytest.approx((a - b).mean())
    assert found.pvalue == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.ci95 == pytest.approx(tuple(oracle.confidence_interval()), rel=1e-9)
    assert found.decisive == (oracle.pvalue < 0.05)


def test_paired_joins_by_sample_and_counts_the_rest():
    a = scores([1, 2, 3, 9], [0, 0, 1, 2], ["p", "q", "r", "only a"])
    b = scores([3, 1, 1, 7, 8], [1, 0, 0, 4, 5], ["r", "q", "p", "x", "y"])
    found = paired(a, b, "acc", better="higher")
    assert (found.n, found.clusters, found.only_a, found.only_b) == (3, 2, 1, 2)
    assert found.value == pytest.approx((0 + 1 + 0) / 3)
    assert "3 samples are in only one" in found.sentence()


def test_paired_refuses_what_cannot_be_compared():
    with pytest.raises(ValueError, match="no sample in common"):
        paired(scores([1]), scores([1], ids=["z"]), "acc", better="higher")
    with pytest.raises(ValueError, match="different clusters"):
        paired(scores([1, 2], [0, 1]), scores([1, 2], [0, 0]), "acc", better="higher")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=2, max_size=20))
def test_swapping_the_two_turns_the_sign(pairs):
    a, b = scores([x for x, _ in pairs]), scores([y for _, y in pairs])
    one, two = paired(a, b, "acc", better="higher"), paired(b, a, "acc", better="higher")
    assert one.value == pytest.approx(-two.value, abs=1e-12)
    assert (one.decisive, one.mde) == (two.decisive, pytest.approx(two.mde))
    assert paired(a, a, "acc", better="higher").decisive is False


def test_equal_differences_in_few_images_are_not_certainty():
    few = paired(scores([100, 100, 100]), scores([0, 0, 0]), "acc", better="higher")
    assert (few.stderr, few.pvalue, few.decisive, few.ci95) == (0, 0.25, False, None)
    assert "only 3 clusters: not decisive" in few.sentence()
    many = paired(scores([100] * 9), scores([0] * 9), "acc", better="higher")
    assert (many.decisive, many.ci95) == (True, (100, 100))


def test_sentences():
    rng = np.random.default_rng(4)
    low, high = scores(rng.normal(0, 1, 60)), scores(rng.normal(5, 1, 60))
    up = paired(high, low, "acc", better="higher")
    assert up.sentence("rice", "clip").startswith(f"rice is better by {up.value:.3g} (95 % interval ")
    assert paired(high, low, "acc", better="lower").sentence("rice", "clip").startswith("clip is better by")
    assert paired(low, high, "acc", better="neither").sentence("rice", "clip").startswith("clip is higher by")
    unsure = paired(low, scores(rng.normal(0, 1, 60)), "acc", better="higher")
    detectable = f"a difference of {unsure.mde:.3g} would be detectable"
    assert unsure.sentence() == f"interval includes zero: not decisive; {detectable}"
    assert (
        "one cluster only" in paired(scores([1, 2], [0, 0]), scores([2, 2], [0, 0]), "acc", better="higher").sentence()
    )


@pytest.mark.parametrize("n", [3, 6, 20, 200])
def test_detectable_effect_is_that_of_statsmodels(n):
    oracle = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8) * math.sqrt(n)
    assert minimum_detectable_effect(2.0, n - 1) == pytest.approx(2 * oracle, rel=1e-4)


def test_a_difference_of_the_detectable_size_is_found_in_80_percent():
    rng, G, runs = np.random.default_rng(5), 12, 4000
    effect = minimum_detectable_effect(1 / math.sqrt(G), G - 1)
    draws = rng.normal(effect, 1, (runs, G))
    assert 0.78 < (scipy_stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean() < 0.82


def test_detectable_effect_refuses_nonsense():
    for bad in ({"stderr": -1.0, "dof": 3}, {"stderr": 1.0, "dof": 0}, {"stderr": 1.0, "dof": 3, "power": 0.01}):
        with pytest.raises(ValueError, match="needs stderr"):
            minimum_detectable_effect(**bad)


def test_bootstrap_of_a_mean_has_the_error_of_the_mean():
    values, clusters = clustered_draws(np.random.default_rng(6), images=150)
    sums = np.stack([np.bincount(clusters, values), np.bincount(clusters)], 1)
    found = bootstrap(lambda s: s[:, 0] / s[:, 1], sums, n_boot=2000)
    exact = mean_clustered(values, clusters)
    assert found.value == pytest.approx(exact.value)
    assert found.stderr == pytest.approx(exact.stderr, rel=0.08)
    assert found.ci95 == pytest.approx(exact.ci95, abs=0.25 * exact.stderr)
    assert found == bootstrap(lambda s: s[:, 0] / s[:, 1], sums, n_boot=2000)
    assert found.ci95 != bootstrap(lambda s: s[:, 0] / s[:, 1], sums, n_boot=2000, seed=1).ci95


def test_degenerate_bootstraps():
    assert bootstrap(lambda s: s[:, 0], [[3.0]]).stderr is None
    with pytest.raises(ValueError, match="at least one cluster"):
        bootstrap(lambda s: s, [])
    with pytest.raises(ValueError, match="not finite"), np.errstate(all="ignore"):
        bootstrap(lambda s: 1 / s[:, 0], [[0.0], [1.0]])


def seed_metric(value, stderr=None, name="acc"):
    ci95 = None if stderr is None else (value - 2 * stderr, value + 2 * stderr)
    return Metric(name=name, value=value, n=100, stderr=stderr, ci95=ci95, method="clustered")


def test_seeds_share_their_images_so_sampling_error_does_not_average_out():
    found = across_seeds([seed_metric(10.0, 2.0), seed_metric(12.0, 2.0), seed_metric(11.0, 2.0)])
    assert found.value == 11
    assert found.stderr == pytest.approx(math.sqrt(4 + 1 / 3))
    half = math.sqrt(16 + (scipy_stats.t.ppf(0.975, 2) / math.sqrt(3)) ** 2)
    assert found.ci95 == pytest.approx((11 - half, 11 + half))
    assert (found.n, found.clusters) == (100, 3)


def test_seed_interval_covers_the_truth():
    rng, S, runs, covered = np.random.default_rng(8), 3, 1500, 0
    for _ in range(runs):
        image_luck, seed_luck = rng.normal(size=30), rng.normal(0, 0.2, S)
        found = [mean_clustered(image_luck + luck, range(30)) for luck in seed_luck]
        low, high = across_seeds(
            [Metric(name="m", value=f.value, n=30, stderr=f.stderr, ci95=f.ci95) for f in found]
        ).ci95
        covered += low <= 0 <= high
    assert 0.94 < covered / runs < 0.995


def test_degenerate_seeds():
    one = across_seeds([seed_metric(10.0, 2.0)])
    assert (one.value, one.stderr, one.ci95, one.method) == (10, 2, (6, 14), "one seed; clustered")
    bare = across_seeds([seed_metric(1.0), seed_metric(3.0)])
    assert (bare.stderr, bare.method) == (pytest.approx(1), "between 2 seeds alone")
    for bad in ([], [seed_metric(1.0), seed_metric(1.0, name="other")]):
        with pytest.raises(ValueError, match="at least one metric"):
            across_seeds(bad)


def test_reports_can_import_it_without_torch_or_scipy_stats():
    code = "import sys, rice_core.stats.estimates, rice_core.stats.ratios; sys.exit('torch' in sys.modules or 'scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
