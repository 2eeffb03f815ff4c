"""Tokenizers: the text of a line -> the classes of its OCR region."""

from __future__ import annotations

import re
from typing import cast

from rice_core.errors import MissingExtra, UserError
from rice_core.world.words import SYLLABLES


class Syllables:
    """The miniature world's two-letter syllables; a word with anything else in it has no labels."""

    name, version, portable = "syllables", "1", True
    classes = len(SYLLABLES)

    def tokens(self, text: str) -> tuple[int, ...]:
        pairs = [text[k : k + 2] for k in range(0, len(text), 2)]
        known = [SYLLABLES.index(pair) for pair in pairs if pair in SYLLABLES]
        return tuple(dict.fromkeys(known)) if len(known) == len(pairs) else ()


class ClipBpe:
    """CLIP's byte-pair vocabulary, as open_clip carries it; start and end marks are never labels."""

    name, version, portable = "clip-bpe", "1", True

    def __init__(self) -> None:
        try:
            from open_clip.tokenizer import SimpleTokenizer
        except ModuleNotFoundError as error:
            raise MissingExtra("The tokenizer clip-bpe", "encoders") from error
        self._tokenizer = SimpleTokenizer()
        self.classes = int(self._tokenizer.vocab_size)

    def tokens(self, text: str) -> tuple[int, ...]:
        cleaned = re.sub(r"\s+", " ", text).strip().lower()
        return tuple(dict.fromkeys(self._tokenizer.encode(cleaned)))


class HuggingFace:
    """The tokenizer of a Hugging Face model, without its special tokens."""

    portable = True

    def __init__(self, model: str) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise UserError(
                f"--tokenizer hf:{model} cannot be loaded ({' '.join(str(error).split())[:100]}); check the name, or use clip-bpe."
            ) from None
        self.name, self.version = f"hf:{model}", "1"
        self.classes = len(self._tokenizer)

    def tokens(self, text: str) -> tuple[int, ...]:
        ids = cast(list[int], self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return tuple(dict.fromkeys(ids))
