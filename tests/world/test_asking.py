"""Plain pictures and the questions about them: each has one answer, and no answer can be had without looking."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from rice_core.digest import bytes_digest
from rice_core.world.asking import CLAIMED, KINDS, PlainQuestion, ask, claims, options_of
from rice_core.world.plain import COLOURS, PLACES, PLAIN_WORDS, PlainScene, PlainThing, draw_plain

STAR, RING = PlainThing("star", "red", 0), PlainThing("ring", "blue", 3)
TWO = PlainScene(np.zeros((8, 8, 3), np.uint8), (STAR, RING), "boko", 1)
ONE = PlainScene(np.zeros((8, 8, 3), np.uint8), (STAR,), "fila", 2)


def rng(k: int = 0) -> np.random.Generator:
    return np.random.default_rng(k)


def test_the_same_numbers_draw_the_same_picture() -> None:
    one, again, other = draw_plain(3, 5), draw_plain(3, 5), draw_plain(3, 6)
    assert np.array_equal(one.pixels_HW3, again.pixels_HW3)
    assert (one.things, one.word) == (again.things, again.word)
    assert bytes_digest(one.pixels_HW3.tobytes()) != bytes_digest(other.pixels_HW3.tobytes())
    assert all(draw_plain(3, k, size=k).pixels_HW3.shape == (k, k, 3) for k in range(48, 100))


def test_no_shape_no_colour_and_no_quarter_is_there_twice() -> None:
    counts: Counter[int] = Counter()
    for scene in (draw_plain(0, k) for k in range(60)):
        for facts in zip(*((t.shape, t.colour, t.quarter) for t in scene.things), strict=True):
            assert len(set(facts)) == len(scene.things)
        assert scene.word_quarter not in [thing.quarter for thing in scene.things]
        counts[len(scene.things)] += 1
    assert counts[1] > counts[2] > counts[3] > 0


def test_a_shape_has_its_colour_in_its_quarter() -> None:
    """The truth is what the pixels show: within a shape's quarter there is its ink, and in no other."""
    for scene in (draw_plain(1, k) for k in range(40)):
        halves = {PLACES[k]: scene.pixels_HW3[k // 2 * 48 :][:48, k % 2 * 48 :][:, :48] for k in range(4)}
        for thing in scene.things:
            near = {
                place: (np.abs(pixels.astype(int) - COLOURS[thing.colour]).max(-1) < 45).mean()
                for place, pixels in halves.items()
                if PLACES.index(place) != scene.word_quarter
            }
            assert max(near, key=near.__getitem__) == thing.place
            assert near[thing.place] > 0.08


def test_a_wrong_word_is_no_nearly_right_one() -> None:
    """ANLS counts half right from half of the letters on."""
    assert all(sum(a != b for a, b in zip(one, other, strict=True)) >= 3 for one, other in combinations(PLAIN_WORDS, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_truth(kind: str) -> None:
    answers = {
        "colour": {"What colour is the star?": "red", "What colour is the ring?": "blue"},
        "shape": {"What shape is red?": "star", "What shape is blue?": "ring"},
        "count": {"How many shapes are there in the image?": "2"},
        "position": {
            "Where is the star in the image?": "top left",
            "Where is the ring in the image?": "bottom right",
        },
        "word": {"What word is written in the image?": "boko"},
        "comparison": {
            f"Which is {way}, the {one} or the {other}?": "star"
            for way in ("higher", "further left")
            for one, other in (("star", "ring"), ("ring", "star"))
        },
    }
    asked = [ask(TWO, kind, rng(k)) for k in range(60)]  # type: ignore[arg-type]
    assert {each.kind for each in asked} == {kind}
    assert all(each.answer not in each.wrong and each.wrong for each in asked)
    if kind != "existence":
        assert {each.question: each.answer for each in asked} == answers[kind]
    else:
        assert Counter(each.answer for each in asked).keys() == {"Yes", "No"}
        assert all((each.question.split()[3] in ("star", "ring")) == (each.answer == "Yes") for each in asked)


def test_quarters_that_share_a_row_are_not_compared_by_height() -> None:
    beside = PlainScene(TWO.pixels_HW3, (STAR, PlainThing("ring", "blue", 1)), "boko", 2)
    assert {ask(beside, "comparison", rng(k)).question.split(",")[0] for k in range(30)} == {"Which is further left"}
    assert {ask(beside, "comparison", rng(k)).answer for k in range(30)} == {"star"}


def test_one_shape_is_compared_with_nothing() -> None:
    assert ask(ONE, "comparison", rng()).kind == "existence"


@pytest.mark.parametrize("kind", CLAIMED)
def test_of_two_claims_one_is_right(kind: str) -> None:
    for k in range(20):
        yes, no = claims(TWO, kind, rng(k))  # type: ignore[arg-type]
        assert (yes.answer, no.answer, yes.kind) == ("Yes", "No", kind)
        assert yes.question != no.question
        if kind == "existence":
            assert yes.question.split()[3] in ("star", "ring")
            assert no.question.split()[3] not in ("star", "ring")


def test_options_hold_the_answer_once_at_any_letter() -> None:
    asked = PlainQuestion("colour", "?", "red", ("blue", "green", "black", "yellow"))
    letters = set()
    for k in range(60):
        options = options_of(asked, rng(k))
        assert len(options.texts) == len(set(options.texts)) == 4
        assert options.texts[options.right] == "red"
        letters.add(options.letter)
    assert letters == set("ABCD")
    few = options_of(PlainQuestion("existence", "?", "Yes", ("No",)), rng(1))
    assert sorted(few.texts) == ["No", "Yes"]
    options = options_of(asked, rng(0), most=2)
    assert options.lines == f"A. {options.texts[0]}\nB. {options.texts[1]}"
    assert options.inline == f"Options: A: {options.texts[0]}, B: {options.texts[1]}"
