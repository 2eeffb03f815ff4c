"""Training of an encoder with a language model against the language model alone: `python -m benchmarks llava_training`.

The bare step is forward and backward of the language model over embeddings that are in memory, with the loss of the same labels: no
pictures, encoder, projector, optimizer, loader or checkpoint. The training is its own step, batches read from the miniature world's files
by the process itself. Goal: 0.85 of the bare tokens a second, by CPU seconds of one thread. Of the miniature language model (0.7 M weights
beside an encoder of 0.5 M) that is out of reach, since the encoder is trained too; one of 25 M weights shows the proportions of published
models, whose encoders hold a twentieth of the weights.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers

from benchmarks.measuring import Lap, alternate, keep, machine, ratio
from mllm.llava.language_model import MINI_CONFIG, load_language_model
from mllm.llava.learner import LlavaLearner
from mllm.llava.loader import LlavaPart, open_batches
from mllm.llava.model import Llava
from mllm.llava.packing import Square
from mllm.llava.recipe import RECIPES, LlavaLearning
from mllm.llava.text import IGNORED, ChatML
from mllm.llava.vision import VisionTower
from mllm.readers.llava import LlavaLayout
from rice_core.encoders import load_encoder
from rice_core.ranks import Ranks
from rice_core.spec import EncoderSpec
from rice_core.world.layouts.llava import write_llava

ROUNDS, SCENES = 5, 128
ALONE = Ranks(0, 1, torch.device("cpu"))
LARGER: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
CASES: dict[str, tuple[dict[str, Any], int, int]] = {"mini": ({}, 16, 3), "25 M weights": (LARGER, 8, 1)}
"""What is other than in the miniature language model, samples of a step, and steps of a lap."""


def main() -> None:
    """Measure both."""
    before = machine()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = write_llava(Path(name) / "world", seed=0, train=SCENES, val=8)
        rows = {title: _measured(folder, *case) for title, case in CASES.items()}
    claims = [
        f"{title}: {1 / row['training_over_bare']['cpu']:.2f} of the bare language model's tokens a CPU second (goal 0.85), "
        f"{1 / row['training_over_forwards']['cpu']:.2f} of language model's and encoder's forward and backward"
        for title, row in rows.items()
    ]
    keep("llava_training", claims, {"scenes": SCENES, "rounds": ROUNDS, "models": rows}, before)


def _measured(folder: Path, other: dict[str, Any], batch: int, steps: int) -> dict[str, Any]:
    model, tokenizer = _made(other)
    config = RECIPES["mini"].instruct.model_copy(update={"batch": batch, "part": batch})
    parts = list(_parts(folder, model, tokenizer, config, steps * (2 * ROUNDS + 2)))
    learner = LlavaLearner(model, config, steps=10**6, ranks=ALONE)
    read = _read(folder, model, tokenizer, config)
    laps: dict[str, Callable[[], object]] = {
        "bare": partial(_bare, model, cycle(parts), steps),
        "forwards": partial(_forwards, model, cycle(parts), steps),
        "training": partial(_trained, learner, read, steps),
    }
    for call in laps.values():
        call()
    found: dict[str, list[Lap]] = dict(zip(laps, alternate(list(laps.values()), ROUNDS), strict=True))
    tokens = statistics.mean(int(part.batch.mask_BT.sum()) for part in parts if part.batch)
    return {
        "weights": sum(each.numel() for each in model.language_model.parameters()),
        "tokens_a_step": round(tokens),
        "tokens_a_cpu_second": round(tokens * steps / statistics.median(lap.cpu for lap in found["training"])),
        "training_over_bare": ratio(found["training"], found["bare"]),
        "training_over_forwards": ratio(found["training"], found["forwards"]),
    }


def _made(other: dict[str, Any]) -> tuple[Llava, Any]:
    words, tokenizer = load_language_model("mini")
    if other:
        settings = MINI_CONFIG | other
        words = transformers.AutoModelForCausalLM.from_config(transformers.Qwen2Config(**settings))
    return Llava(VisionTower(load_encoder(EncoderSpec.parse("rice:builtin/mini-supervised"))), words), tokenizer


def _read(folder: Path, model: Llava, tokenizer: Any, config: LlavaLearning) -> Iterator[LlavaPart]:
    tower = model.tower
    return open_batches(
        LlavaLayout().open(folder, name="mini-llava", judge="val").splits["instruct"],  # type: ignore[arg-type]
        config,
        seed=0,
        ranks=ALONE,
        workers=0,
        first=0,
        pictures=Square(tower.side, tower.patch, "own"),
        recipe=tower.recipe,
        format=ChatML(tokenizer),
    )


def _parts(folder: Path, model: Llava, tokenizer: Any, config: LlavaLearning, n: int) -> Iterator[LlavaPart]:
    for _, part in zip(range(n), _read(folder, model, tokenizer, config), strict=False):
        yield part


def _bare(model: Llava, parts: Iterator[LlavaPart], steps: int) -> None:
    """The language model's own part of a step, on embeddings that are there."""
    words = model.language_model
    for _ in range(steps):
        batch = next(parts).batch
        assert batch is not None
        model.zero_grad()
        with torch.no_grad():
            embeds_BTC = words.get_input_embeddings()(batch.ids_BT.clamp(min=0))
        targets_BT = F.pad(batch.labels_BT[:, 1:], (0, 1), value=IGNORED)
        learnt_BT = targets_BT != IGNORED
        logits_NV = words(
            inputs_embeds=embeds_BTC, attention_mask=batch.mask_BT, use_cache=False, logits_to_keep=learnt_BT
        ).logits
        (F.cross_entropy(logits_NV, targets_BT[learnt_BT], reduction="sum") / len(logits_NV)).backward()


def _forwards(model: Llava, parts: Iterator[LlavaPart], steps: int) -> None:
    """The whole model's forward and backward."""
    for _ in range(steps):
        batch = next(parts).batch
        assert batch is not None
        model.zero_grad()
        found = model(batch)
        (found.loss / found.tokens).backward()


def _trained(learner: LlavaLearner, parts: Iterator[LlavaPart], steps: int) -> None:
    for step in range(steps):
        learner.step([next(parts)], step=step, rate=1e-5)
