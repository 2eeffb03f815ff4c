"""Causal language models beside Qwen2.5: scaled embeddings and capped logits, learnt positions, no gated layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from tiny_llava import batch_of, noise, picture, shaken

from mllm.llava.batch import collated
from mllm.llava.mini_tokenizer import ROWS, mini_tokenizer
from mllm.llava.model import Llava
from mllm.llava.packing import Anyres
from mllm.llava.text import IGNORED, ChatML
from mllm.llava.vision import VisionTower
from rice_core.datasets.nouns import Turn
from rice_core.encoders import load_encoder
from rice_core.spec import EncoderSpec

SIZES = {"vocab_size": ROWS, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = SIZES | {"intermediate_size": 64, "num_key_value_heads": 2}
NO_ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
CONFIGS = {
    "llama": hf.LlamaConfig(**WIDE, **NO_ENDS),
    "gemma2": hf.Gemma2Config(**WIDE, head_dim=12, **NO_ENDS),
    "gpt2": hf.GPT2Config(vocab_size=ROWS, n_embd=48, n_layer=2, n_head=4, n_positions=2048, **NO_ENDS),
    "opt": hf.OPTConfig(**SIZES, ffn_dim=64, word_embed_proj_dim=48, **NO_ENDS),
}


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_batches_give_what_one_sample_at_a_time_does(kind: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        language_model = shaken(hf.AutoModelForCausalLM.from_config(CONFIGS[kind]), 1)
        encoder = load_encoder(EncoderSpec.parse("synthetic:random-weights?res=32"))
        model = Llava(VisionTower(encoder), language_model).eval()
    chat, cut = ChatML(mini_tokenizer()), Anyres(model.tower.side, model.tower.patch)
    asked: list[Any] = []
    for k, (size, text) in enumerate([((30, 40), "Hi"), ((90, 20), "What is the word? " * 4), ((70, 70), "bafo")]):
        shown = [picture(model, noise(*size, k), cut)]
        asked.append((chat.prompt([Turn("user", f"<image>\n{text}")], [shown[0].plan.tokens]), shown))

    def answers(several: list[Any]) -> list[tuple[int, ...]]:
        ids, pictures = zip(*several, strict=True)
        return model.generate(collated(ids, pictures, padding=989, side="left"), chat.markers, 12)

    assert answers(asked) == [answers([each])[0] for each in asked]
    samples = [([*ids, 7, 8], [IGNORED] * len(ids) + [7, 8], shown) for ids, shown in asked]
    batch = batch_of(samples)
    found = model(batch)
    logits = language_model(inputs_embeds=model.embeds(batch), attention_mask=batch.mask_BT).logits
    whole = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch.labels_BT[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    assert found.tokens == 6
    assert torch.allclose(found.loss, whole, rtol=1e-5)
    assert torch.allclose(found.loss, sum(model(batch_of([each])).loss for each in samples), rtol=1e-5)
