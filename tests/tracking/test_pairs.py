"""Which frames a pair is of: causal, in equal shares, the same whoever asks; what cannot be used is named and drawn again."""

import pickle
import time
from collections import Counter

import numpy as np
import pytest
from drawn_clips import Unreadable, clip, dataset, moving, still

from rice_core.datasets.listed import Frames
from rice_core.datasets.nouns import Video
from rice_core.datasets.tracks import KnownTrack, Track
from rice_core.errors import UserError
from tracking import pairs as drawing
from tracking.pairs import PairSequence, Unusable, causal, sources_of
from tracking.recipe import RECIPES
from tracking.views import PairViews

SMOKE = RECIPES["smoke"]


def _pairs(*datasets, seed=0, gap=5):
    return PairSequence(sources_of(datasets), seed, gap)


def _frames(pair):
    return [int(shot.path.stem) for shot in pair]


def test_the_search_frame_comes_after_the_template_within_the_gap(tmp_path):
    pairs = _pairs(dataset(moving(tmp_path, n=12)), gap=3)
    found = {tuple(_frames(pairs.draw(place))) for place in range(800)}
    assert found == {(a, b) for a in range(12) for b in range(12) if a < b <= a + 3}


def test_templates_are_drawn_evenly_and_search_frames_evenly_among_those_of_the_gap():
    rng, usable_N = np.random.default_rng(0), np.array([0, 4, 5, 6, 30])
    found = Counter(causal(usable_N, 31, 6, rng) for _ in range(9000))
    # From 0 to 4, 5 and 6; from 4 to 5 and 6; from 5 to 6; from 6 to nothing, and what is then drawn again has a wider gap.
    assert found[0, 4] == pytest.approx(found[0, 5], rel=0.15) == pytest.approx(found[0, 6], rel=0.15)
    assert found[5, 6] == pytest.approx(2 * found[4, 5], rel=0.15)
    assert set(found) <= {(0, 4), (0, 5), (0, 6), (4, 5), (4, 6), (5, 6), (6, 30), (5, 30), (4, 30), (0, 30)}


def test_frames_are_drawn_as_often_as_ostrack_s_sampler_draws_them():
    """Of its own code, 300,000 draws with max_gap=4, whose end it leaves out."""
    visible = np.flatnonzero([1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0])
    theirs = {(0, 3): 0.1889, (0, 4): 0.0222, (0, 6): 0.0220, (3, 4): 0.1142, (3, 6): 0.1133, (4, 6): 0.2260}
    theirs |= {(6, 14): 0.0609, (6, 15): 0.0055, (14, 15): 0.2338}
    rng = np.random.default_rng(0)
    found = Counter(causal(visible, 17, 3, rng) for _ in range(20_000))
    for frames, share in theirs.items():
        assert found[frames] / 20_000 == pytest.approx(share, abs=0.01), frames


def test_the_gap_grows_where_it_holds_nothing():
    found = {causal(np.array([3, 900]), 1000, 5, np.random.default_rng(seed)) for seed in range(20)}
    assert found == {(3, 900)}


def test_frames_without_the_object_or_a_box_or_a_file_are_not_drawn(tmp_path):
    boxes = [(10, 10, 20, 20)] * 8
    absent = [False, True, False, False, False, False, False, False]
    video = clip(tmp_path, "v", boxes, absent)
    track = video.track()
    track.boxes_T4[3] = np.nan
    track.boxes_T4[4, 2] = 0
    video = Video("v", video.frames[:7], KnownTrack(track))
    pairs = _pairs(dataset(video), gap=20)
    used = {frame for place in range(200) for frame in _frames(pairs.draw(place))}
    assert used == {0, 2, 5, 6}


def test_boxes_count_from_the_first_pixel(tmp_path):
    """LaSOT's from 1."""
    boxes = [(10, 20, 24, 18)] * 4
    for origin in (0, 1):
        template, search = _pairs(dataset(clip(tmp_path / str(origin), "v", boxes, origin=origin))).draw(0)
        assert template.box_4.tolist() == search.box_4.tolist() == [10, 20, 24, 18]


def test_a_pair_is_a_function_of_seed_and_place(tmp_path):
    data = dataset(*(moving(tmp_path, f"v{n}") for n in range(5)))
    one, other = _pairs(data, seed=3), pickle.loads(pickle.dumps(_pairs(data, seed=3)))
    asked = [[shot.path for shot in one.draw(place)] for place in range(30)]
    assert [[shot.path for shot in other.draw(place)] for place in reversed(range(30))] == asked[::-1]
    assert [[shot.path for shot in _pairs(data, seed=4).draw(place)] for place in range(30)] != asked
    assert any(one.draw(place, 1)[0].path != asked[place][0] for place in range(30))


