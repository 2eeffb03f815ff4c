"""Captions say what a scene holds, leave a little out, and draw nothing from the generator of the pixels."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rice_core.world.captions import LEFT_OUT, phrase, write_caption
from rice_core.world.scenes import Scene, draw_scene
from rice_core.world.shapes import CATEGORIES, Level, categories
from rice_core.world.words import Word

SCENES = [draw_scene(0, index) for index in range(150)]
CAPTIONS = [write_caption(scene, 0, index) for index, scene in enumerate(SCENES)]


def _objects(caption: str) -> list[str]:
    return re.split(r", (?!with)| and ", caption.split(", with the word")[0])


def test_a_caption_names_objects_of_its_scene_and_all_of_its_words() -> None:
    for scene, caption in zip(SCENES, CAPTIONS, strict=True):
        there = [phrase(CATEGORIES[thing.category]) for thing in scene.things]
        for words in _objects(caption):
            there.remove(words)  # raises where it is not there, or is named more often than it is there
        for word in scene.words:
            assert re.search(rf"with the words?\b.*\b{word.text}\b", caption)
        assert ("with the word" in caption) == bool(scene.words)


def test_some_objects_are_left_out_and_the_order_is_random() -> None:
    told = [_objects(caption) for caption in CAPTIONS]
    total = sum(len(scene.things) for scene in SCENES)
    share = 1 - sum(map(len, told)) / total
    assert abs(share - LEFT_OUT) < 4 * np.sqrt(LEFT_OUT * (1 - LEFT_OUT) / total)
    first = [
        phrase(CATEGORIES[scene.things[0].category]) == words[0] for scene, words in zip(SCENES, told, strict=True)
    ]
    assert 0.1 < np.mean(first) < 0.5


def test_the_same_again_and_another_for_another_seed() -> None:
    assert [write_caption(scene, 0, index) for index, scene in enumerate(SCENES)] == CAPTIONS
    others = [write_caption(scene, 1, index) for index, scene in enumerate(SCENES)]
    assert sum(a != b for a, b in zip(others, CAPTIONS, strict=True)) > 100


def test_an_empty_scene_has_a_caption_too() -> None:
    blank = np.zeros((96, 96, 3), dtype=np.uint8)
    assert write_caption(Scene(blank, (), ()), 0, 0) == "a picture"
    words = (Word("bafo", (0, 0, 9, 9)), Word("gila", (0, 9, 9, 9)))
    assert write_caption(Scene(blank, (), words), 0, 0) == "a picture, with the words bafo and gila"


@pytest.mark.parametrize("level", ["easy", "hard"])
def test_every_category_has_words_of_its_own(level: Level) -> None:
    words = [phrase(name) for name in categories(level)]
    assert len(set(words)) == len(words)
    assert all(re.fullmatch(r"[a-z -]+", each) and " and " not in each for each in words)
    assert phrase("triangle-stripes") == "a striped triangle"
    assert phrase("icon-umbrella") == "an umbrella"
