"""Caption tokenizers: text -> ids of a fixed length, 0 for padding alone.

By name:

    clip-bpe    open_clip's byte-pair encoding of CLIP, from a file in its wheel (paper's field: CLIP, SigLIP baselines)
    words       lower-cased words hashed to 4096 ids: nothing to download or fit, enough for the miniature world
    hf:NAME     transformers' AutoTokenizer of a hub name or folder
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Protocol, cast

from rice_core.errors import MissingExtra, UserError, did_you_mean

WORD_IDS = 4096
_WORD = re.compile(r"\w+")


class CaptionTokenizer(Protocol):
    """Text -> ids."""

    @property
    def size(self) -> int:
        """Number of ids, padding among them: the rows of an embedding table."""

    def __call__(self, text: str, length: int) -> list[int]:
        """`length` ids in [0, size): the text's, cut where it is longer, then 0."""


@lru_cache(maxsize=4)
def caption_tokenizer(name: str) -> CaptionTokenizer:
    """The tokenizer of that name; the same object for the same name.

    Raises:
        UserError: no such name, or transformers cannot load it.
        MissingExtra: clip-bpe without open_clip.
    """
    if name == "words":
        return Words()
    if name == "clip-bpe":
        return _clip_bpe()
    if name.startswith("hf:") and len(name) > 3:
        return _hugging_face(name[3:])
    raise UserError(
        f"there is no caption tokenizer {name!r}; {did_you_mean(name, ('clip-bpe', 'words'))}write clip-bpe, words, or hf:NAME."
    )


class Words:
    """Each word's own stable hash; two words share an id about once in 4095."""

    size = WORD_IDS

    def __call__(self, text: str, length: int) -> list[int]:
        words = _WORD.findall(text.lower())[:length]
        return _padded([1 + _hash(word) % (WORD_IDS - 1) for word in words], length)


@dataclass(frozen=True)
class Shifted:
    """A library's ids plus one: theirs use 0 for a token ("!" in CLIP's), and each pads with an id of its own."""

    encode: Callable[[str], list[int]]
    """Text -> the library's ids with its start and end tokens, as long as they come."""
    vocabulary: int
    end: int | None
    """The library's id that a cut caption ends on; None: it is just cut."""

    @property
    def size(self) -> int:
        return self.vocabulary + 1

    def __call__(self, text: str, length: int) -> list[int]:
        ids = self.encode(text)
        if len(ids) > length:
            ids = ids[:length] if self.end is None else [*ids[: length - 1], self.end]
        return _padded([token + 1 for token in ids], length)


def _clip_bpe() -> CaptionTokenizer:
    try:
        from open_clip.tokenizer import SimpleTokenizer
    except ImportError:
        raise MissingExtra("the caption tokenizer clip-bpe", "encoders") from None
    bpe = SimpleTokenizer()
    start, end = bpe.sot_token_id, bpe.eot_token_id
    return Shifted(lambda text: [start, *bpe.encode(text), end], bpe.vocab_size, end)


def _hugging_face(name: str) -> CaptionTokenizer:
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name)  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, ValueError) as error:
        raise UserError(
            f"the caption tokenizer hf:{name} cannot be loaded ({str(error).splitlines()[0][:200]}); check the name, or "
            "write clip-bpe or words."
        ) from None

    def encode(text: str) -> list[int]:
        return cast(list[int], tokenizer(text, verbose=False)["input_ids"])

    # Only where the library itself ends a text with this token.
    end = tokenizer.eos_token_id if encode("a")[-1:] == [tokenizer.eos_token_id] else None
    return Shifted(encode, len(tokenizer), end)


def _padded(ids: list[int], length: int) -> list[int]:
    return ids + [0] * (length - len(ids))


def _hash(word: str) -> int:
    # Python's own hash changes from process to process.
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest())
