"""Every family as the tower of a model that learns a step, is kept or exported, and loads again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from mllm.llava.batch import LlavaBatch, collated
from mllm.llava.export import as_transformers_reads, export_llava
from mllm.llava.exported_tower import exported_tower
from mllm.llava.kept import load_llava
from mllm.llava.mini_tokenizer import ROWS, mini_tokenizer
from mllm.llava.model import Llava
from mllm.llava.packing import Anyres
from mllm.llava.recipe import LlavaConfig
from mllm.llava.speaker import Question, Speaker
from mllm.llava.text import IGNORED, ChatML
from mllm.llava.vision import VisionTower
from mllm.llava.weights import LlavaCard, save_llava
from rice_core.encoders import load_encoder
from rice_core.encoders.blank import described
from rice_core.errors import UserError
from rice_core.ranks import Ranks
from rice_core.spec import EncoderSpec

_NAMES = "clip clip-whole dinov2 mlcd siglip siglip-whole msn ijepa aimv2 aimv2-native aimv2-whole beit beit-head beit-masked data2vec"
NATIVE = {f"hf-{name}" for name in _NAMES.split()}
"""What transformers' LlavaNext takes as it is."""
QUESTION = Question.of("bafo", [Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8))])


def speaker_of(checkpoint: Any) -> Speaker:
    """With random weights beside the encoder's, the same each time."""
    qwen: Any = hf.Qwen2Config(
        vocab_size=ROWS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=None,
        eos_token_id=None,
    )
    encoder, tokenizer = load_encoder(EncoderSpec.parse(checkpoint.typed)), mini_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Llava(VisionTower(encoder), hf.AutoModelForCausalLM.from_config(qwen))
    return Speaker(model, tokenizer, ChatML(tokenizer), Anyres(model.tower.side, model.tower.patch))


def batch_of(speaker: Speaker) -> LlavaBatch:
    shown = speaker.cut(QUESTION)
    ids = [*speaker.format.prompt(QUESTION.turns, [each.plan.tokens for each in shown]), 7, 8]
    return collated([ids], [shown], labels=[[IGNORED] * (len(ids) - 2) + [7, 8]], padding=0, side="left")


def trained(speaker: Speaker) -> Speaker:
    speaker.model(batch_of(speaker)).loss.backward()
    torch.optim.SGD([each for each in speaker.model.parameters() if each.requires_grad], 0.1).step()
    return speaker


OTHERS = "hf-clip hf-siglip hf-siglip2 hf-dinov2 hf-dinov3 hf-aimv2 hf-beit hf-mae timm-vit timm-siglip timm-dinov3 open_clip-vit open_clip-timm rice"


@pytest.mark.parametrize("name", OTHERS.split())
def test_a_size_that_was_never_published_is_a_wrappers(written: Any, name: str, tmp_path: Path) -> None:
    checkpoint = written[name]
    side = checkpoint.case.side + checkpoint.case.patch
    tower = VisionTower(load_encoder(EncoderSpec.parse(f"{checkpoint.typed}?res={side}")))
    exported_tower(tower).save_pretrained(tmp_path)
    found = hf.AutoModel.from_pretrained(tmp_path)
    tiles = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(found(tiles).last_hidden_state, tower(tiles))
    assert type(as_transformers_reads(tower).module).__name__ == "ExportedTower"
    assert (found.config.image_size, found.config.hidden_size) == (side, tower.dim)


def test_a_description_of_another_network_is_refused(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = VisionTower(load_encoder(EncoderSpec.parse(written["timm-vit"].typed)))
    body = described(tower.encoder)
    body["arguments"]["depth"] += 1
    monkeypatch.setattr("mllm.llava.exported_tower.described", lambda _: body)
    with pytest.raises(UserError, match=r"timm-vit.*: its library builds another network .*; report its name"):
        exported_tower(tower)


def test_it_learns_a_step_and_is_kept_to_the_bit(checkpoint: Any, tmp_path: Path) -> None:
    speaker = trained(speaker_of(checkpoint))
    before, own = speaker_of(checkpoint).model.tower, speaker.model
    kept = LlavaCard(model=LlavaConfig(lm="mini"), side=own.tower.side, patch=own.tower.patch, precision="fp32")
    alone = Ranks(0, 1, torch.device("cpu"))
    save_llava(own, speaker.tokenizer, kept, tmp_path, tower=True, language_model=True, ranks=alone)
    again = load_llava(tmp_path, load_encoder(EncoderSpec.parse(checkpoint.typed)))
    found, expected = again.model.state_dict(), own.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    tiles = torch.cat([each.tiles_K3SS for each in speaker.cut(QUESTION)])
    with torch.no_grad():
        assert torch.equal(again.model.tower(tiles), own.tower(tiles))
        assert not torch.allclose(before(tiles), own.tower(tiles), atol=1e-5)
    assert again.answer([QUESTION], 6) == speaker.answer([QUESTION], 6)


def test_it_learns_a_step_and_is_exported_with_what_it_learnt(checkpoint: Any, tmp_path: Path) -> None:
    speaker = trained(speaker_of(checkpoint))
    untrained = speaker_of(checkpoint).model.tower
    export_llava(speaker, tmp_path)
    auto: Any = hf.AutoModelForImageTextToText
    model, report = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    config = json.loads((tmp_path / "config.json").read_text())["vision_config"]
    native = checkpoint.name in NATIVE
    assert (config["model_type"] == "ricebench_tower") != native
    assert ("import mllm.llava.exported_tower" in (tmp_path / "README.md").read_text()) != native
    tiles = torch.cat([each.tiles_K3SS for each in speaker.cut(QUESTION)])
    with torch.no_grad():
        states = model.model.vision_tower(tiles, output_hidden_states=True).hidden_states
        found = states[model.config.vision_feature_layer][:, model.config.vision_feature_select_strategy == "default" :]
        assert torch.equal(found, speaker.model.tower(tiles))
        assert not torch.allclose(found, untrained(tiles), atol=1e-5)
    if not native:
        model.model.vision_tower.save_pretrained(tmp_path / "tower")
        alone = hf.AutoModel.from_pretrained(tmp_path / "tower")
        with torch.no_grad():
            assert torch.equal(alone(tiles).last_hidden_state, found)
    processor = hf.AutoProcessor.from_pretrained(tmp_path)
    said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "bafo"}]}]
    prompt = processor.apply_chat_template(said, add_generation_prompt=True)
    given = processor(text=[prompt], images=list(QUESTION.pictures), return_tensors="pt")
    ids = model.generate(**given, max_new_tokens=6)[0, given["input_ids"].shape[1] :]
    assert processor.decode(ids, skip_special_tokens=True).strip() == speaker.answer([QUESTION], 6)[0]
