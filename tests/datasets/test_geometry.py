"""Coverage and label maps against brute force, and masks against pycocotools."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from rice_core.datasets import Region, Sample, coverage, label_map, region_mask
from rice_core.datasets.coco_masks import rle_counts
from rice_core.datasets.geometry import cell_shares
from rice_core.datasets.runs import fills_of
from rice_core.features import BACKGROUND, IGNORE

numbers = st.floats(0, 40, allow_nan=False, width=32)


def run_lengths(mask_HW: np.ndarray, *, compressed: bool) -> dict[str, Any]:
    if compressed:
        rle = coco_mask.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
        return {"size": list(mask_HW.shape), "counts": rle["counts"].decode()}
    flat = np.concatenate([[False], mask_HW.T.ravel(), [False]])
    edges = np.flatnonzero(np.diff(flat.astype(int)))
    # The first run is of zeros, so an odd number of edges would end in ones.
    counts = np.diff(np.concatenate([[0], edges, [mask_HW.size]])).tolist()
    return {"size": list(mask_HW.shape), "counts": counts}


def brute_coverage(mask_HW: np.ndarray, grid_hw: tuple[int, int]) -> np.ndarray:
    """Every pixel cut into 1/h by 1/w pieces, each of which lies in one cell."""
    (H, W), (h, w) = mask_HW.shape, grid_hw
    pieces = mask_HW.repeat(h, axis=0).repeat(w, axis=1)
    return pieces.reshape(h, H, w, W).mean(axis=(1, 3))


@given(
    st.integers(1, 23), st.integers(1, 23), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32), st.booleans()
)
@settings(max_examples=100, deadline=None)
def test_mask_coverage_is_the_exact_area(H: int, W: int, h: int, w: int, seed: int, compressed: bool) -> None:
    mask_HW = np.random.default_rng(seed).random((H, W)) < 0.3
    region = Region((0, 0, W, H), 0, run_lengths(mask_HW, compressed=compressed))
    got = coverage(region, (h, w), (H, W))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, brute_coverage(mask_HW, (h, w)), atol=1e-5)
    np.testing.assert_allclose(got, cell_shares(mask_HW, (h, w)), atol=1e-6)


@given(st.tuples(numbers, numbers, numbers, numbers), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_box_coverage_is_the_exact_area(box: tuple[float, float, float, float], h: int, w: int) -> None:
    H, W = 40, 50
    got = coverage(Region(box, 0), (h, w), (H, W))
    x, y, width, height = box
    for i in range(h):
        for j in range(w):
            down = max(0, min(y + height, (i + 1) * H / h) - max(y, i * H / h))
            across = max(0, min(x + width, (j + 1) * W / w) - max(x, j * W / w))
            assert got[i, j] == pytest.approx(down * across * h * w / (H * W), abs=1e-5)


def test_a_box_and_its_mask_cover_the_same() -> None:
    mask_HW = np.zeros((20, 30), dtype=bool)
    mask_HW[3:9, 10:25] = True
    box = Region((10, 3, 15, 6), 0)
    by_mask = Region((10, 3, 15, 6), 0, run_lengths(mask_HW, compressed=True))
    np.testing.assert_allclose(coverage(box, (7, 4), (20, 30)), coverage(by_mask, (7, 4), (20, 30)), atol=1e-6)


def test_a_tiny_object_keeps_its_share_and_an_empty_one_has_none() -> None:
    mask_HW = np.zeros((32, 32), dtype=bool)
    mask_HW[17, 9] = True
    tiny = coverage(Region((9, 17, 1, 1), 0, run_lengths(mask_HW, compressed=True)), (4, 4), (32, 32))
    assert tiny[2, 1] == pytest.approx(1 / 64)
    assert np.count_nonzero(tiny) == 1
    empty = {"size": [32, 32], "counts": [1024]}
    assert coverage(Region((0, 0, 1, 1), 0, empty), (4, 4), (32, 32)).sum() == 0
    assert coverage(Region((40, 40, 5, 5), 0), (4, 4), (32, 32)).sum() == 0


@given(st.lists(st.lists(numbers, min_size=6, max_size=6), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_polygons_are_drawn_as_pycocotools_draws_them(polygons: list[list[float]]) -> None:
    mask_HW = region_mask(Region((0, 0, 1, 1), 0, polygons), (41, 37))
    assert mask_HW is not None
    want = coco_mask.decode(coco_mask.frPyObjects(polygons, 41, 37)).any(axis=2)
    np.testing.assert_array_equal(mask_HW, want)
    assert mask_HW.shape == (41, 37)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_compressed_run_lengths_are_read_as_pycocotools_writes_them(H: int, W: int, share: float, seed: int) -> None:
    mask_HW = np.random.default_rng(seed).random((H, W)) < share
    for compressed in (True, False):
        got = region_mask(Region((0, 0, 1, 1), 0, run_lengths(mask_HW, compressed=compressed)), (H, W))
        np.testing.assert_array_equal(got, mask_HW)


def test_long_runs_survive_compression() -> None:
    mask_HW = np.zeros((1500, 1200), dtype=bool)
    mask_HW[700:710, 600:] = True
    rle = run_lengths(mask_HW, compressed=True)
    assert rle_counts(rle["counts"]) == run_lengths(mask_HW, compressed=False)["counts"]
    assert rle_counts(rle["counts"].encode()) == rle_counts(rle["counts"])


@pytest.mark.parametrize(
    "counts", ["", "~~~", "P", "ééé", " ", "P" * 40, "P" * 7 + "0", "0N", None, 5, [1, -1], [1.5], [True]]
)
def test_what_is_no_run_length_is_refused(counts: Any) -> None:
    with pytest.raises(ValueError, match="counts"):
        rle_counts(counts)


@pytest.mark.parametrize("seed", range(4))
def test_many_run_lengths_are_measured_at_once(seed: int) -> None:
    """Also behind, before and among ones that cannot be read."""
    rng = np.random.default_rng(seed)
    texts: list[str | bytes] = ["~~~", "P", "", "é", "P" * 40, "0N"]  # the last one's second run is -2
    expected = [(-1, -1)] * len(texts)
    for n in range(450):
        H, W = rng.integers(1, 90, 2).tolist()
        mask_HW = rng.random((H, W)) < rng.choice([0, 0.02, 0.5, 1])
        counts = run_lengths(mask_HW, compressed=True)["counts"]
        texts.append(counts.encode() if n % 2 else counts)
        expected.append((H * W, int(mask_HW.sum())))
    order = rng.permutation(len(texts))
    pixels_N, covered_N = fills_of([texts[i] for i in order])
    assert list(zip(pixels_N.tolist(), covered_N.tolist(), strict=True)) == [expected[i] for i in order]
    assert [len(column) for column in fills_of([])] == [0, 0]


def test_label_map_samples_under_the_centres_and_small_objects_lie_on_top() -> None:
    rng = np.random.default_rng(3)
    image_hw, size_hw = (37, 53), (16, 24)
    masks = [np.zeros(image_hw, dtype=bool) for _ in range(3)]
    masks[0][5:12, 8:20] = True
    masks[1][2:30, 3:40] = rng.random((28, 37)) < 0.9
    masks[2][8:10, 10:50] = True
    regions = tuple(
        Region((0, 0, 53, 37), label, run_lengths(m, compressed=True))
        for label, m in zip((4, 7, 2), masks, strict=True)
    )
    got = label_map(Sample("a", Path("a"), regions=regions), size_hw, image_hw)
    order = sorted(zip((4, 7, 2), masks, strict=True), key=lambda pair: -pair[1].sum())
    for i in range(size_hw[0]):
        for j in range(size_hw[1]):
            y, x = int((i + 0.5) * 37 / 16), int((j + 0.5) * 53 / 24)
            want = [label for label, m in order if m[y, x]]
            assert got[i, j] == (want[-1] if want else -1)
    assert got.dtype == np.int64
    assert {-1, 2, 4, 7} == set(np.unique(got))


def test_a_crowd_is_ignored_where_no_smaller_object_lies_on_it() -> None:
    crowd, on_it, below = Region((1, 0, 4, 4), 7), Region((2, 1, 1, 1), 5), Region((0, 0, 6, 6), 3)
    sample = Sample("a", Path("a"), regions=(on_it,), crowds=(crowd,))
    o, b = IGNORE, BACKGROUND
    got = label_map(sample, (6, 6), (6, 6))
    assert got.tolist() == [[b, o, o, o, o, b], [b, o, 5, o, o, b], *[[b, o, o, o, o, b]] * 2, *[[b] * 6] * 2]
    # It lies on a larger object, as a smaller object would.
    got = label_map(replace(sample, regions=(on_it, below)), (6, 6), (6, 6))
    assert got.tolist() == [[3, o, o, o, o, 3], [3, o, 5, o, o, 3], *[[3, o, o, o, o, 3]] * 2, *[[3] * 6] * 2]


@pytest.mark.parametrize("masked", [False, True])
def test_of_a_crowd_and_an_object_of_one_size_the_object_is_seen(masked: bool) -> None:
    mask_HW = np.zeros((4, 6), np.bool_)
    mask_HW[1:3, 2:5] = True
    region = Region((2, 1, 3, 2), 0, run_lengths(mask_HW, compressed=True) if masked else None)
    both = label_map(Sample("a", Path("a"), regions=(region,), crowds=(region,)), (4, 6), (4, 6))
    np.testing.assert_array_equal(both, np.where(mask_HW, 0, BACKGROUND))
    alone = label_map(Sample("a", Path("a"), crowds=(region,)), (8, 12), (4, 6))
    np.testing.assert_array_equal(alone, np.where(mask_HW, IGNORE, BACKGROUND).repeat(2, 0).repeat(2, 1))


def test_label_map_of_boxes() -> None:
    sample = Sample("a", Path("a"), regions=(Region((1, 1, 2, 2), 5), Region((0, 0, 4, 4), 3)))
    got = label_map(sample, (4, 4), (4, 4))
    assert got.tolist() == [[3, 3, 3, 3], [3, 5, 5, 3], [3, 5, 5, 3], [3, 3, 3, 3]]
    # The same after the image is stretched to twice its width.
    np.testing.assert_array_equal(label_map(sample, (4, 8), (4, 4)), got.repeat(2, axis=1))


def test_no_regions_is_all_background() -> None:
    assert (label_map(Sample("a", Path("a")), (3, 2), (9, 9)) == -1).all()


def test_both_are_fast() -> None:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    polygon = np.stack([320 + 200 * np.cos(angle), 240 + 150 * np.sin(angle)], axis=1).ravel().tolist()
    region = Region((120, 90, 400, 300), 0, [polygon])
    sample = Sample("a", Path("a"), regions=(region,) * 8)
    coverage(region, (14, 14), (480, 640))
    took = []
    for _ in range(20):
        start = time.process_time()
        coverage(region, (14, 14), (480, 640))
        took.append(time.process_time() - start)
    # About 0.4 ms; a loop over cells or pixels takes far more.
    assert min(took) < 0.002
    start = time.process_time()
    label_map(sample, (224, 224), (480, 640))
    assert time.process_time() - start < 0.1
