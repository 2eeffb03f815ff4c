"""Answers of a language model on an encoder, many at once against one at a time: `python -m benchmarks llava_generation`.

Questions of unlike lengths about pictures of unlike shapes, a quarter of them without one; random weights, so that every answer has all of
its tokens. The answers are the same to the letter (float32), which is checked. A quarter of the tokens an answer may have tells what the
pictures and the prompt cost.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from benchmarks.measuring import alternate, keep, machine, median, ratio
from mllm.llava.language_model import load_language_model
from mllm.llava.mini_tokenizer import ROWS, mini_tokenizer
from mllm.llava.model import Llava
from mllm.llava.packing import Anyres, Square
from mllm.llava.speaker import Question, Speaker
from mllm.llava.text import ChatML
from mllm.llava.vision import VisionTower
from rice_core.encoders import load_encoder
from rice_core.spec import EncoderSpec

ASKED, MOST, ROUNDS = 24, 16, 3
BATCHES = (1, 4, 16)
SIZES = ((96, 96), (60, 160), (200, 90), (240, 320), (90, 90))
WORDS = ("How many?", "What is the word written in the picture? Answer with a single word.", "Which is larger? " * 4)


def main() -> None:
    """One tile with the miniature language model, and tiles with one of 3.5 M parameters."""
    before, questions = machine(), _questions()
    rows = [_measured(name, speaker, questions) for name, speaker in _speakers().items()]
    claims = [
        f"{row['model']}: {row['answers_a_second'][batch]:.1f} answers of {MOST} tokens a second {batch} at once, "
        f"{times['wall']:.2f}x of one at a time by wall, {times['cpu']:.2f}x by CPU seconds, the same to the letter"
        for row in rows
        for batch, times in row["over_one"].items()
    ]
    keep("llava_generation", claims, {"questions": ASKED, "tokens": MOST, "rows": rows}, before)


def _questions() -> list[Question]:
    rng = np.random.default_rng(0)
    found = []
    for k in range(ASKED):
        height, width = SIZES[k % len(SIZES)]
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found.append(Question.of(WORDS[k % len(WORDS)], [Image.fromarray(pixels)] if k % 4 else []))
    return found


def _speakers() -> dict[str, Speaker]:
    encoder, tokenizer = load_encoder(EncoderSpec.parse("synthetic:random-weights")), mini_tokenizer()
    kind: Any = transformers.Qwen2Config
    larger = kind(
        vocab_size=ROWS,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = Llava(VisionTower(encoder), load_language_model("mini")[0])
        large = Llava(VisionTower(encoder), transformers.AutoModelForCausalLM.from_config(larger))
    side, patch = small.tower.side, small.tower.patch
    chat = ChatML(tokenizer)
    return {
        "recipe mini, one tile": Speaker(small, tokenizer, chat, Square(side, patch, "crop")),
        "width 256, depth 4, tiles 2x2": Speaker(large, tokenizer, chat, Anyres(side, patch)),
    }


def _measured(name: str, speaker: Speaker, questions: list[Question]) -> dict[str, Any]:
    alone = _answered(speaker, questions, 1, MOST)
    for batch in BATCHES[1:]:
        if _answered(speaker, questions, batch, MOST) != alone:
            raise RuntimeError(f"{name}: {batch} at once answer otherwise than one at a time")
    calls = [partial(_answered, speaker, questions, batch, MOST) for batch in BATCHES]
    calls.append(partial(_answered, speaker, questions, BATCHES[-1], MOST // 4))
    *laps, short = alternate(calls, ROUNDS)
    return {
        "model": name,
        "answers_a_second": {batch: round(ASKED / median(each), 2) for batch, each in zip(BATCHES, laps, strict=True)},
        # How many times as fast: one at a time over so many at once.
        "over_one": {batch: ratio(laps[0], each) for batch, each in zip(BATCHES[1:], laps[1:], strict=True)},
        "a_quarter_of_the_tokens": ratio(short, laps[-1]),
    }


def _answered(speaker: Speaker, questions: list[Question], batch: int, most: int) -> list[str]:
    speaker.batch = batch
    return speaker.answer(questions, most)
