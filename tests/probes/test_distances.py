"""Token distances: known answers, sampling, ties, and scikit-learn as oracle of the AUROC."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from probes.distances import TokenPairs, auroc, token_labels, token_pairs

ALL = 10**9


def pairs(x_TC: np.ndarray, label_T: np.ndarray | None = None, most: int = ALL) -> TokenPairs:
    return token_pairs(x_TC, label_T, most=most, generator=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("x_TC", "distance"),
    [
        (np.eye(5), 1),
        (np.eye(5) * 1e-25, 1),
        (np.full((5, 3), 0.1), 0),
        (np.full((5, 3), 3e30), 0),
        (np.zeros((5, 3)), 0),
        (np.array([[1.0, 2.0], [-3.0, -6.0]]), 2),
        (np.array([[0.0, 0.0], [3.0, 4.0]]), 1),
    ],
    ids=["orthogonal", "tiny", "identical", "huge", "zero", "opposite", "zero and another"],
)
def test_known_distances(x_TC: np.ndarray, distance: float) -> None:
    found = pairs(x_TC.astype(np.float32))
    assert len(found.all_P) == len(x_TC) * (len(x_TC) - 1)
    np.testing.assert_allclose(found.all_P, distance, atol=2e-6)
    assert found.separation is None


def test_constant_tokens_are_ties_and_not_a_lottery() -> None:
    x_TC = np.tile(np.random.default_rng(0).standard_normal(768).astype(np.float32), (300, 1))
    found = pairs(x_TC, np.arange(300) // 100 - 1)
    assert (found.all_P == 0).all()
    assert found.separation == 50


def test_which_pairs_are_within_and_across() -> None:
    x_TC = np.eye(6, dtype=np.float32)
    x_TC[1] = x_TC[0]
    found = pairs(x_TC, np.array([0, 0, 1, 1, -1, -1]))
    # Within: (0, 1) at 0 and (2, 3) at 1, both ways. Across: 0-1 pairs 4, object-background 8. Background alone: none.
    assert sorted(found.within_P) == [0, 0, 1, 1]
    assert len(found.across_P) == 2 * (4 + 8)
    assert found.separation == 75


def test_ignored_tokens_are_neither_within_nor_across() -> None:
    x_TC = np.eye(8, dtype=np.float32)
    label_T = np.array([0, 0, -2, 1, 1, -1, -2, -1])
    kept = label_T != -2
    for most in (ALL, 3 * 7):
        found = pairs(x_TC, label_T, most)
        assert len(found.all_P) == (56 if most == ALL else 21)
    found, without = pairs(x_TC, label_T), pairs(x_TC[kept], label_T[kept])
    assert len(found.within_P) == len(without.within_P) == 4
    assert len(found.across_P) == len(without.across_P) == 2 * (4 + 8)
    assert pairs(x_TC, np.full(8, -2)).separation is None


def test_separation_knows_the_ceiling_and_its_opposite() -> None:
    label_T = np.repeat([-1, 0, 1], 4)
    assert pairs(np.eye(3, dtype=np.float32)[label_T + 1], label_T).separation == 100
    alike_TC = np.tile(np.eye(4, dtype=np.float32), (3, 1))  # Each object holds four opposite kinds of token.
    assert (pairs(alike_TC, label_T).separation or 0) < 50


@pytest.mark.parametrize("label_T", [np.full(6, -1), np.arange(6), np.zeros(6, int)])
def test_no_separation_without_both_kinds_of_pair(label_T: np.ndarray) -> None:
    assert pairs(np.eye(6, dtype=np.float32), label_T).separation is None


def test_a_sample_of_tokens_stands_for_all() -> None:
    generator = np.random.default_rng(1)
    label_T = generator.integers(-1, 3, size=600)
    x_TC = (generator.standard_normal((4, 16))[label_T] + generator.standard_normal((600, 16))).astype(np.float32)
    whole, sample = pairs(x_TC, label_T), pairs(x_TC, label_T, most=120 * 599)
    assert len(sample.all_P) == 120 * 599
    assert len(whole.all_P) == 600 * 599
    assert float(sample.all_P.mean()) == pytest.approx(float(whole.all_P.mean()), abs=0.02)
    assert sample.separation == pytest.approx(whole.separation, abs=3)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
)
def test_auroc_is_scikit_learns(lower: list[int], higher: list[int]) -> None:
    expected = roc_auc_score([0] * len(lower) + [1] * len(higher), lower + higher)
    assert auroc(np.array(lower), np.array(higher)) == pytest.approx(100 * expected)


def test_a_token_has_the_label_of_most_of_its_pixels() -> None:
    label_HW = np.full((4, 6), -1)
    label_HW[:2, :2] = 7
    label_HW[0, 2] = label_HW[1, 2] = label_HW[0, 3] = 1202
    label_HW[2, 0] = 7  # One pixel of four: the token stays background.
    np.testing.assert_array_equal(token_labels(label_HW, (2, 3)), [7, 1202, -1, -1, -1, -1])


def test_a_token_is_ignored_where_most_of_its_pixels_are() -> None:
    label_HW = np.full((4, 6), -1)
    label_HW[:2, :2] = -2
    label_HW[0, 2:4] = -2  # half: of equals it is the background that counts
    label_HW[2, :2], label_HW[3, :2] = 7, -2  # or the object
    label_HW[2:, 4:], label_HW[2, 4] = -2, 9
    np.testing.assert_array_equal(token_labels(label_HW, (2, 3)), [-2, -1, -1, 7, -1, -2])
    np.testing.assert_array_equal(token_labels(np.full((4, 6), -2), (2, 3)), [-2] * 6)
