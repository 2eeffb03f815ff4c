"""The miniature world: reproducible, its truth true, colour no clue, and harder where it is asked to be."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from rice_core.world.scenes import FEWEST_PIXELS, LEGIBLE, WORLD_VERSION, Difficulty, Scene, draw_scene
from rice_core.world.shapes import CATEGORIES, Level, categories, draw_stamp
from rice_core.world.words import SYLLABLES, draw_word

SCENES = [draw_scene(0, index) for index in range(100)]

DIGEST = """
import hashlib
from rice_core.world.scenes import draw_scene
scenes = [draw_scene(3, index) for index in (5, 0, 9)]
print(hashlib.sha256(b"".join(s.pixels_HW3.tobytes() + b"".join(t.mask_HW.tobytes() for t in s.things) for s in scenes)).hexdigest())
"""


def test_the_same_in_another_process_and_in_any_order() -> None:
    there = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True).stdout.strip()
    draw_scene(3, 7)
    here = hashlib.sha256()
    for index in (5, 0, 9):
        scene = draw_scene(3, index)
        here.update(scene.pixels_HW3.tobytes() + b"".join(thing.mask_HW.tobytes() for thing in scene.things))
    assert here.hexdigest() == there


def test_the_pixels_of_a_known_scene_are_what_they_were() -> None:
    """Records and caches rest on them. Where a change is meant, WORLD_VERSION rises with this digest."""
    digest = hashlib.sha256()
    for index in range(6):
        scene = draw_scene(0, index, difficulty=Difficulty.at(0.5) if index % 2 else None)
        digest.update(scene.pixels_HW3.tobytes() + b"".join(thing.mask_HW.tobytes() for thing in scene.things))
    assert WORLD_VERSION == 1
    assert digest.hexdigest() == "ff7a734e51253885535a679f46fd5cbcc4340b7a8aacfa37e13e8d5d3416e357"


def test_seed_and_index_both_matter() -> None:
    pixels = [draw_scene(seed, index).pixels_HW3.tobytes() for seed in (0, 1) for index in (0, 1)]
    assert len(set(pixels)) == 4


def test_objects_lie_inside_the_image_and_boxes_are_tight() -> None:
    for scene in SCENES:
        assert scene.pixels_HW3.shape == (96, 96, 3)
        assert len(scene.words) <= 2
        for thing in scene.things:
            x, y, w, h = thing.box_xywh
            assert thing.mask_HW[y : y + h, x : x + w].sum() == thing.mask_HW.sum() >= FEWEST_PIXELS
            assert thing.mask_HW[y].any()
            assert thing.mask_HW[y + h - 1].any()
            assert thing.mask_HW[:, x].any()
            assert thing.mask_HW[:, x + w - 1].any()


@pytest.mark.parametrize("level", ["easy", "hard"])
@pytest.mark.parametrize("radius", [11.0, 13.3, 15.99])
def test_a_stamp_is_whole(radius: float, level: Level) -> None:
    """Stamps are put inside the image, so what is inside its stamp is not cut off by the image's border."""
    for category in range(len(categories(level))):
        opacity, light = draw_stamp(category, radius, np.random.default_rng(category), level)
        assert opacity.shape == light.shape
        inner = opacity[1:-1, 1:-1]
        # A triangle that is turned far may touch the rim with the tip of a corner.
        assert (opacity >= 0.5).sum() - 2 <= (inner >= 0.5).sum() >= 40


def test_easy_scenes_hold_three_to_five_objects_of_every_category() -> None:
    counts = [len(scene.things) for scene in SCENES]
    assert set(counts) <= {2, 3, 4, 5}
    assert np.mean(np.array(counts) >= 3) > 0.97
    assert len({thing.category for scene in SCENES for thing in scene.things}) == len(CATEGORIES) == 48


