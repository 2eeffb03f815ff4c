"""Conversations and captions as tokens and labels.

A sample is laid out block by block (header, text, end), and a block knows whether it is the assistant's; labels are never found by counting
back in a tokenised whole, which masks samples where a tokenizer merges across a border ("tokenization mismatch").

The blocks are Qwen2.5's ChatML, its markers looked up by name:

    <|im_start|>system\\n ... <|im_end|>\\n<|im_start|>user\\n ... <|im_end|>\\n<|im_start|>assistant\\n ... <|im_end|>\\n

Content is tokenised apart from its header, as it is when the model answers. The published code tokenises both at once, which is another
division where content begins with blank lines; what content says of markers is text to us, and would be a marker there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rice_core.datasets.nouns import Turn
from rice_core.errors import UserError

IGNORED = -100
"""Label of a token that is not learnt."""
IMAGE = -200
"""Id that stands for one token of a picture: no row of a vocabulary, so that no text can be taken for a picture."""
PLACEHOLDER = "<image>"
SYSTEM = "You are a helpful assistant."
"""As in the published training."""

Labels = Literal["published", "answer"]
"""What is learnt. published: the assistant's whole turn with its header, and of other turns each newline token and marker, as
LLaVA-NeXT's training for Qwen has it. answer: what the assistant says and its end marker."""


class NothingToLearn(Exception):
    """Nothing can be learnt from this sample. The message is the reason alone, without the sample's name."""


@dataclass(frozen=True)
class Tokenized:
    """One sample, with as many `IMAGE` as its pictures have tokens."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """At the place of the token itself: the model shifts them."""
    cut: int = 0
    """Tokens that did not fit and are gone, at the end."""


@dataclass(frozen=True)
class Markers:
    """Ids that the format is made with."""

    start: int
    end: int
    """Of a turn: where an answer stops."""
    newline: int
    padding: int
    """Never the end: a model whose padding is its end unlearns to stop."""

    @classmethod
    def of(cls, tokenizer: Any) -> Markers:
        """By name.

        Raises:
            UserError: the tokenizer has no such markers, or newline is not one token.
        """
        vocabulary = tokenizer.get_vocab()
        start, end = (vocabulary.get(name) for name in ("<|im_start|>", "<|im_end|>"))
        newline = _ids(tokenizer, "\n")
        if start is None or end is None or len(newline) != 1:
            raise UserError(
                "the language model's tokenizer has no <|im_start|>, <|im_end|> and newline of one token each; choose a model of Qwen2.5's kind."
            )
        paddings = (
            each for each in (tokenizer.pad_token_id, vocabulary.get("<|endoftext|>")) if each not in (None, end)
        )
        padding = next(paddings, None)
        if padding is None:
            raise UserError(
                "the language model's tokenizer has no padding token beside its end token; set its pad_token to another one."
            )
        return cls(start, end, newline[0], padding)


def check_rows(tokenizer: Any, rows: int) -> None:
    """Whether a language model has an embedding for each id. More are usual (Qwen2.5-7B has 152,064), and never cut to the tokenizer's.

    Raises:
        UserError: it has too few.
    """
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise UserError(
            f"the tokenizer has ids up to {highest} and the language model {rows} embeddings; give the two that belong together."
        )


@dataclass(frozen=True)
class _Block:
    ids: tuple[int, ...]
    assistant: bool = False
    answer: bool = False
    """What the assistant says, and its end."""


class ChatML:
    """Stage 2 and evaluation: conversations.

    Args:
        tokenizer: of transformers.
        system: what the system says where a conversation has no system turn; empty: no such turn.

    Raises:
        UserError: as `Markers.of`.
    """

    def __init__(self, tokenizer: Any, *, labels: Labels = "published", system: str = SYSTEM) -> None:
        self.markers = Markers.of(tokenizer)
        self.system = system
        self._tokenizer, self._labels = tokenizer, labels

    def sample(self, turns: Sequence[Turn], image_tokens: Sequence[int], most: int | None = None) -> Tokenized:
        """A conversation to learn from.

        Args:
            image_tokens: how many tokens each picture has, in the order of the placeholders.
            most: tokens that the model reads.

        Raises:
            NothingToLearn: see `_checked`; no answer, or none that fits.
        """
        blocks = list(self._blocks(turns, image_tokens))
        if not any(block.answer for block in blocks):
            raise NothingToLearn("has no answer")
        answer = [each for block in blocks for each in (block.ids if block.answer else (IGNORED,) * len(block.ids))]
        labels = answer if self._labels == "answer" else [each for block in blocks for each in self._published(block)]
        return _fitted([each for block in blocks for each in block.ids], labels, answer, most)

    def prompt(self, turns: Sequence[Turn], image_tokens: Sequence[int]) -> tuple[int, ...]:
        """A conversation to be answered: the same ids as in training up to the answer.

        Raises:
            NothingToLearn: see `_checked`.
        """
        blocks = list(self._blocks(turns, image_tokens))
        return tuple(each for block in [*blocks, self._header("assistant")] for each in block.ids)

    def _blocks(self, turns: Sequence[Turn], image_tokens: Sequence[int]) -> Iterator[_Block]:
        turns = _checked(turns, len(image_tokens))
        if self.system and turns[0].speaker != "system":
            turns = (Turn("system", self.system), *turns)
        images = iter(image_tokens)
        for turn in turns:
            spoken = turn.speaker == "assistant"
            yield self._header(turn.speaker)
            for k, text in enumerate(_in_front(turn.text).split(PLACEHOLDER)):
                if k:
                    yield _Block((IMAGE,) * next(images))
                yield _Block(_ids(self._tokenizer, text), spoken, spoken)
            yield _Block((self.markers.end,), spoken, spoken)
            yield _Block((self.markers.newline,), spoken)

    def _header(self, speaker: str) -> _Block:
        return _Block((self.markers.start, *_ids(self._tokenizer, f"{speaker}\n")), speaker == "assistant")

    def _published(self, block: _Block) -> tuple[int, ...]:
        learnt = {self.markers.start, self.markers.end, self.markers.newline}
        return tuple(each if block.assistant or each in learnt else IGNORED for each in block.ids)


class Captions:
    """Stage 1: picture, caption, newline; no question, no marker. All of the text is learnt.

    Args:
        tokenizer: of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def sample(self, turns: Sequence[Turn], image_tokens: Sequence[int], most: int | None = None) -> Tokenized:
        """A question that is not read, and the caption. See `ChatML.sample`.

        Raises:
            NothingToLearn: it is not one picture and one caption, or the caption does not fit.
        """
        captions = [turn.text for turn in turns if turn.speaker == "assistant"]
        if len(captions) != 1 or len(image_tokens) != 1:
            raise NothingToLearn(f"has {len(image_tokens)} pictures and {len(captions)} captions, not one of each")
        text = _ids(self._tokenizer, captions[0] + "\n")
        labels = [IGNORED] * image_tokens[0] + list(text)
        return _fitted([IMAGE] * image_tokens[0] + list(text), labels, labels, most)