def test_data_sets_have_equal_shares_and_their_videos_too(tmp_path):
    """Whatever is in them: one video against ten images with many objects."""
    film = dataset(moving(tmp_path, "one"), name="film")
    stills = dataset(*(still(tmp_path, f"i{n}", *[(5, 5, 20, 20)] * 9) for n in range(10)), name="stills")
    pairs = _pairs(film, stills)
    shares = Counter(pairs.source(place).name for place in range(4000))
    assert shares["film"] == pytest.approx(2000, abs=130)
    images = Counter(shot.item for place in range(4000) for shot in pairs.draw(place)[:1])
    assert len(images) == 12 - 1 + 90
    assert max(images[f"stills/i{n}#{k}"] for n in range(10) for k in range(9)) < 3 * 2000 / 90


def test_each_object_of_an_image_is_a_sequence_and_no_crowd_is(tmp_path):
    """Boxes of any size: OSTrack marks those up to 50 pixels, and draws them."""
    image = still(tmp_path, "i", (5, 5, 40, 30), (60, 40, 3, 2), crowds=[(0, 0, 100, 80)])
    data = dataset(image, still(tmp_path, "j", (1, 1, 9, 9)), still(tmp_path, "k", (2, 2, 0, 9), (3, 3, 9, 9)))
    pairs = _pairs(data)
    seen, refused = set(), set()
    for place in range(200):
        try:
            template, search = pairs.draw(place)
            assert template is search
            seen.add((template.item, tuple(template.box_4)))
        except Unusable as found:
            refused.add(found.item)
    assert refused == {"drawn/k#0"}
    assert seen == {
        ("drawn/i#0", (5, 5, 40, 30)),
        ("drawn/i#1", (60, 40, 3, 2)),
        ("drawn/j#0", (1, 1, 9, 9)),
        ("drawn/k#1", (3, 3, 9, 9)),
    }


def _views(*datasets, gap=200):
    return PairViews(_pairs(*datasets, gap=gap), SMOKE.tracker, SMOKE.learning, 8)


def test_a_set_of_short_videos_gives_pairs_at_once(tmp_path):
    """OSTrack asks for 20 frames, and draws again for ever."""
    began = time.monotonic()
    view = _views(dataset(moving(tmp_path, n=12)))[0]
    assert time.monotonic() - began < 1
    assert view.skipped == ()


def test_a_set_that_gives_no_pair_is_named_at_once(tmp_path):
    good = dataset(moving(tmp_path, "good"), name="good")
    bad = dataset(
        clip(tmp_path, "single", [(5, 5, 9, 9)]), clip(tmp_path, "hidden", [(5, 5, 9, 9)] * 30, [True] * 30), name="bad"
    )
    views = _views(good, bad)
    places = {views.pairs.source(place).name: place for place in range(20)}
    began = time.monotonic()
    found = views[places["bad"]]
    assert time.monotonic() - began < 1
    assert isinstance(found, UserError)
    assert str(found).startswith("bad: none of 200 draws gave a pair to learn from; the first: bad/")
    assert not isinstance(views[places["good"]], UserError)


def test_videos_that_are_of_no_use_are_named_and_their_pairs_drawn_again_from_the_same_set(tmp_path):
    broken = Video("torn", moving(tmp_path, "torn").frames, Unreadable())
    lost = Video("lost", Frames(tmp_path / "nowhere"), KnownTrack(Track(np.ones((3, 4)), np.zeros(3, bool))))
    hidden = clip(tmp_path, "hidden", [(5, 5, 9, 9)] * 30, [True] * 29 + [False])
    mixed = dataset(broken, hidden, lost, moving(tmp_path, "good"), name="mixed")
    views = _views(mixed, dataset(moving(tmp_path, "other"), name="other"))
    said, shares = {}, Counter()
    for place in range(60):
        view = views[place]
        said |= {skip.item: skip.reason for skip in view.skipped}
        shares[view.search.item.split("/")[0]] += 1
        assert (view.redrawn > 0) == bool(view.skipped)
    assert said == {
        "mixed/torn": "groundtruth.txt, row 3 is no box; correct it.",
        "mixed/hidden": "has 1 of 30 frames with a box to learn from, and a pair needs two",
        "mixed/lost": said["mixed/lost"],
    }
    assert shares == Counter(views.pairs.source(place).name for place in range(60))


def test_an_annotation_is_read_when_its_video_is_drawn_and_not_for_every_pair(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(KnownTrack, "read", lambda truth: (asked.append(1), truth.track)[1])
    monkeypatch.setattr(drawing, "_HELD", 2)
    pairs = _pairs(dataset(*(moving(tmp_path, f"v{n}") for n in range(3))))
    assert asked == []
    pairs.draw(0)
    pairs.draw(0)
    assert asked == [1]
    for place in range(50):
        pairs.draw(place)
    (source,) = pairs.sources
    assert len(source.held) == 2
    assert len(asked) < 50
    # What was read is not sent to workers.
    assert pickle.loads(pickle.dumps(pairs)).sources[0].held == {}


def test_a_set_without_videos_and_objects_is_refused(tmp_path):
    image = still(tmp_path, "i", (1, 1, 9, 9))
    bare = type(image)("i", image.path)
    with pytest.raises(UserError, match=r"^labels has no videos and no objects with boxes in its train split; give"):
        sources_of([dataset(bare, name="labels")])
