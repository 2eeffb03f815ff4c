"""What each dialect makes of the cases that toolkits quarrel over. Values worked out by hand, and held against the toolkits' own code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from rice_core.datasets.tracks import Track
from rice_core.errors import UserError
from tracking.curves import Curves, Floats
from tracking.dialects import DIALECTS, OFFICIAL, of_published
from tracking.overall import Followed, Judgement, judge, overall, perfect, still

BOX = (10.0, 20.0, 40.0, 30.0)
SIZE = (100, 100)
ALL = tuple(DIALECTS)


def box_rows(frames: int = 10, changed: Mapping[int, tuple[float, ...]] | None = None) -> Floats:
    rows = np.tile(BOX, (frames, 1))
    for row, box in (changed or {}).items():
        rows[row] = box
    return rows


def truth(boxes_T4: Floats, absent: tuple[int, ...] = (), lasot: bool = False, cover: Floats | None = None) -> Track:
    absent_T = np.isin(np.arange(len(boxes_T4)), absent)
    flags = {"full_occlusion": absent_T * 1.0, "out_of_view": np.zeros(len(boxes_T4))} if lasot else {}
    return Track(boxes_T4, absent_T, flags | ({} if cover is None else {"cover": cover}), flagged=bool(absent))


def three(dialect: str, boxes_T4: Floats, track: Track) -> list[float]:
    """The numbers of one video, percent."""
    return [100 * value for value in DIALECTS[dialect].read(DIALECTS[dialect].judge(boxes_T4, track, SIZE)).values()]


NOTHING = (0.0, 0.0, 0.0, 0.0)
EXAMPLE = {3: NOTHING, 4: NOTHING, 7: (0.0, 20.0, 40.0, 30.0)}


@pytest.mark.parametrize(
    ("dialect", "lasot", "expected"),
    [
        ("lasot", False, (66.6667, 80, 80)),
        ("lasot", True, (66.6667, 80, 80)),
        ("ostrack", False, (76.1905, 80, 100)),
        ("ostrack", True, (76.1905, 80, 80)),
        ("pytracking", False, (66.6667, 70, 100)),
        ("pytracking", True, (66.6667, 70, 80)),
        ("visible", True, (95.2381, 100, 100)),
    ],
)
def test_absent_frames_and_boxes_at_the_edge_are_what_each_toolkit_makes_of_them(
    dialect: str, lasot: bool, expected: tuple[float, ...]
) -> None:
    rows = box_rows(changed=EXAMPLE)
    assert three(dialect, rows, truth(rows, (3, 4), lasot)) == pytest.approx(expected, abs=5e-5)


def test_an_absent_frame_with_a_box_of_a_size_is_told_by_its_flag() -> None:
    rows = box_rows()
    assert three("lasot", rows, truth(rows, (5,))) == pytest.approx((85.7143, 90, 90), abs=5e-5)
    assert three("ostrack", rows, truth(rows, (5,), lasot=True)) == pytest.approx((85.7143, 90, 90), abs=5e-5)
    assert three("ostrack", rows, truth(rows, (5,))) == pytest.approx((95.2381, 100, 100), abs=5e-5)
    assert three("visible", rows, truth(rows, (5,))) == pytest.approx((95.2381, 100, 100), abs=5e-5)


def test_perfect_is_not_100_where_iou_has_to_be_above_its_threshold() -> None:
    rows = box_rows()
    for dialect in ("lasot", "pytracking", "ostrack", "visible"):
        assert three(dialect, rows, truth(rows)) == pytest.approx((95.2381, 100, 100), abs=5e-5)
    assert three("trackingnet", rows, truth(rows)) == pytest.approx((100, 100, 100))
    assert three("got10k", rows, truth(rows)) == pytest.approx((100, 100, 100))


def test_all_wrong_but_the_first_frame() -> None:
    rows, far = truth(box_rows()), np.tile((90.0, 90.0, 5.0, 5.0), (10, 1))
    for dialect in ("lasot", "pytracking", "ostrack", "visible"):
        assert three(dialect, far, rows) == pytest.approx((9.5238, 10, 10), abs=5e-5)
    assert three("trackingnet", far, rows) == pytest.approx((12.25, 10, 10))
    assert three("got10k", far, rows) == pytest.approx((0, 0, 0))


BAD = [(np.nan, np.nan, np.nan, np.nan), (10.0, 20.0, -40.0, 30.0), (10.0, 20.0, 0.0, 30.0)]


@pytest.mark.parametrize("bad", BAD)
def test_a_row_that_is_no_box_repeats_the_one_before_it(bad: tuple[float, ...]) -> None:
    track = truth(box_rows())
    assert three("lasot", box_rows(changed={4: bad, 5: bad}), track) == pytest.approx((95.2381, 100, 100), abs=5e-5)
    lost = box_rows(changed={3: (90.0, 90.0, 5.0, 5.0), 4: bad})
    assert three("lasot", lost, track) == pytest.approx((20 / 21 * 80, 80, 80), abs=5e-5)


def test_what_is_no_box_is_repeated_only_where_the_truth_is_known() -> None:
    rows = truth(box_rows(changed={4: (np.nan,) * 4}))
    lost = box_rows(changed={4: (np.nan,) * 4, 5: (0.0,) * 4})
    assert three("lasot", lost, rows) == pytest.approx(
        (20 / 21 * 80, 90, 90), abs=5e-5
    )  # Row 5 repeats the NaN of row 4.


@pytest.mark.parametrize("dialect", ["pytracking", "ostrack"])
def test_pytracking_repeats_zeros_and_refuses_nan_and_negative_sizes(dialect: str) -> None:
    track = truth(box_rows())
    assert three(dialect, box_rows(changed={4: BAD[2], 5: NOTHING}), track) == pytest.approx(
        (95.2381, 100, 100), abs=5e-5
    )
    for bad in BAD[:2]:
        with pytest.raises(UserError, match="Row 5 is"):
            three(dialect, box_rows(changed={4: bad}), track)
    with pytest.raises(UserError, match="The truth has a NaN"):
        three(dialect, box_rows(), truth(box_rows(changed={4: BAD[0]})))


def test_the_first_row_is_repeated_as_it_was_written_and_judged_as_the_truth() -> None:
    rows = box_rows(2, {0: (90.0, 90.0, 5.0, 5.0), 1: NOTHING})
    for dialect in ("lasot", "ostrack"):
        assert three(dialect, rows, truth(box_rows(2))) == pytest.approx((20 / 21 * 50, 50, 50), abs=5e-5)


@pytest.mark.parametrize("dialect", ALL)
def test_a_long_file_is_cut_and_a_short_one_refused_with_both_counts(dialect: str) -> None:
    rows = box_rows()
    assert three(dialect, box_rows(13), truth(rows)) == three(dialect, rows, truth(rows))
    with pytest.raises(UserError, match="There are 5 boxes for 10 frames"):
        three(dialect, box_rows(5), truth(rows))


@pytest.mark.parametrize("dialect", ALL)
def test_what_is_handed_over_is_left_as_it_is(dialect: str) -> None:
    rows, track = box_rows(changed={4: NOTHING, 5: (-10.0, 90.0, 400.0, 30.0)}), truth(box_rows(changed=EXAMPLE))
    before = rows.copy(), track.boxes_T4.copy()
    three(dialect, rows, track)
    assert np.array_equal(rows, before[0])
    assert np.array_equal(track.boxes_T4, before[1])


def test_got10k_clips_without_cutting_the_width() -> None:
    track = truth(np.tile((0.0, 0.0, 20.0, 20.0), (2, 1)))
    assert three("got10k", np.tile((-10.0, 0.0, 20.0, 20.0), (2, 1)), track) == pytest.approx((100, 100, 100))
    assert three("got10k-lasot", np.tile((-10.0, 0.0, 20.0, 20.0), (2, 1)), track)[0] == pytest.approx(
        (20 + 7) / 42 * 100
    )


def test_got10k_counts_by_cover_from_the_second_frame() -> None:
    rows, far = box_rows(4), (90.0, 90.0, 5.0, 5.0)
    track = truth(rows, absent=(3,), cover=np.array([8.0, 8, 0, 1]))
    assert three("got10k", box_rows(4, {0: far, 2: far}), track) == pytest.approx((100, 100, 100))
    assert three("got10k", box_rows(4, {3: far}), track) == pytest.approx(
        (50, 50, 50)
    )  # The absence label is not read.
    bare = truth(rows, absent=(3,))
    assert three("got10k", box_rows(4, {3: far}), bare) == pytest.approx((100, 100, 100))
    unknown = truth(box_rows(4, {3: BAD[0]}))
    assert three("got10k", box_rows(4, {3: far}), unknown) == pytest.approx((100, 100, 100))


def test_got10k_refuses_what_has_no_overlap_and_frames_of_unknown_size() -> None:
    track = truth(box_rows())
    with pytest.raises(UserError, match="Row 5 is"):
        three("got10k", box_rows(changed={4: BAD[0]}), track)
    with pytest.raises(UserError, match="give the frames too"):
        DIALECTS["got10k"].judge(box_rows(), track)
    three("got10k", box_rows(changed={0: BAD[0]}), track)  # Nobody looks at row 0.


def test_ao_pools_the_frames_of_all_videos() -> None:
    far = (90.0, 90.0, 5.0, 5.0)
    videos = [
        Followed("short", box_rows(4), truth(box_rows(4)), SIZE),
        Followed("long", box_rows(11, dict.fromkeys(range(2, 11), far)), truth(box_rows(11)), SIZE),
    ]
    found = numbers(videos, "got10k").overall
    assert found.values["ao"] == pytest.approx(100 * 4 / 13)
    assert found.values["sr75"] == pytest.approx(100 * 4 / 13)
    assert found.each["ao"] == pytest.approx([100, 10])
    assert found.curves.frames == 13


def test_sr75_is_entry_75_of_the_curve() -> None:
    track = truth(np.tile((0.0, 0.0, 100.0, 100.0), (4, 1)))
    rows = np.array([(0.0, 0.0, 100.0, wide) for wide in (100, 49, 74, 76)])
    assert three("got10k", rows, track) == pytest.approx([100 * (0.49 + 0.74 + 0.76) / 3, 200 / 3, 100 / 3])


def test_trackingnet_rounds_to_whole_pixels_and_takes_areas_under_curves() -> None:
    track = truth(box_rows())
    assert three("trackingnet", box_rows() + 0.4, track) == pytest.approx((100, 100, 100))
    moved = box_rows()
    moved[:, 0] += 1
    assert three("trackingnet", moved, track)[0] == pytest.approx(97.75)
    assert three("trackingnet", moved, track)[1] == pytest.approx(97.75)
    assert three("trackingnet", moved, track)[2] == pytest.approx(97.75)
    assert three("trackingnet", np.zeros((10, 4)), track) == pytest.approx((12.25, 16.75, 10))


def test_whole_numbers_cost_what_they_cost() -> None:
    track = truth(np.tile((10.9, 20.9, 40.9, 30.9), (10, 1)))
    assert three("lasot", np.trunc(track.boxes_T4), track)[0] == pytest.approx(86.6667, abs=5e-5)
    assert three("lasot", track.boxes_T4, track)[0] == pytest.approx(95.2381, abs=5e-5)


def test_matlab_leaves_a_video_out_of_a_mean_where_its_whole_curve_is_nothing() -> None:
    lost = truth(box_rows(3, {0: NOTHING}), absent=(0,))
    far = np.tile((90.0, 90.0, 5.0, 5.0), (3, 1))
    videos = [Followed("lost", far, lost, SIZE), Followed("found", box_rows(), truth(box_rows()), SIZE)]
    official, ostrack = numbers(videos, "lasot").overall, numbers(videos, "ostrack").overall
    assert official.values["success"] == pytest.approx(95.2381, abs=5e-5)
    assert official.counted["success"] == 1
    assert np.isnan(official.each["success"][0])
    assert official.columns["success"].mean() == pytest.approx(official.values["success"])
    assert ostrack.values["success"] == pytest.approx(95.2381 / 2, abs=5e-5)


def test_visible_looks_at_nothing_that_cannot_be_seen() -> None:
    rows = box_rows(4, {1: NOTHING, 2: BAD[0], 3: (5.0, 5.0, 4.0, 0.0)})
    gone = truth(box_rows(4), absent=(0, 1, 2, 3))
    videos = [Followed("seen", box_rows(4), truth(rows), SIZE), Followed("gone", box_rows(4), gone, SIZE)]
    found = numbers(videos, "visible").overall
    assert list(found.values.values()) == pytest.approx((95.2381, 100, 100), abs=5e-5)
    assert (found.curves.frames, found.counted["success"]) == (1, 1)


def test_a_miss_adds_no_overlap() -> None:
    rows = box_rows(changed=EXAMPLE)
    assert DIALECTS["lasot"].judge(rows, truth(rows, (3, 4))).overlap == pytest.approx(0.7)


def test_where_all_videos_have_nothing_their_mean_is_nothing() -> None:
    lost = truth(box_rows(3, {0: NOTHING}), absent=(0,))
    far = np.tile((90.0, 90.0, 5.0, 5.0), (3, 1))
    assert numbers([Followed("a", far, lost, SIZE)], "lasot").overall.values == dict.fromkeys(
        ("success", "precision", "norm_precision"), 0
    )


def test_a_video_of_one_frame_is_right_for_whoever_looks_at_its_first() -> None:
    videos = [Followed("one", np.zeros((1, 4)), truth(box_rows(1)), SIZE)]
    assert numbers(videos, "lasot").overall.values["success"] == pytest.approx(95.2381, abs=5e-5)
    refused = judge(videos, ["got10k"])["got10k"]
    assert isinstance(refused, UserError)
    assert "No frame of 1 videos counts" in str(refused)


def test_one_dialect_refusing_takes_no_number_from_another() -> None:
    videos = [Followed(name, box_rows(changed={4: BAD[0]}), truth(box_rows()), SIZE) for name in "ab"]
    found = judge(videos, ALL)
    assert {name for name, each in found.items() if isinstance(each, UserError)} == {"pytracking", "ostrack", "got10k"}
    assert str(found["ostrack"]).startswith("a: Row 5 is")


def test_chance_is_standing_still_and_the_ceiling_is_the_truth() -> None:
    rows = box_rows(changed={**EXAMPLE, 8: (60.0, 60.0, 40.0, 30.0)})
    found = numbers([Followed("a", box_rows(), truth(rows, (3, 4), lasot=True), SIZE)], "lasot")
    success, precision, _ = found.metrics()
    assert (success.ceiling, precision.ceiling) == (pytest.approx(66.6667, abs=5e-5), 80)
    assert (success.chance, precision.chance) == (pytest.approx(57.1429, abs=5e-5), 70)
    assert (success.unit, success.better, success.n, success.bounds) == ("%", "higher", 1, (0, 100))


def test_a_perfect_file_has_a_box_in_each_row() -> None:
    rows = box_rows(4, {0: (1.0, 1.0, -3.0, 2.0), 1: BAD[0], 2: (613.0, 731.0, 247.0, -11.0)})
    assert perfect(truth(rows)).tolist() == [[1, 1, 0, 2], [1, 1, 0, 2], [1, 1, 0, 2], [10, 20, 40, 30]]
    assert still(truth(box_rows(3, {1: NOTHING}))).tolist() == box_rows(3).tolist()


def test_errors_are_clustered_by_video_and_two_trackers_are_paired_by_it() -> None:
    from rice_core.stats.estimates import paired

    rng = np.random.default_rng(0)
    tracks = [truth(box_rows(int(n))) for n in rng.integers(5, 30, 12)]
    runs = [
        [Followed(str(k), t.boxes_T4 + rng.normal(0, noise, t.boxes_T4.shape), t, SIZE) for k, t in enumerate(tracks)]
        for noise in (1.0, 4.0)
    ]
    for dialect in ALL:
        a, b = (numbers(run, dialect).overall for run in runs)
        name = next(iter(a.values))
        assert a.estimate(name).clusters == 12
        assert paired(a.scores(), b.scores(), name, better="higher").value == pytest.approx(
            a.values[name] - b.values[name]
        )
        assert paired(a.scores(), b.scores(), name, better="higher").decisive


def test_a_part_of_the_videos_is_judged_from_their_curves() -> None:
    curves: dict[str, Curves] = {
        str(k): DIALECTS["lasot"].judge(box_rows() + 5 * k, truth(box_rows())) for k in range(3)
    }
    whole = overall(curves, "lasot")
    part = whole.part(["1"])
    assert part.videos == ("1",)
    assert part.values["success"] == pytest.approx(whole.each["success"][1])


def test_every_layout_has_an_official_dialect_and_published_sets_their_counts() -> None:
    assert set(OFFICIAL) == {"got10k", "lasot", "trackingnet", "tnl2k", "videos"}
    assert set(OFFICIAL.values()) <= set(DIALECTS)
    assert of_published(279, "lasot", "test") == "279 of the 280 videos of lasot test"
    assert of_published(150, "lasot", "test") == "150 of the 280 videos of lasot test, or all 150 of its extension"
    assert of_published(3, "videos", "all") == "3 videos"


def numbers(videos: list[Followed], dialect: str) -> Judgement:
    found = judge(videos, [dialect])[dialect]
    assert isinstance(found, Judgement), found
    return found
