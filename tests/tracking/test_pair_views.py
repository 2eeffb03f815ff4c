"""What the network is shown of a pair: the box says where the object is in the pixels, whatever is done to them."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from drawn_clips import clip, dataset, draw, moving, still
from PIL import Image

from rice_core.errors import UserError
from tracking.pairs import PairSequence, Shot, Unusable, sources_of
from tracking.recipe import RECIPES, TrackerConfig
from tracking.views import PairViews, jittered, lit, seen

TRACKER = TrackerConfig(template_grid=6, search_grid=12)
PLAIN = RECIPES["mini"].learning.model_copy(update={"gray": 0.0, "flip": 0.0, "flip_each": 0.0, "brightness": 0.0})


def _views(*datasets, told=False, tracker=TRACKER, seed=0, **learning):
    config = PLAIN.model_copy(update=learning)
    return PairViews(PairSequence(sources_of(datasets), seed, config.gap), tracker, config, 8, told)


def _white(pixels_SS3):
    """Centre x, y, width, height of what is bright, in sides."""
    y, x = np.nonzero(pixels_SS3.mean(2) > 100)
    low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()]) + 1
    return np.concatenate([(low + high) / 2, high - low]) / len(pixels_SS3)


@pytest.mark.parametrize("flips", [{}, {"flip": 1.0}, {"flip_each": 0.5}, {"flip": 0.5, "flip_each": 0.5}])
def test_the_box_is_where_the_object_is(tmp_path, flips):
    """A pixel of the frame is more than one of the crop here, so edges are as far off as that."""
    views = _views(dataset(*(moving(tmp_path, f"v{n}") for n in range(3))), told=True, **flips)
    for place in range(40):
        pair = views[place]
        assert pair.search.pixels_SS3.shape == (96, 96, 3)
        assert pair.template.pixels_SS3.shape == (48, 48, 3)
        for view in (pair.template, pair.search):
            side = len(view.pixels_SS3)
            left, top, right, bottom = _edges(view.box_4)
            if min(left, top, 1 - right, 1 - bottom) > 0:
                np.testing.assert_allclose(view.box_4, _white(view.pixels_SS3), atol=1.6 / side)
            inside = view.truth.labels_HW == 0
            assert (inside == (view.pixels_SS3.mean(2) > 100)).mean() > 0.93
        cells_TT = pair.template.pixels_SS3.reshape(6, 8, 6, 8, 3).mean((1, 3, 4)) > 127
        assert (pair.foreground_TT == cells_TT).mean() > 0.9
        assert pair.foreground_TT.any()


def _edges(box_4):
    return *(box_4[:2] - box_4[2:] / 2), *(box_4[:2] + box_4[2:] / 2)


def test_the_template_is_not_moved_and_the_search_crop_is_by_the_recipe(tmp_path):
    views = _views(dataset(moving(tmp_path, n=20)))
    boxes = np.stack([np.concatenate([views[place].template.box_4, views[place].search.box_4]) for place in range(300)])
    # Within the rounding of a crop to whole pixels.
    np.testing.assert_allclose(boxes[:, :2], 0.5, atol=0.02)
    assert boxes[:, 4:6].min() < 0.2 < 0.8 < boxes[:, 4:6].max()
    assert ((boxes[:, 4:6] > 0.1) & (boxes[:, 4:6] < 0.9)).all()


def test_jitter_is_ostrack_s():
    box_4 = np.array([100.0, 50.0, 40.0, 10.0])
    found = np.stack([jittered(box_4, (3.0, 0.25), np.random.default_rng(seed)) for seed in range(4000)])
    logs = np.log(found[:, 2:] / box_4[2:])
    np.testing.assert_allclose(logs.std(0), 0.25, atol=0.01)
    np.testing.assert_allclose(logs.mean(0), 0, atol=0.015)
    assert abs(np.corrcoef(logs.T)[0, 1]) < 0.05
    side = np.sqrt(found[:, 2] * found[:, 3])
    moved = (found[:, :2] + found[:, 2:] / 2 - (120, 55)) / side[:, None]
    assert np.abs(moved).max() <= 1.5
    np.testing.assert_allclose(moved.std(0), 3 / np.sqrt(12), atol=0.03)
    assert jittered(box_4, (0.0, 0.0), np.random.default_rng(0)).tolist() == box_4.tolist()


def test_crops_are_mirrored_together_and_each_for_itself(tmp_path):
    """A rectangle at the left of what the image shows of it tells which were."""
    image = still(tmp_path, "i", (30, 30, 24, 18))
    pixels_HW3 = np.array(Image.open(image.path))
    pixels_HW3[30:48, 30:42] = 120
    Image.fromarray(pixels_HW3).save(image.path)

    def flipped(view):
        side = len(view.pixels_SS3)
        x, y = (view.box_4[:2] * side).astype(int)
        row = view.pixels_SS3[y].astype(int).sum(1)
        quarter = int(view.box_4[2] * side / 4)
        return bool(row[max(x - quarter, 0)] > row[min(x + quarter, side - 1)])

    def counted(**flips):
        views = _views(dataset(image), search_jitter=(0.5, 0.0), **flips)
        return Counter(tuple(map(flipped, (pair.template, pair.search))) for pair in map(views.__getitem__, range(200)))

    assert counted() == {(False, False): 200}
    together = counted(flip=0.5)
    assert set(together) == {(False, False), (True, True)}
    assert 70 < together[True, True] < 130
    assert min(counted(flip=0.5, flip_each=0.5)[a, b] for a in (False, True) for b in (False, True)) > 25


def test_pairs_are_gray_together_and_light_each_for_itself(tmp_path):
    data = dataset(moving(tmp_path, colour=(200, 40, 90)))
    gray = Counter()
    for place in range(100):
        pair = _views(data, gray=0.5)[place]
        colours = [view.pixels_SS3.reshape(-1, 3).max(0) for view in (pair.template, pair.search)]
        gray[tuple(bool(colour[0] == colour[1] == colour[2]) for colour in colours)] += 1
    assert set(gray) == {(True, True), (False, False)}
    assert 35 < gray[True, True] < 65
    light = np.array(
        [
            [view.pixels_SS3[..., 0].max() / 200 for view in (pair.template, pair.search)]
            for pair in map(_views(data, brightness=0.2).__getitem__, range(200))
        ]
    )
    assert 0.79 < light.min() < 0.84
    assert 1.16 < light.max() < 1.21
    assert abs(np.corrcoef(light.T)[0, 1]) < 0.2


def test_light_and_gray():
    pixels = np.array([[[0, 100, 250]]], np.uint8)
    assert lit(pixels, 1.2, gray=False).tolist() == [[[0, 120, 255]]]
    assert lit(pixels, 1.0, gray=False).tolist() == pixels.tolist()
    # 0.587 * 100 + 0.114 * 250
    assert lit(pixels, 1.0, gray=True).tolist() == [[[87, 87, 87]]]


def test_a_box_that_leaves_the_image_is_what_the_image_shows_of_it():
    def shown(*box):
        return seen(Shot("a/1", "a", None, np.array(box, float)), (80, 100))

    assert shown(-10, 5, 30, 20) == (0, 5, 20, 20)
    assert shown(70, 90, 30, 20) == (70, 90, 10, 10)
    assert shown(1, 2, 3, 4) == (1, 2, 3, 4)
    for outside in ((80, 5, 10, 10), (-20, 5, 20, 10), (5, -9, 10, 9), (5, 5, 0.5, 0.5), (-30, -30, 10, 10)):
        with pytest.raises(Unusable, match=r"^a has a box of which less than a pixel is in the image"):
            shown(*outside)


def test_boxes_outside_are_named_and_others_drawn(tmp_path):
    """GOT-10k's Train_008623 to 008637."""
    outside = clip(tmp_path, "outside", [(200, 20, 24, 18)] * 9)
    views = _views(dataset(outside, moving(tmp_path, "good")))
    named = set()
    for place in range(40):
        pair = views[place]
        assert pair.search.item.startswith("drawn/good/")
        named |= {(skip.item, skip.reason) for skip in pair.skipped}
    # The video, however many of its frames: there may be thousands.
    assert named == {("drawn/outside", "has a box of which less than a pixel is in the image")}


