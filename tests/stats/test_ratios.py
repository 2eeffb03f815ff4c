"""Means of ratios: the value against a plain computation, the error against a simulation and a jackknife."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from rice_core.stats.estimates import mean_clustered
from rice_core.stats.ratios import mean_of_ratios


def balanced(hit, label, cluster):
    return mean_of_ratios(hit, np.ones(len(hit)), group_E=label, row_E=np.arange(len(hit)), cluster_E=cluster)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=40))
def test_the_metric_is_the_plain_mean_of_its_values(rows):
    hit, label, cluster = (np.array(column) for column in zip(*rows, strict=True))
    metric, values = balanced(hit, label, cluster)
    assert metric == pytest.approx(np.mean([hit[label == c].mean() for c in np.unique(label)]))
    assert values.mean() == pytest.approx(metric)
    assert len(values) == len(rows)


def test_balanced_accuracy_is_sklearns():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 7, 300), rng.integers(0, 7, 300)
    metric, _ = balanced(truth == guess, truth, np.arange(300))
    assert metric == pytest.approx(balanced_accuracy_score(truth, guess))


def test_a_perfect_score_has_no_error_whatever_the_class_sizes():
    label = np.random.default_rng(1).choice(5, 90, p=[0.6, 0.2, 0.1, 0.06, 0.04])
    _, values = balanced(np.ones(90), label, np.arange(90) // 3)
    assert np.allclose(values, 1)


def test_interval_covers_the_truth_with_rare_classes_and_shared_luck():
    rng, C, G, covered, found, sizes = np.random.default_rng(2), 30, 60, 0, [], rng_sizes()
    accuracy, runs = np.random.default_rng(3).uniform(0.2, 0.8, C), 800
    image = np.arange(G).repeat(4)
    for _ in range(runs):
        label = rng.choice(C, G * 4, p=sizes)
        # A whole image is easy or hard: the truth of each class is its accuracy on average over both.
        hit = rng.random(G * 4) < accuracy[label] + 0.2 * rng.choice([-1, 1], G).repeat(4)
        estimate = mean_clustered(balanced(hit, label, image)[1], image)
        covered += estimate.ci95[0] <= accuracy.mean() <= estimate.ci95[1]
        found.append((estimate.value, estimate.stderr))
    values, errors = np.array(found).T
    assert 0.92 < covered / runs < 0.97
    assert errors.mean() == pytest.approx(values.std(), rel=0.07)


def rng_sizes():
    sizes = 1 / np.arange(2, 32)
    return sizes / sizes.sum()


def test_ratio_of_counts_has_the_jackknife_error():
    rng = np.random.default_rng(4)
    union = rng.integers(1, 50, (100, 3)).astype(float)
    overlap = np.floor(union * rng.beta(5, 3, (100, 3)))
    row, group = np.divmod(np.arange(300), 3)
    metric, values = mean_of_ratios(overlap.ravel(), union.ravel(), group_E=group, row_E=row, cluster_E=row)
    left_out = [((overlap.sum(0) - overlap[g]) / (union.sum(0) - union[g])).mean() for g in range(100)]
    assert metric == pytest.approx((overlap.sum(0) / union.sum(0)).mean())
    jackknife = np.sqrt(99 / 100 * ((left_out - np.mean(left_out)) ** 2).sum())
    assert mean_clustered(values, np.arange(100)).stderr == pytest.approx(jackknife, rel=0.03)


def test_classes_in_one_image_alone_are_compared_with_one_another():
    label, image = np.arange(12), np.arange(12)
    _, values = balanced(np.array([1, 0] * 6), label, image)
    assert mean_clustered(values, image).stderr == pytest.approx(
        mean_clustered([1.0, 0.0] * 6, image).stderr * np.sqrt(12 / 11)
    )


def test_refuses_an_empty_group():
    for num, den in (([], []), ([0.0], [0.0])):
        with pytest.raises(ValueError, match="above zero"):
            mean_of_ratios(num, den, group_E=[0] * len(num), row_E=[0] * len(num), cluster_E=[0] * len(num))
