"""What a trained model says about pictures: questions in, greedy answers out, many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image

from mllm.llava.batch import CutImage, collated
from mllm.llava.model import Llava
from mllm.llava.packing import Anyres, Square
from mllm.llava.text import PLACEHOLDER, ChatML, NothingToLearn
from rice_core.datasets.nouns import Turn
from rice_core.echo import echo
from rice_core.errors import UserError, lacks_memory
from rice_core.images import ImageError


@dataclass(frozen=True)
class Question:
    """A conversation up to what is to be answered."""

    turns: tuple[Turn, ...]
    pictures: tuple[Image.Image, ...] = ()
    """As many as the turns have placeholders, in their order."""

    @classmethod
    def of(cls, text: str, pictures: Sequence[Image.Image] = ()) -> Question:
        """One turn. Pictures that the text has no placeholder for come first, on a line of their own (as LLaVA's adapter for lmms-eval)."""
        if pictures and PLACEHOLDER not in text:
            text = f"{' '.join([PLACEHOLDER] * len(pictures))}\n{text}"
        return cls((Turn("user", text),), tuple(pictures))


@dataclass(frozen=True)
class _Asked:
    place: int
    question: Question
    ids: tuple[int, ...]


class Speaker:
    """A model with its tokenizer and its way with words and pictures. The model is put into the mode of evaluation.

    Args:
        batch: questions at once, until memory is full.
        precision: bf16: products of matrices in bfloat16, where answers of a batch may differ from those of one at a time (LLaVA#1928).
    """

    def __init__(
        self,
        model: Llava,
        tokenizer: Any,
        format: ChatML,
        pictures: Anyres | Square,
        *,
        batch: int = 8,
        precision: Literal["bf16", "fp32"] = "fp32",
    ) -> None:
        self.model, self.tokenizer, self.format, self.pictures = model.eval(), tokenizer, format, pictures
        self.precision: Literal["bf16", "fp32"] = precision
        self.batch = batch
        """Halved, for good, where memory is full."""

    def settings(self, most: int) -> dict[str, Any]:
        """What an answer depends on beside weights and question, as JSON; the batch is the one that memory has left."""
        return {
            "most": most,
            "greedy": True,
            "repetition_penalty": 1.0,
            "batch": self.batch,
            "padding": "left",
            "precision": self.precision,
            "weights": str(self._weights.dtype).removeprefix("torch."),
            "device": self._weights.device.type,
            "system": self.format.system,
            "pictures": {"tiles": type(self.pictures).__name__.lower(), **vars(self.pictures)},
        }

    def answer(
        self, questions: Sequence[Question], most: int, told: Callable[[int, str], object] | None = None
    ) -> list[str]:
        """The answers, in the order of the questions, without blanks around them.

        Args:
            most: tokens of an answer.
            told: called with a question's place and its answer as soon as that is there, the longest questions first.

        Raises:
            UserError: a question that cannot be asked, or one for which alone there is not enough memory.
        """
        answers = [""] * len(questions)
        # Of like length: less padding. The longest first: memory that is too small is known at once.
        left = sorted(map(self._asked, range(len(questions)), questions), key=lambda each: -len(each.ids))
        while left:
            now = left[: self.batch]
            found = self._tried(now, most)
            if found is None:
                continue
            left = left[len(now) :]
            for each, text in zip(now, found, strict=True):
                answers[each.place] = text
                if told:
                    told(each.place, text)
        return answers

    def cut(self, question: Question) -> list[CutImage]:
        """Its pictures in tiles.

        Raises:
            ImageError: one that has no pixels of 8 bits a channel.
        """
        recipe, cut = self.model.tower.recipe, self.pictures.among(len(question.pictures))
        return [CutImage(cut.tiles(each, recipe), cut.plan(each.height, each.width)) for each in question.pictures]

    def _asked(self, place: int, question: Question) -> _Asked:
        cut = self.pictures.among(len(question.pictures))
        counts = [cut.plan(each.height, each.width).tokens for each in question.pictures]
        try:
            return _Asked(place, question, self.format.prompt(question.turns, counts))
        except NothingToLearn as fault:
            raise UserError(
                f"question {place} {fault}; write {PLACEHOLDER} once for each picture, in the user's turns."
            ) from fault

    def _tried(self, asked: Sequence[_Asked], most: int) -> list[str] | None:
        """Their answers, or None where memory was full: the batch is half as large then.

        Raises:
            UserError: it was full of one question.
        """
        try:
            return self._answers(asked, most)
        except Exception as error:
            full = lacks_memory(error)
            if not full:
                raise
        # Not within the handler: the error holds what filled the memory.
        if len(asked) == 1:
            raise UserError(f"answering one question: {full}; use a device with more memory, or a smaller tile (res=).")
        self.batch = len(asked) // 2
        echo(f"answering {len(asked)} questions at once: {full}; going on with {self.batch}.", err=True)
        if self._weights.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _answers(self, asked: Sequence[_Asked], most: int) -> list[str]:
        shown = [self._shown(each) for each in asked]
        markers, device = self.format.markers, self._weights.device
        batch = collated([one.ids for one in asked], shown, padding=markers.padding, side="left").to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            found = self.model.generate(batch, markers, most)
        return [self.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in found]

    def _shown(self, asked: _Asked) -> list[CutImage]:
        try:
            return self.cut(asked.question)
        except ImageError as fault:
            raise UserError(f"question {asked.place}: its picture {fault}; save it with 8 bits a channel.") from fault

    @property
    def _weights(self) -> torch.Tensor:
        """Of the language model, the first."""
        weights: torch.Tensor = next(self.model.language_model.parameters())
        return weights
