"""A conversation with its pictures as what the model learns from, or the reason why it is left out.

The published reader shows the next sample in the place of one that it cannot read, so that some are learnt twice and nobody knows of it.
Here each is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mllm.llava.batch import CutImage
from mllm.llava.packing import Anyres, Square
from mllm.llava.text import Captions, ChatML, NothingToLearn
from rice_core.datasets.nouns import Conversation, Turn
from rice_core.encoders.preprocess import PixelRecipe
from rice_core.images import ImageError, load_image, upright_size
from rice_core.record import Skipped

T = TypeVar("T")
_NAMED = 1000
"""Conversations that are named one by one. Every record that rests on the training holds them, and of LLaVA's data all 80,000 about the covers
of books may be without their pictures."""


@dataclass(frozen=True)
class LlavaSample:
    """One conversation in tokens, and its pictures in tiles."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """At the place of the token itself: the model shifts them."""
    pictures: tuple[CutImage, ...]
    cut: int
    """Tokens that did not fit and are gone, at the end."""


@dataclass(frozen=True)
class Schooling:
    """How conversations are read: one stage's words and pictures."""

    words: ChatML | Captions
    pictures: Anyres | Square
    recipe: PixelRecipe
    """Of the encoder: mean, standard deviation and filter of its tiles."""
    context: int
    """Tokens that are read of one."""

    def sample(self, talk: Conversation) -> LlavaSample:
        """Raises:
        NothingToLearn: a picture cannot be read, an answer is empty, or the words say why (`text`).
        """
        _check_answers(talk.turns)
        images = [_seen(partial(load_image, path), path) for path in talk.images]
        pictures = self.pictures.among(len(images))
        plans = [pictures.plan(image.height, image.width) for image in images]
        found = self.words.sample(talk.turns, [plan.tokens for plan in plans], self.context)
        cut = tuple(
            CutImage(_seen(partial(pictures.tiles, image, self.recipe), path), plan)
            for path, image, plan in zip(talk.images, images, plans, strict=True)
        )
        return LlavaSample(found.ids, found.labels, cut, found.cut)

    def length(self, talk: Conversation) -> int:
        """Tokens that are read of it, those of its pictures among them; negative where it has no picture, and 0 where nothing can be learnt.

        From its words and the headers of its pictures: no pixel is decoded.
        """
        try:
            return self._length(talk)
        except NothingToLearn:
            return 0

    def trouble(self, talk: Conversation) -> str:
        """Why nothing can be learnt from a conversation of length 0: the end of a sentence."""
        try:
            self._length(talk)
        except NothingToLearn as error:
            return str(error)
        return "can be read by now"

    def _length(self, talk: Conversation) -> int:
        _check_answers(talk.turns)
        pictures = self.pictures.among(len(talk.images))
        plans = [pictures.plan(*_seen(partial(upright_size, path), path)) for path in talk.images]
        text = len(self.words.sample(talk.turns, [1] * len(plans)).ids) - len(plans)
        tokens = min(self.context, text + sum(plan.tokens for plan in plans))
        return tokens if plans else -tokens


def _seen(read: Callable[[], T], path: Path) -> T:
    try:
        return read()
    except ImageError as error:
        raise NothingToLearn(f"shows {path.name}, which {error}") from error


def _check_answers(turns: Sequence[Turn]) -> None:
    """To say nothing is no answer that anybody wants to be learnt."""
    if any(turn.speaker == "assistant" and not turn.text.strip() for turn in turns):
        raise NothingToLearn("has an empty answer")


def by_reason(left_out: Mapping[str, str]) -> list[Skipped]:
    """What a training left out, by its names: each, or of very many a line a reason, with the first that has it.

    Args:
        left_out: conversation -> reason.
    """
    if len(left_out) <= _NAMED:
        return [Skipped(item=item, reason=reason) for item, reason in left_out.items()]
    alike: dict[str, list[str]] = {}
    for item, reason in left_out.items():
        alike.setdefault(re.sub(r"\d+", "", reason.partition(", which ")[2] or reason), []).append(item)
    return [Skipped(item=found[0], reason=left_out[found[0]], times=len(found)) for found in alike.values()]
