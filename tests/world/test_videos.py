"""Clips: the same pixels from the same numbers, a truth that agrees with them, and things that are hard to tell apart."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from rice_core.world.clip_truth import Placed, clip_truth
from rice_core.world.mini import WORLDS, training_world
from rice_core.world.motion import FASTEST
from rice_core.world.videos import Look, WorldClip, draw_clip, target_of

INDICES = (*range(10), *range(1_000_000, 1_000_010))


@pytest.fixture(scope="module")
def clips() -> list[WorldClip]:
    return [draw_clip(0, index) for index in INDICES]


def digest(clip: WorldClip) -> str:
    return hashlib.sha256(clip.frames_THW3.tobytes() + clip.owner_THW.tobytes()).hexdigest()


def test_the_same_numbers_give_the_same_arrays_and_others_do_not(clips: list[WorldClip]) -> None:
    assert digest(draw_clip(0, 3)) == digest(clips[3])
    assert len({digest(clip) for clip in [*clips, draw_clip(1, 0)]}) == len(clips) + 1


def test_a_clip_is_what_it_was() -> None:
    """Records of the miniature videos are keyed by its bytes: VIDEO_VERSION rises where this fails."""
    clip = draw_clip(0, 0)
    assert clip.frames_THW3.shape[1:] == (144, 192, 3)
    assert hashlib.sha256(clip.owner_THW.tobytes()).hexdigest()[:16] == "79818886d7bf419b"


def test_the_target_is_known_before_it_is_drawn(clips: list[WorldClip]) -> None:
    assert [target_of(0, index) for index in INDICES] == [clip.target for clip in clips]
    assert Look("star", "dots", "red").sentence == "the red star with dots"
    assert Look("disk", "solid", "blue").sentence == "the blue disk"


def test_the_length_and_size_are_as_said(clips: list[WorldClip]) -> None:
    assert {24 <= len(clip.frames_THW3) <= 40 for clip in clips} == {True}
    small = draw_clip(0, 3, size=72)
    assert small.frames_THW3.shape[1:] == (72, 96, 3)
    assert small.target == clips[3].target
    # The same clip at half the size.
    first, whole = small.truth.boxes_T4[0], clips[3].truth.boxes_T4[0] / 2
    np.testing.assert_allclose(first, whole, atol=1.5)


def test_boxes_are_tight_around_what_is_seen(clips: list[WorldClip]) -> None:
    for clip in clips:
        for owner_HW, (x, y, w, h), seen in zip(
            clip.owner_THW, clip.truth.boxes_T4.tolist(), clip.truth.seen_T, strict=True
        ):
            mask_HW = owner_HW == 1
            assert np.count_nonzero(mask_HW) == seen
            inside_HW = mask_HW[y : y + h, x : x + w]
            assert inside_HW.sum() == seen
            if seen:
                sides = inside_HW[0], inside_HW[-1], inside_HW[:, 0], inside_HW[:, -1]
                assert all(side.any() for side in sides)
            else:
                assert (x, y, w, h) == (0, 0, 0, 0)


def test_flags_agree_with_the_pixels(clips: list[WorldClip]) -> None:
    for clip in clips:
        truth = clip.truth
        seen_T = (clip.owner_THW == 1).any(axis=(1, 2))
        np.testing.assert_array_equal(truth.cover_T > 0, seen_T)
        np.testing.assert_array_equal(truth.absent_T, ~seen_T)
        np.testing.assert_array_equal(truth.out_of_view_T | truth.full_occlusion_T, truth.absent_T)
        assert not (truth.out_of_view_T & truth.full_occlusion_T).any()
        assert (truth.seen_T <= truth.in_view_T).all()
        assert (truth.in_view_T <= truth.all_T).all()
        # Where an edge cuts it and nothing hides it, its box reaches that edge.
        height, width = clip.owner_THW.shape[1:]
        for x, y, w, h in truth.boxes_T4[truth.cut_T & (truth.seen_T == truth.in_view_T)].tolist():
            assert x == 0 or y == 0 or x + w == width or y + h == height
        # A hidden target is behind something of the clip.
        for t in np.flatnonzero(truth.full_occlusion_T):
            x, y, w, h = truth.whole_T4[t]
            assert (clip.owner_THW[t, y : y + h, x : x + w] > 1).any()


@pytest.mark.parametrize(
    ("seen", "level"),
    [(0, 0), (1, 1), (15, 1), (16, 2), (30, 2), (45, 3), (60, 4), (75, 5), (90, 6), (91, 7), (99, 7), (100, 8)],
)
def test_levels_of_cover_are_got10ks(seen: int, level: int) -> None:
    seen_1HW = (np.arange(100) < seen).reshape(1, 10, 10)
    truth = clip_truth(seen_1HW, [Placed(0, 0, np.ones((10, 10), dtype=np.bool_))])
    assert truth.cover_T.tolist() == [level]


def test_what_lies_beyond_an_edge_is_cut_or_out_of_view() -> None:
    stamp = np.ones((4, 4), dtype=np.bool_)
    seen_THW = np.zeros((4, 10, 10), dtype=np.bool_)
    seen_THW[0, 2:6, 3:7] = True
    seen_THW[1, :2, :3] = True
    places = [Placed(2, 3, stamp), Placed(-2, -1, stamp), Placed(-4, 0, stamp), Placed(4, 10, stamp)]
    truth = clip_truth(seen_THW, places)
    assert truth.boxes_T4.tolist() == [[3, 2, 4, 4], [0, 0, 3, 2], [0] * 4, [0] * 4]
    assert truth.cut_T.tolist() == [False, True, False, False]
    assert truth.out_of_view_T.tolist() == [False, False, True, True]
    assert truth.cover_T.tolist() == [8, 3, 0, 0]


def test_the_first_frame_shows_the_whole_target(clips: list[WorldClip]) -> None:
    assert {int(clip.truth.cover_T[0]) for clip in clips} == {8}


def test_there_are_hard_others_and_things_happen(clips: list[WorldClip]) -> None:
    for clip in clips:
        assert 2 <= len(clip.others) <= 3
        for other in clip.others:
            same = [getattr(other, part) == getattr(clip.target, part) for part in ("shape", "texture", "hue")]
            assert sorted(same) == [False, True, True]
        # A colour alone is not enough: one of another kind has the target's hue.
        assert any(other.hue == clip.target.hue for other in clip.others)
    truths = [clip.truth for clip in clips]
    assert sum(bool(truth.full_occlusion_T.any()) for truth in truths) >= 5
    assert sum(bool(truth.out_of_view_T.any()) for truth in truths) >= 1
    assert sum(bool(truth.cut_T.any()) for truth in truths) >= 2
    assert sum(bool((truth.seen_T < truth.in_view_T).any()) for truth in truths) >= 12
    # It comes back, mostly.
    assert sum(not truth.absent_T[-1] for truth in truths) >= 14


def test_the_target_moves_smoothly_and_never_too_fast(clips: list[WorldClip]) -> None:
    for clip in clips:
        truth = clip.truth
        whole_T = truth.cover_T == 8
        both = whole_T[1:] & whole_T[:-1]
        centre_T2 = truth.boxes_T4[:, :2] + truth.boxes_T4[:, 2:] / 2
        side_T = truth.boxes_T4[:, 2:].max(axis=1)
        # Two pixels: stamps stand on whole pixels, and a box is of whole pixels too.
        moved_T = np.hypot(*np.diff(centre_T2, axis=0).T)[both] - 2
        assert (moved_T <= FASTEST * side_T[:-1][both]).all()


def test_light_and_size_change_and_the_camera_moves(clips: list[WorldClip]) -> None:
    for clip in clips:
        ground_T = [frame[owner == 0].mean() for frame, owner in zip(clip.frames_THW3, clip.owner_THW, strict=True)]
        assert np.ptp(ground_T) > 2
        whole = clip.truth.all_T / clip.truth.all_T[0]
        assert whole.max() > 1.15 or whole.min() < 0.87
    still = [
        np.abs(np.diff(clip.frames_THW3[:2].astype(int), axis=0))[0][clip.owner_THW[0] == 0].mean() for clip in clips
    ]
    assert np.median(still) > 3.5  # more than two frames of noise alone


def test_no_clip_shares_a_generator_with_what_an_encoder_saw() -> None:
    seeds = {world.seed for world in WORLDS.values() if world.layout in ("got10k", "lasot", "trackingnet", "tnl2k")}
    assert seeds.isdisjoint({training_world(number).seed for number in range(1000)})
