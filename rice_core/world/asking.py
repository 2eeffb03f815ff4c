"""Questions about plain pictures with their answers, and the words in which benchmarks ask them.

    colour       What colour is the star?                       red
    shape        What shape is red?                             star
    count        How many shapes are there in the image?        2
    position     Where is the star in the image?                top left
    word         What word is written in the image?             boko
    existence    Is there a star in the image?                  Yes
    comparison   Which is higher, the star or the ring?         star

The same pictures give training its conversations and the miniature benchmarks their questions, so that what is learnt is what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from rice_core.world.plain import COLOURS, MOST, PLACES, PLAIN_WORDS, PlainScene, PlainThing
from rice_core.world.shapes import SHAPES

AskedKind = Literal["colour", "shape", "count", "position", "word", "existence", "comparison"]
KINDS: tuple[AskedKind, ...] = get_args(AskedKind)
CLAIMED: tuple[AskedKind, ...] = ("colour", "count", "position", "word", "existence")
"""Of which `claims` makes a yes and a no."""

SHORT = "Answer the question using a single word or phrase."
"""After a question and a line break: DocVQA, InfoVQA, TextVQA, POPE and MME as lmms-eval asks them."""
SINGLE = "Answer the question with a single word."
"""ChartQA."""
LETTER = "Answer with the option's letter from the given choices directly."
"""AI2D, LiveXivVQA, MMBench and, without its full stop, MMStar."""
YES_NO = "Please answer yes or no."
"""What MME's own questions end with, and lmms-eval takes away."""
PLAIN_WORD = "Please answer directly with a single word or number."
"""At the end of RealWorldQA's own questions without options."""
PLAIN_LETTER = "Please answer directly with only the letter of the correct option and nothing else."
"""At the end of RealWorldQA's own questions with options."""


@dataclass(frozen=True)
class PlainQuestion:
    """A question about a picture."""

    kind: AskedKind
    question: str
    """Alone: how it is to be answered comes behind it (SHORT and the like)."""
    answer: str
    wrong: tuple[str, ...]
    """All other answers that such a question has, in a fixed order; at least one."""


@dataclass(frozen=True)
class Options:
    """A question's answers to choose from."""

    texts: tuple[str, ...]
    right: int
    """Index of the right one."""

    @property
    def letter(self) -> str:
        return "ABCD"[self.right]

    @property
    def lines(self) -> str:
        """As AI2D and LiveXivVQA list them: "A. red", a line each."""
        return "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", self.texts, strict=False))

    @property
    def inline(self) -> str:
        """As MMStar lists them: "Options: A: red, B: blue"."""
        listed = ", ".join(f"{letter}: {text}" for letter, text in zip("ABCD", self.texts, strict=False))
        return f"Options: {listed}"


def ask(scene: PlainScene, kind: AskedKind, rng: np.random.Generator) -> PlainQuestion:
    """One question of that kind about the picture.

    A comparison needs two shapes: of a picture with one it is a question of existence instead. Yes and no are as likely.
    """
    thing = scene.things[rng.integers(len(scene.things))]
    match kind:
        case "colour":
            return _asked(kind, f"What colour is the {thing.shape}?", thing.colour, tuple(COLOURS))
        case "shape":
            return _asked(kind, f"What shape is {thing.colour}?", thing.shape, SHAPES)
        case "count":
            return _asked(kind, "How many shapes are there in the image?", str(len(scene.things)), _COUNTS)
        case "position":
            return _asked(kind, f"Where is the {thing.shape} in the image?", thing.place, PLACES)
        case "word":
            return _asked(kind, "What word is written in the image?", scene.word, PLAIN_WORDS)
        case "existence":
            return claims(scene, kind, rng)[rng.integers(2)]
        case "comparison":
            return _compared(scene, rng) if len(scene.things) > 1 else ask(scene, "existence", rng)


def claims(scene: PlainScene, kind: AskedKind, rng: np.random.Generator) -> tuple[PlainQuestion, PlainQuestion]:
    """A question whose answer is Yes and the like one whose answer is No, as MME has them of each picture.

    Args:
        kind: of CLAIMED; the questions say what that kind asks for.
    """
    thing = scene.things[rng.integers(len(scene.things))]
    forms: dict[AskedKind, tuple[str, str, Sequence[str]]] = {
        "colour": (f"Is the {thing.shape} in the image {{}}?", thing.colour, tuple(COLOURS)),
        "count": ("Is the number of shapes in the image {}?", str(len(scene.things)), _COUNTS),
        "position": (f"Is the {thing.shape} at the {{}} of the image?", thing.place, PLACES),
        "word": ("Is the word in the image {}?", scene.word, PLAIN_WORDS),
        "existence": ("Is there a {} in the image?", thing.shape, SHAPES),
    }
    form, right, known = forms[kind]
    there = {each.shape for each in scene.things} if kind == "existence" else {right}
    wrong = str(rng.choice([each for each in known if each not in there]))
    return PlainQuestion(kind, form.format(right), "Yes", ("No",)), PlainQuestion(
        kind, form.format(wrong), "No", ("Yes",)
    )


def options_of(asked: PlainQuestion, rng: np.random.Generator, most: int = 4) -> Options:
    """The answer among wrong ones, in random order; fewer than `most` where such a question has fewer answers."""
    wrong = [asked.wrong[k] for k in rng.permutation(len(asked.wrong))[: most - 1]]
    right = int(rng.integers(len(wrong) + 1))
    return Options((*wrong[:right], asked.answer, *wrong[right:]), right)


_COUNTS = tuple(str(n) for n in range(1, MOST + 1))


def _asked(kind: AskedKind, question: str, answer: str, known: Sequence[str]) -> PlainQuestion:
    return PlainQuestion(kind, question, answer, tuple(each for each in known if each != answer))


def _compared(scene: PlainScene, rng: np.random.Generator) -> PlainQuestion:
    """Two quarters differ by row or by column."""
    one, other = (scene.things[k] for k in rng.permutation(len(scene.things))[:2])
    ways = [(f"Which is {word}", key) for word, key in _WAYS.items() if _at(one, key) != _at(other, key)]
    question, key = ways[rng.integers(len(ways))]
    first = min((one, other), key=lambda thing: _at(thing, key))
    asked = f"{question}, the {one.shape} or the {other.shape}?"
    second = other if first is one else one
    return PlainQuestion("comparison", asked, first.shape, (second.shape,))


_WAYS: dict[str, Literal["row", "column"]] = {"higher": "row", "further left": "column"}


def _at(thing: PlainThing, key: Literal["row", "column"]) -> int:
    return thing.quarter // 2 if key == "row" else thing.quarter % 2
