"""Conversations about plain pictures, asked as lmms-eval's tasks ask: what a language model of the miniature world is instructed by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rice_core.world.asking import (
    CLAIMED,
    KINDS,
    LETTER,
    PLAIN_LETTER,
    PLAIN_WORD,
    SHORT,
    SINGLE,
    AskedKind,
    Options,
    PlainQuestion,
    ask,
    claims,
    options_of,
)
from rice_core.world.plain import PlainScene

Exchange = tuple[str, str]
"""A question and its answer."""

TURNS = 3
"""Questions about one picture: its tokens are most of a sample, and the answers are what is learnt."""

_DIRECT: tuple[Callable[[PlainQuestion], str], ...] = (
    lambda asked: f"{asked.question}\n{SHORT}",
    lambda asked: f"{asked.question}\n{SHORT}",
    lambda asked: f"{asked.question}\n{SINGLE}",
    lambda asked: f"{asked.question} {PLAIN_WORD}",
    lambda asked: asked.question,
)
"""DocVQA and its like have the first form, and are most; ChartQA, RealWorldQA and OCRBench one each."""
_LETTERED: tuple[Callable[[PlainQuestion, Options], str], ...] = (
    lambda asked, options: f"{asked.question}\n{options.lines}\n{LETTER}",
    lambda asked, options: f"{asked.question} There are several options:\n{options.lines}\n\n{LETTER}",
    lambda asked, options: f"{asked.question}\n{options.inline}\n{LETTER.removesuffix('.')}",
    lambda asked, options: f"{asked.question}\n{options.lines}\n{PLAIN_LETTER}",
)
"""AI2D and LiveXivVQA, MMBench, MMStar, RealWorldQA."""
_BY_LETTER = 0.35
"""Share of the questions that are asked with options."""


_CLAIMED = 0.3
"""Share of the questions of which a yes and a no can be made that are asked so, as MME and POPE ask."""


def converse(scene: PlainScene, rng: np.random.Generator) -> list[Exchange]:
    """TURNS questions of different kinds about the picture."""
    return [_about(scene, KINDS[k], rng) for k in rng.permutation(len(KINDS))[:TURNS]]


def _about(scene: PlainScene, kind: AskedKind, rng: np.random.Generator) -> Exchange:
    if kind in CLAIMED and rng.random() < _CLAIMED:
        claim = claims(scene, kind, rng)[rng.integers(2)]
        return f"{claim.question}\n{SHORT}", claim.answer
    return _exchange(ask(scene, kind, rng), rng)


def told(scene: PlainScene, rng: np.random.Generator) -> list[Exchange]:
    """A question whose answer is in its words: a conversation without a picture."""
    asked = ask(scene, ("colour", "position")[rng.integers(2)], rng)
    facts = [f"The {thing.shape} is {thing.colour} and at the {thing.place}." for thing in scene.things]
    return [(f"{' '.join(facts)} {asked.question}\n{SHORT}", asked.answer)]


def _exchange(asked: PlainQuestion, rng: np.random.Generator) -> Exchange:
    if rng.random() >= _BY_LETTER:
        return _DIRECT[rng.integers(len(_DIRECT))](asked), asked.answer
    options = options_of(asked, rng)
    return _LETTERED[rng.integers(len(_LETTERED))](asked, options), options.letter