def test_no_pixel_belongs_to_two_objects_even_where_they_overlap() -> None:
    for index in range(30):
        scene = draw_scene(0, index, difficulty=Difficulty.at(0.8))
        assert max(np.sum([thing.mask_HW for thing in scene.things], axis=0).ravel()) <= 1


def test_a_mask_is_where_the_picture_changes() -> None:
    dark = [_contrast(scene) for scene in SCENES]
    assert min(dark) > 40


def _contrast(scene: Scene) -> float:
    """Mean gray level outside the objects less the darkest third inside: textures have light parts."""
    gray = scene.pixels_HW3.mean(axis=2)
    inside = np.any([thing.mask_HW for thing in scene.things], axis=0)
    return float(np.median(gray[~inside]) - np.quantile(gray[inside], 1 / 3))


def test_colour_says_nothing_about_the_category() -> None:
    """Means of the ink's colour by category differ no more than means over shuffled categories do."""
    inks, categories = [], []
    for scene in (draw_scene(5, index) for index in range(250)):
        for thing in scene.things:
            inside = scene.pixels_HW3[thing.mask_HW].astype(float)
            darkest = inside[inside.sum(axis=1) <= np.quantile(inside.sum(axis=1), 0.3)].mean(axis=0)
            inks.append(darkest - darkest.mean())
            categories.append(thing.category)
    chroma_N3, category_N = np.array(inks), np.array(categories)

    def spread(labels_N: np.ndarray) -> float:
        counts = np.bincount(labels_N, minlength=48)
        means = [np.bincount(labels_N, chroma_N3[:, c], 48) / counts for c in range(3)]
        return float((np.square(means).sum(axis=0) * counts).sum())

    rng = np.random.default_rng(0)
    shuffled = [spread(rng.permutation(category_N)) for _ in range(200)]
    assert spread(category_N) < np.mean(shuffled) + 4 * np.std(shuffled)


def test_difficulty_lowers_contrast_and_raises_noise_clutter_and_occlusion() -> None:
    levels = (0.0, 0.35, 0.7, 1.0)
    worlds = [[draw_scene(0, index, difficulty=Difficulty.at(level)) for index in range(25)] for level in levels]
    contrasts = [np.mean([_contrast(scene) for scene in scenes]) for scenes in worlds]
    assert (np.diff(contrasts) < -5).all()
    rough = [np.mean([np.abs(np.diff(s.pixels_HW3[:4].astype(float), axis=1)).mean() for s in w]) for w in worlds]
    assert (np.diff(rough) > 1).all()
    assert Difficulty.at(0).clutter == 0 < Difficulty.at(0.5).clutter < Difficulty.at(1).clutter
    crowded = [_crowding(scenes) for scenes in worlds]
    assert crowded[-1] > crowded[0] + 0.02


def _crowding(scenes: list[Scene]) -> float:
    """Share of the objects' boxes that lies on another box."""
    shares = []
    for scene in scenes:
        boxes = np.zeros((96, 96))
        for x, y, w, h in (thing.box_xywh for thing in scene.things):
            boxes[y : y + h, x : x + w] += 1
        shares.append((boxes > 1).sum() / (boxes > 0).sum())
    return float(np.mean(shares))


@pytest.mark.parametrize("level", [-0.1, 1.1])
def test_a_difficulty_outside_the_dial_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Difficulty.at(level)


def test_another_size_is_the_same_kind_of_world() -> None:
    scene = draw_scene(0, 0, size=192)
    assert scene.pixels_HW3.shape == (192, 192, 3)
    areas = [thing.mask_HW.sum() for s in (draw_scene(0, k, size=192) for k in range(10)) for thing in s.things]
    small = [thing.mask_HW.sum() for s in SCENES[:10] for thing in s.things]
    assert 3 < np.mean(areas) / np.mean(small) < 5.5


