"""A small tokenizer in Qwen2.5's manner, learnt in a moment from the words of the miniature world: nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rice_core.world.captions import phrase
from rice_core.world.shapes import categories
from rice_core.world.words import SYLLABLES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ROWS = 1024
"""Embeddings of a language model for it: a power of two, as is usual, and more than there are ids."""
_PIECES = 1020
"""More than are learnt: each word of the corpus becomes one."""
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2.5 divides a text before it merges."""
_WORDS = (
    "system user assistant You are a helpful assistant . a an and with the word words picture image of in on is are there no not yes Yes "
    "No Hi What what Which which How how many much Where where do it this that read says written text letter colour "
    "kind shape object objects left right top bottom upper lower middle centre of than more less larger smaller largest smallest "
    "between behind beside above below first second third last same different other A B C D E cat dog red green blue yellow orange "
    "purple black white grey brown one two three four five six seven eight nine ten zero Answer answer the question using single "
    "phrase option 's letter from given choices directly . Describe describe concisely ? , : ; ! ( ) \" ' "
    "Is at shapes or number only Please There Options higher further correct nothing else several"
)


def mini_tokenizer() -> PreTrainedTokenizerFast:
    """The same on every machine: byte-level BPE, so that it can spell any text, with Qwen2.5's markers behind the pieces."""
    import transformers
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=_PIECES, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(_corpus(), trainer)
    kind: Any = transformers.PreTrainedTokenizerFast  # its constructor has no types
    made: PreTrainedTokenizerFast = kind(
        tokenizer_object=inner,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        additional_special_tokens=[SPECIAL[1]],
        clean_up_tokenization_spaces=False,
    )
    return made


def _corpus() -> list[str]:
    """Each word at the beginning of a text and within one; syllables most often, since pseudo-words are made of them. Line breaks merge with
    each other and with a full stop, as in Qwen2.5."""
    phrases = [phrase(name) for level in ("easy", "hard") for name in categories(level)]
    words = [*dict.fromkeys(" ".join(phrases).split()), *_WORDS.split()]
    inside = [f" {word}" for word in words]
    return [
        "\n\n",
        ".\n",
        *words,
        *inside,
        *(f"{space}{each}" for each in SYLLABLES for space in ("", " ") for _ in range(20)),
    ]
