"""The metrics of referring segmentation against plain references, on the values where published scripts differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from refer_folder import BESIDE, SQUARE

from mllm.lisa.masks import BadMask, given_mask, overlap_of, true_mask
from mllm.lisa.metrics import (
    BY_PICTURE,
    CIOU,
    DROPPED,
    GIOU,
    PRECISIONS,
    ZERO,
    MaskOverlaps,
    mean_ciou,
    metrics_of_masks,
    scores_of,
)
from rice_core.datasets import Region


def overlaps(pairs: list[tuple[int, int]], pictures: list[str] | None = None) -> MaskOverlaps:
    names = pictures or [f"p{k}" for k in range(len(pairs))]
    return MaskOverlaps.of([(f"e{k}", name, i, u) for k, (name, (i, u)) in enumerate(zip(names, pairs, strict=True))])


def values(found: MaskOverlaps) -> dict[str, float]:
    return {name: each.value for name, each in metrics_of_masks(found).items()}


def test_the_values_at_which_definitions_differ() -> None:
    found = values(overlaps([(100, 100), (1, 4), (0, 0), (0, 50), (0, 10)]))
    assert found[CIOU] == pytest.approx(100 * 101 / 164)
    assert found[GIOU] == pytest.approx(45.0)
    assert found[ZERO] == pytest.approx(25.0)
    assert found[DROPPED] == pytest.approx(31.25)
    assert [found[name] for name in PRECISIONS] == pytest.approx([40.0] * 5)


def test_a_mean_by_picture_is_another_one() -> None:
    found = values(overlaps([(5, 5), (0, 5), (0, 5), (0, 5)], ["A", "B", "B", "B"]))
    assert (found[BY_PICTURE], found[GIOU]) == pytest.approx((50.0, 25.0))


def test_a_threshold_is_met_exactly() -> None:
    # 0.7 is no binary fraction: 7 of 10 in floats would be below it.
    found = values(overlaps([(7, 10), (69, 100), (1, 2), (49, 100)]))
    assert [found[name] for name in PRECISIONS] == pytest.approx([75.0, 50.0, 25.0, 0.0, 0.0])


def test_sums_are_of_whole_numbers() -> None:
    n = 2**24
    found = values(overlaps([(n, n), (1, 1), (0, 1)]))
    assert found[CIOU] == 100 * (n + 1) / (n + 2)
    assert found[CIOU] != 100 * float(np.float32(n) + np.float32(1)) / (n + 2)
    # More than 32 bits.
    assert values(overlaps([(2**31, 2**32), (2**31, 2**32)]))[CIOU] == 50.0


def test_nothing_at_all_has_no_ciou() -> None:
    found = values(overlaps([(0, 0), (0, 0)]))
    assert CIOU not in found
    assert DROPPED not in found
    assert (found[GIOU], found[ZERO], found[PRECISIONS[-1]]) == (100.0, 0.0, 100.0)
    with pytest.raises(ValueError, match="at least one value"):
        metrics_of_masks(overlaps([]))


def test_errors_of_ciou_are_a_ratios_by_picture() -> None:
    rng = np.random.default_rng(0)
    union_N = rng.integers(1, 500, 300)
    inter_N = (union_N * rng.random(300)).astype(int)
    pictures = [f"p{k // 3}" for k in range(300)]
    found = metrics_of_masks(overlaps(list(zip(inter_N.tolist(), union_N.tolist(), strict=True)), pictures))[CIOU]
    sums_G2 = np.stack([inter_N.reshape(-1, 3).sum(1), union_N.reshape(-1, 3).sum(1)], 1).astype(float)
    drawn = sums_G2[rng.integers(100, size=(4000, 100))].sum(1)
    assert found.stderr == pytest.approx(100 * (drawn[:, 0] / drawn[:, 1]).std(), rel=0.08)
    assert (found.n, found.clusters) == (300, 100)
    # A perfect model's error is none, whatever the sizes.
    assert metrics_of_masks(overlaps([(u, u) for u in union_N.tolist()]))[CIOU].stderr == 0


def test_the_mean_over_splits_shares_pictures() -> None:
    one, other = overlaps([(1, 4), (3, 4)], ["a", "b"]), MaskOverlaps.of([("other", "a", 9, 10)])
    found, scores = mean_ciou([one, other])
    assert found.value == pytest.approx((50 + 90) / 2)
    assert (found.n, found.clusters) == (3, 2)
    assert np.mean(scores.values[CIOU]) == pytest.approx(found.value)


def square(x: int, y: int, side: int = 10) -> list[float]:
    return [float(n) for n in (x, y, x + side, y, x + side, y + side, x, y + side)]


def test_polygons_that_overlap_are_merged() -> None:
    truth = true_mask(Region((0, 0, 1, 1), 0, [SQUARE, BESIDE]), (40, 60))
    assert coco_mask.area(truth) == 184
    assert overlap_of(truth, truth) == (184, 184)  # a sum with 2 in it would score 168 of 184


def plain(predicted_HW: np.ndarray, true_HW: np.ndarray) -> tuple[int, int]:
    return int((predicted_HW & true_HW).sum()), int((predicted_HW | true_HW).sum())


def run_lengths(mask_HW: np.ndarray, *, packed: bool) -> dict[str, Any]:
    flat = mask_HW.T.ravel()
    if packed:
        found = coco_mask.encode(np.asfortranarray(mask_HW, np.uint8))
        return {"size": list(mask_HW.shape), "counts": found["counts"].decode()}
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int)])) != 0)
    return {"size": list(mask_HW.shape), "counts": np.diff([0, *edges.tolist(), flat.size]).tolist()}


def test_pixels_are_those_of_plain_arrays() -> None:
    rng = np.random.default_rng(1)
    for k, share in enumerate((0.0, 0.02, 0.5, 0.98, 1.0) * 3):
        size_hw = tuple(rng.integers(1, 70, 2).tolist())
        predicted_HW, true_HW = (rng.random(size_hw) < each for each in (share, rng.choice([0.0, 0.3, 1.0])))
        predicted = given_mask(run_lengths(predicted_HW, packed=bool(k % 2)), size_hw)
        for packed in (True, False):
            truth = true_mask(Region((0, 0, 1, 1), 0, run_lengths(true_HW, packed=packed)), size_hw)
            assert overlap_of(predicted, truth) == plain(predicted_HW, true_HW)


def test_every_metric_is_a_plain_loops() -> None:
    rng = np.random.default_rng(2)
    pairs, pictures = [], []
    for k in range(60):
        a_HW, b_HW = (rng.random((6, 7)) < rng.choice([0.0, 0.2, 0.9]) for _ in range(2))
        pairs.append(plain(a_HW, b_HW))
        pictures.append(f"p{k % 17}")
    found = values(overlaps(pairs, pictures))
    ious = [i / u if u else 1.0 for i, u in pairs]
    assert found[CIOU] == pytest.approx(100 * sum(i for i, _ in pairs) / sum(u for _, u in pairs))
    assert found[GIOU] == pytest.approx(100 * sum(ious) / 60)
    # mmdetection's RefSegMetric: intersections over unions summed, a union of 0 adding nothing to its mean.
    assert found[ZERO] == pytest.approx(100 * sum(i / u if u else 0.0 for i, u in pairs) / 60)
    assert found[DROPPED] == pytest.approx(100 * float(np.mean([i / u for i, u in pairs if u])))
    groups = [[iou for iou, name in zip(ious, pictures, strict=True) if name == f"p{k}"] for k in range(17)]
    assert found[BY_PICTURE] == pytest.approx(100 * float(np.mean([np.mean(group) for group in groups])))
    for name, at in zip(PRECISIONS, (0.5, 0.6, 0.7, 0.8, 0.9), strict=True):
        assert found[name] == pytest.approx(100 * float(np.mean([iou >= at for iou in ious])))
    assert set(scores_of(overlaps(pairs)).values) == {CIOU, GIOU, ZERO, *PRECISIONS}


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "has no run lengths"),
        ([SQUARE], "has no run lengths"),
        ({"counts": [2400]}, "without a size"),
        ({"size": [40.0, 60], "counts": [2400]}, "without a size"),
        ({"size": [True, 60], "counts": [2400]}, "without a size"),
        ({"size": [60, 40], "counts": [2400]}, "is of 40 x 60 pixels, and the picture has 60 x 40"),
        ({"size": [40, 60], "counts": [2399]}, "do not fill"),
        ({"size": [40, 60], "counts": [2401]}, "do not fill"),
        ({"size": [40, 60], "counts": "\x07"}, "cannot be read"),
        ({"size": [40, 60]}, "cannot be read"),
    ],
)
def test_what_is_no_mask_of_the_picture_is_said(segmentation: Any, reason: str) -> None:
    with pytest.raises(BadMask, match=reason):
        given_mask(segmentation, (40, 60))
    assert coco_mask.area(given_mask({"size": [40, 60], "counts": [2400]}, (40, 60))) == 0