@pytest.mark.parametrize("level", ["easy", "hard"])
def test_every_category_looks_like_no_other(level: Level) -> None:
    """Even turned and resized, the nearest upright stamp is of its own category for most."""
    n = len(categories(level))
    upright = [_gray(category, np.random.default_rng(0), level) for category in range(n)]
    hits = 0
    for category in range(n):
        for seed in range(1, 4):
            stamp = _gray(category, np.random.default_rng(seed), level)
            hits += int(np.argmin([np.square(stamp - other).sum() for other in upright])) == category
    assert hits / (3 * n) > 0.6


def _gray(category: int, rng: np.random.Generator, level: Level) -> np.ndarray:
    opacity, light = draw_stamp(category, 14.0, rng, level)
    return opacity * (1 - 0.7 * light)


def test_words_are_made_of_syllables() -> None:
    assert len(set(SYLLABLES)) == 24
    rng = np.random.default_rng(0)
    words = [draw_word(rng) for _ in range(300)]
    assert {len(word) for word in words} == {4, 6}
    assert {word[k : k + 2] for word in words for k in range(0, len(word), 2)} == set(SYLLABLES)


def test_a_words_box_lies_around_its_ink_and_changes_nothing_else() -> None:
    """Without objects in the way, the picture differs from its background inside the box and right up to its edges."""
    read = [(scene, word) for scene in SCENES for word in scene.words]
    assert len(read) > 100
    for scene, word in read:
        x, y, w, h = word.box_xywh
        assert 0 <= x < x + w <= 96
        assert 0 <= y < y + h <= 96
        gray = scene.pixels_HW3.astype(float).mean(axis=2)
        hidden = np.any([thing.mask_HW for thing in scene.things], axis=0)
        inside, ground = gray[y : y + h, x : x + w], np.median(gray[~hidden])
        assert inside.min() < ground - 30
        # About as wide as its letters: a box that is off by one word's width holds paper alone.
        assert 2.5 <= w / len(word.text) <= 9.5
        dark = (inside < ground - 25).any(axis=0)
        assert dark[:3].any()
        assert dark[-3:].any()


def test_a_word_that_an_object_hides_is_left_out() -> None:
    """At overlap 1 objects lie anywhere; what is kept is less than what was written, and nothing kept is hidden."""
    hidden, kept = Difficulty(fade=0, clutter=0, overlap=1, noise=0), 0
    for index in range(60):
        scene = draw_scene(0, index, difficulty=hidden)
        covered = np.any([thing.mask_HW for thing in scene.things], axis=0)
        for word in scene.words:
            x, y, w, h = word.box_xywh
            # Ink is spread over its box, so the share of the box that is covered is close to that of the ink.
            assert 1 - covered[y : y + h, x : x + w].mean() > LEGIBLE - 0.2
            kept += 1
    written = sum(int(_written(index)) for index in range(60))
    assert 0.4 * written < kept < 0.95 * written


def _written(index: int) -> int:
    """How many words scene `index` was given: the easy level hides almost none."""
    return len(draw_scene(0, index).words)


def test_the_hard_level_has_twice_the_categories_and_inks_of_either_polarity() -> None:
    scenes = [draw_scene(0, index, level="hard") for index in range(150)]
    assert len({thing.category for scene in scenes for thing in scene.things}) == len(categories("hard")) == 96
    assert set(CATEGORIES) < set(categories("hard"))
    lighter = []
    for scene in scenes:
        gray = scene.pixels_HW3.astype(float).mean(axis=2)
        ground = np.median(gray[~np.any([thing.mask_HW for thing in scene.things], axis=0)])
        lighter += [
            np.median(gray[thing.mask_HW]) > ground
            for thing in scene.things
            if "solid" in categories("hard")[thing.category]
        ]
    assert 0.35 < np.mean(lighter) < 0.65
    grounds = np.array([np.median(scene.pixels_HW3.reshape(-1, 3), axis=0) for scene in scenes])
    assert {int(channel) for channel in grounds.argmax(axis=1)} == {0, 1, 2}
