"""What has to hold of every dialect, whatever the boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rice_core.datasets.tracks import Track
from tracking.curves import Curves, Floats
from tracking.dialects import DIALECTS
from tracking.overall import perfect

SIZE = (200, 200)
WHOLE_PIXELS = ("lasot", "pytracking", "ostrack", "visible", "trackingnet", "got10k-lasot")


@st.composite
def videos(draw: st.DrawFn, absent: bool = True) -> tuple[Track, Floats]:
    """Truth of up to 20 frames inside the image, some of it gone, and boxes anywhere."""
    frames = draw(st.integers(2, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    decimals = draw(st.integers(0, 3))
    truth_T4 = np.concatenate([rng.uniform(1, 100, (frames, 2)), rng.uniform(2, 99, (frames, 2))], axis=1).round(
        decimals
    )
    boxes_T4 = truth_T4 + rng.normal(0, draw(st.sampled_from([0, 1, 20])), truth_T4.shape).round(decimals)
    boxes_T4[:, 2:] = np.maximum(boxes_T4[:, 2:], 1)
    gone_T = rng.random(frames) < (draw(st.sampled_from([0, 0.3])) if absent else 0)
    gone_T[:2] = False
    truth_T4[gone_T & (rng.random(frames) < 0.5)] = 0
    flags = {"full_occlusion": gone_T * 1.0, "out_of_view": np.zeros(frames)} if draw(st.booleans()) else {}
    return Track(truth_T4, gone_T, flags, flagged=True), boxes_T4


def judged(dialect: str, boxes_T4: Floats, track: Track) -> Curves:
    return DIALECTS[dialect].judge(boxes_T4, track, SIZE)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=40, deadline=None)
@given(video=videos())
def test_shares_are_shares_and_curves_monotone(dialect: str, video: tuple[Track, Floats]) -> None:
    curves = judged(dialect, video[1], video[0])
    for of_K, sign in ((curves.success_S, -1), (curves.precision_P, 1), (curves.normalised_N, 1)):
        assert ((of_K >= 0) & (of_K <= 1 + 1e-12)).all()
        assert (sign * np.diff(of_K) >= 0).all()
        assert len(of_K) in (0, 21, 51, 101)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=40, deadline=None)
@given(video=videos())
def test_no_tracker_is_better_than_the_truth(dialect: str, video: tuple[Track, Floats]) -> None:
    track, boxes_T4 = video
    if dialect == "trackingnet":  # It has no absent frames: of two empty boxes IoU is 0/0, below every threshold.
        track = replace(track, boxes_T4=np.maximum(track.boxes_T4, 1))
    best, ours = judged(dialect, perfect(track), track), judged(dialect, boxes_T4, track)
    for name, value in DIALECTS[dialect].read(best).items():
        assert DIALECTS[dialect].read(ours)[name] <= value + 1e-12


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=20, deadline=None)
@given(video=videos(absent=False))
def test_the_truth_has_everything_where_nothing_is_absent(dialect: str, video: tuple[Track, Floats]) -> None:
    track = replace(video[0], boxes_T4=video[0].boxes_T4.round())  # Of fractions IoU may be above 1 by rounding.
    read = DIALECTS[dialect].read(judged(dialect, perfect(track), track))
    success = 1 if dialect in ("got10k", "trackingnet") else 20 / 21
    assert list(read.values()) == pytest.approx([success, 1, 1], abs=1e-9)


@pytest.mark.parametrize("dialect", WHOLE_PIXELS)
@settings(max_examples=40, deadline=None)
@given(video=videos(absent=False), shift=st.integers(1, 50))
def test_a_shift_of_both_leaves_everything_alone_but_rounding(
    dialect: str, video: tuple[Track, Floats], shift: int
) -> None:
    track, boxes_T4 = (replace(video[0], boxes_T4=video[0].boxes_T4.round()), video[1].round())
    boxes_T4[:, 2:] = np.maximum(boxes_T4[:, 2:], 1)
    moved = np.array([shift, 2 * shift, 0, 0], dtype=float)
    before = judged(dialect, boxes_T4, track)
    after = judged(dialect, boxes_T4 + moved, replace(track, boxes_T4=track.boxes_T4 + moved))
    assert np.array_equal(before.success_S, after.success_S)
    assert before.overlap == pytest.approx(after.overlap, abs=1e-12)
    assert np.array_equal(before.precision_P, after.precision_P)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=30, deadline=None)
@given(video=videos())
def test_what_a_tracker_says_of_the_first_frame_is_not_judged(dialect: str, video: tuple[Track, Floats]) -> None:
    track, boxes_T4 = video
    other = boxes_T4.copy()
    other[0] = (1, 1, 3, 3)
    for name, of_K in vars(judged(dialect, boxes_T4, track)).items():
        assert np.array_equal(of_K, vars(judged(dialect, other, track))[name])