def test_a_box_without_bounds_is_named(tmp_path):
    video = moving(tmp_path, "huge")
    video.track().boxes_T4[:, 2:] = 1e200
    found = _views(dataset(video))[0]
    assert "has a box too large to have an area" in str(found)


def test_frames_that_cannot_be_read_are_named_and_others_drawn(tmp_path):
    lost, torn, good = (moving(tmp_path, name) for name in ("lost", "torn", "good"))
    for frame in lost.frames:
        frame.unlink()
    for frame in torn.frames:
        frame.write_bytes(frame.read_bytes()[:60])
    views = _views(dataset(lost, torn, good))
    named = {}
    for place in range(40):
        pair = views[place]
        assert pair.template.item.startswith("drawn/good/")
        named |= {skip.item: skip.reason for skip in pair.skipped}
    assert {item.split("/")[1] for item in named} == {"lost", "torn"}
    assert named["drawn/lost/0000.png"] == "cannot be read: No such file or directory"
    assert "truncated" in next(reason for item, reason in named.items() if "torn" in item)
    # None is left: a sentence, and nobody waits.
    found = _views(dataset(lost, torn))[0]
    assert isinstance(found, UserError)
    assert "drawn: none of 200 draws gave a pair to learn from; the first: drawn/" in str(found)


def test_an_image_of_another_size_than_annotated_is_named(tmp_path):
    image = dataclasses.replace(still(tmp_path, "i", (5, 5, 20, 20)), size_hw=(91, 120))
    found = _views(dataset(image))[0]
    assert "drawn/i#0 is 120x90 pixels, annotated as 120x91" in str(found)


def test_an_object_that_is_moved_out_of_its_crop_is_moved_anew(tmp_path):
    views = _views(dataset(moving(tmp_path)), search_jitter=(8.0, 0.0))
    pairs = [views[place] for place in range(30)]
    assert sum(pair.redrawn for pair in pairs) > 10
    assert all(((pair.search.box_4[:2] >= 0) & (pair.search.box_4[:2] < 1)).all() for pair in pairs)
    # It is nobody's fault.
    assert not any(pair.skipped for pair in pairs)
    hopeless = _views(dataset(moving(tmp_path)), search_jitter=(1e6, 0.0))[0]
    assert "the first: search_jitter= moves the object out of its crop" in str(hopeless)


def test_frames_of_several_sizes_in_one_video(tmp_path):
    """GOT-10k's Val_000136 and 137."""
    video = moving(tmp_path)
    for n, frame in enumerate(video.frames[6:]):
        draw(frame, (10 + 4 * (6 + n), 26 + n, 24, 18), size_hw=(70, 200))
    views = _views(dataset(video))
    for place in range(30):
        view = views[place].search
        if min(_edges(view.box_4)[:2]) > 0 and max(_edges(view.box_4)[2:]) < 1:
            np.testing.assert_allclose(view.box_4, _white(view.pixels_SS3), atol=1.6 / 96)
