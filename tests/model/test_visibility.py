"""Visible patches and box shares against counting pixels."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rice_core.datasets.geometry import cell_shares
from rice_core.model.visibility import box_shares, visible_patches

boxes = st.lists(st.tuples(*[st.integers(-10, 34)] * 4), min_size=1, max_size=5)
grids = st.tuples(st.integers(1, 7), st.integers(1, 7))
sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))


def pieces(box: tuple[int, int, int, int], grid_hw: tuple[int, int], size_hw: tuple[int, int]) -> list[Fraction]:
    """The share of every cell, by counting: each pixel is cut into h x w pieces, and each piece lies in one cell."""
    (h, w), (H, W) = grid_hw, size_hw
    left, top, right, bottom = box
    mask = np.zeros((H, W), dtype=bool)
    mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    fine = mask.repeat(h, axis=0).repeat(w, axis=1)
    cells = fine.reshape(h, H, w, W).sum(axis=(1, 3)).ravel()
    return [Fraction(int(count), H * W) for count in cells]


@given(boxes, grids, sizes, st.lists(st.booleans(), min_size=5, max_size=5), st.sampled_from([1, 2, 3, 4]))
@settings(max_examples=150, deadline=None)
def test_shares_and_visibility_agree_with_counted_pixels(
    found: list[tuple[int, int, int, int]],
    grid_hw: tuple[int, int],
    size_hw: tuple[int, int],
    thin: list[bool],
    quarters: int,
) -> None:
    want = [pieces(box, grid_hw, size_hw) for box in found]
    shares_NP = box_shares(np.array(found, dtype=np.float64), grid_hw, size_hw)
    np.testing.assert_allclose(shares_NP, np.array(want, dtype=np.float64), atol=1e-12)
    overlap = Fraction(quarters, 4)
    got_NP = visible_patches(shares_NP, thin_N=np.array(thin[: len(found)]), overlap=float(overlap))
    for n, row in enumerate(want):
        passes = [share > 0 if thin[n] else share >= overlap for share in row]
        if any(passes) or not any(row):
            assert got_NP[n].tolist() == passes
        else:
            (seen,) = np.flatnonzero(got_NP[n])
            assert row[seen] == max(row)


@given(st.integers(0, 2**32), grids, sizes)
@settings(max_examples=60, deadline=None)
def test_a_mask_is_seen_as_its_pixels_say(seed: int, grid_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
    (h, w), (H, W) = grid_hw, size_hw
    mask_HW = np.random.default_rng(seed).random(size_hw) < 0.5
    counted = mask_HW.repeat(h, axis=0).repeat(w, axis=1).reshape(h, H, w, W).sum(axis=(1, 3)).ravel()
    shares_1P = cell_shares(mask_HW, grid_hw).reshape(1, -1)
    got_P = visible_patches(shares_1P, thin_N=np.array([False]), overlap=0.5)[0]
    if (2 * counted >= H * W).any():
        assert got_P.tolist() == (2 * counted >= H * W).tolist()
    else:
        assert got_P.sum() == int(counted.any())


def test_half_a_cell_is_enough_for_an_object_and_a_touch_for_a_line() -> None:
    # Cells of 8 pixels; the strip covers half of the first row's cells and an eighth of the second row's.
    shares_NP = box_shares(np.array([[0.0, 4.0, 16.0, 9.0]] * 2), (2, 2), (16, 16))
    np.testing.assert_allclose(shares_NP[0], [0.5, 0.5, 0.125, 0.125])
    visible_NP = visible_patches(shares_NP, thin_N=np.array([False, True]), overlap=0.5)
    assert visible_NP.tolist() == [[True, True, False, False], [True] * 4]


def test_no_boxes_are_no_rows() -> None:
    shares_0P = box_shares(np.zeros((0, 4)), (2, 3), (16, 24))
    assert shares_0P.shape == (0, 6)
    assert visible_patches(shares_0P, thin_N=np.zeros(0, dtype=bool), overlap=0.5).shape == (0, 6)


def test_a_line_that_ends_on_a_border_does_not_touch_the_cell_behind_it() -> None:
    shares_NP = box_shares(np.array([[0.0, 0.0, 8 + 1e-14, 4.0]]), (1, 2), (8, 16))
    assert visible_patches(shares_NP, thin_N=np.array([True]), overlap=0.5).tolist() == [[True, False]]


def test_the_best_cell_where_none_passes_and_nothing_for_nothing() -> None:
    tiny, empty, outside = [9.0, 9.0, 10.0, 10.0], [3.0, 3.0, 3.0, 9.0], [40.0, 40.0, 50.0, 50.0]
    shares_NP = box_shares(np.array([tiny, empty, outside, tiny]), (2, 2), (16, 16))
    visible_NP = visible_patches(shares_NP, thin_N=np.array([False, False, True, True]), overlap=1.0)
    assert visible_NP.tolist() == [[False, False, False, True], [False] * 4, [False] * 4, [False, False, False, True]]