def _checked(turns: Sequence[Turn], images: int) -> tuple[Turn, ...]:
    """The turns.

    Raises:
        NothingToLearn: pictures and placeholders are not as many, a placeholder is not in a question, or no question comes first.
    """
    spoken = [turn for k, turn in enumerate(turns) if k or turn.speaker != "system"]
    if not spoken or spoken[0].speaker != "user":
        raise NothingToLearn("does not begin with a question")
    if any(PLACEHOLDER in turn.text for turn in turns if turn.speaker != "user"):
        raise NothingToLearn(f"has {PLACEHOLDER} beside its questions")
    found = sum(turn.text.count(PLACEHOLDER) for turn in turns)
    if found != images:
        raise NothingToLearn(f"has {found} {PLACEHOLDER} for {images} picture{'s' * (images != 1)}")
    return tuple(turns)


def _in_front(text: str) -> str:
    """A lone placeholder moves to the front, on a line of its own, as in the published reader."""
    if text.count(PLACEHOLDER) != 1 or text.startswith(PLACEHOLDER):
        return text
    return f"{PLACEHOLDER}\n{text.replace(PLACEHOLDER, '').strip()}".strip()


def _fitted(ids: list[int], labels: list[int], answer: list[int], most: int | None) -> Tokenized:
    """Cut at the end to `most` tokens.

    Args:
        answer: labels of the answers alone, of which one has to be left.

    Raises:
        NothingToLearn: no answer, or not all of a picture, is left.
    """
    most = len(ids) if most is None else most
    cut = max(0, len(ids) - most)
    if all(label == IGNORED for label in answer[:most]) or IMAGE in ids[most:]:
        raise NothingToLearn(
            f"has {len(ids)} tokens, of which the {most} that fit hold no answer or not all of a picture"
        )
    return Tokenized(tuple(ids[:most]), tuple(labels[:most]), cut)


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Of plain text: a marker in it is spelt out."""
    found: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] if text else []
    return tuple(found)
