"""What a training leaves is the model again, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers as hf
from tiny_llava import noise, shaken

from mllm.llava import weights
from mllm.llava.kept import load_llava
from mllm.llava.language_model import identity, load_language_model
from mllm.llava.mini_tokenizer import mini_tokenizer
from mllm.llava.model import Llava
from mllm.llava.recipe import LlavaConfig
from mllm.llava.speaker import Question
from mllm.llava.vision import VisionTower
from mllm.llava.weights import LlavaCard, save_llava
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.features import Encoder
from rice_core.ranks import Ranks
from rice_core.spec import EncoderSpec

ALONE = Ranks(0, 1, torch.device("cpu"))
MINI = LlavaConfig(lm="mini")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(EncoderSpec.parse("synthetic:random-weights?res=32"))


def made(encoder: Encoder) -> tuple[Llava, Any]:
    words, tokenizer = load_language_model("mini", seed=1)
    model = Llava(VisionTower(encoder), words)
    return shaken(model, 3), tokenizer


def kept(own: Llava, **other: Any) -> LlavaCard:
    return LlavaCard(**({"model": MINI, "side": own.tower.side, "patch": own.tower.patch, "precision": "fp32"} | other))


@pytest.mark.parametrize("tiles", ["2x2", "one"])
def test_all_weights_come_back_to_the_last_bit_and_answer_as_before(
    encoder: Encoder, tmp_path: Path, tiles: Any
) -> None:
    model, tokenizer = made(encoder)
    config = MINI.model_copy(update={"tiles": tiles})
    save_llava(model, tokenizer, kept(model, model=config), tmp_path, tower=True, language_model=True, ranks=ALONE)
    speaker = load_llava(tmp_path, encoder)
    before, after = model.state_dict(), speaker.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert type(speaker.pictures).__name__ == {"2x2": "Anyres", "one": "Square"}[tiles]
    assert speaker.tokenizer("<|im_start|>bafo dela")["input_ids"] == tokenizer("<|im_start|>bafo dela")["input_ids"]
    question = Question.of("What colour?", [noise(40, 60)])
    again = type(speaker)(model, tokenizer, speaker.format, speaker.pictures).answer([question], 8)
    assert speaker.answer([question], 8) == again
    # The encoder that others are measured with stays as it is.
    assert encoder.weights_digest() == load_encoder(encoder.spec).weights_digest()


def test_a_trained_tower_is_the_trained_one_again_and_a_frozen_one_the_encoder(
    encoder: Encoder, tmp_path: Path
) -> None:
    model, tokenizer = made(encoder)
    shown = torch.randn(1, 3, model.tower.side, model.tower.side)
    for tower in (True, False):
        out = tmp_path / str(tower)
        save_llava(model, tokenizer, kept(model), out, tower=tower, language_model=True, ranks=ALONE)
        assert (out / "tower.safetensors").exists() == tower
        again = load_llava(out, encoder).model.tower(shown)
        wanted = model.tower if tower else VisionTower(encoder)
        assert torch.equal(again, wanted(shown))
    assert not torch.equal(model.tower(shown), VisionTower(encoder)(shown))


def test_half_precision_halves_the_language_model_alone(encoder: Encoder, tmp_path: Path) -> None:
    model, tokenizer = made(encoder)
    half = kept(model, precision="bf16")
    save_llava(model, tokenizer, half, tmp_path, tower=True, language_model=True, ranks=ALONE)
    speaker = load_llava(tmp_path, encoder)
    assert speaker.precision == "bf16"
    own = dict(model.language_model.named_parameters())
    for name, each in speaker.model.language_model.named_parameters():
        assert each.dtype == torch.bfloat16
        assert torch.equal(each, own[name].bfloat16())
    assert {each.dtype for each in speaker.model.tower.parameters()} == {torch.float32}
    assert speaker.answer([Question.of("Hi", [noise(9, 9)])], 3) is not None


def test_the_first_stage_leaves_the_projector_alone(encoder: Encoder, tmp_path: Path) -> None:
    model, tokenizer = made(encoder)
    save_llava(model, tokenizer, kept(model), tmp_path, tower=False, language_model=False, ranks=ALONE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["llava.json", "projector.safetensors"]
    with pytest.raises(UserError, match="holds no language model to answer with; give what the second stage left"):
        load_llava(tmp_path, encoder)


def test_other_ranks_write_nothing_and_hold_no_whole_model(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[dict[str, torch.Tensor]] = []
    gathered = weights.gathered
    monkeypatch.setattr(weights, "gathered", lambda *given, **named: held.append(gathered(*given, **named)) or held[-1])
    model, tokenizer = made(encoder)
    second = Ranks(1, 2, torch.device("cpu"))
    save_llava(model, tokenizer, kept(model), tmp_path, tower=True, language_model=True, ranks=second)
    assert not list(tmp_path.iterdir())
    assert held == [{}, {}, {}]


def test_what_is_left_are_names_that_a_stage_may_leave(encoder: Encoder, tmp_path: Path) -> None:
    from rice_core.stage import _FILE

    model, tokenizer = made(encoder)
    tokenizer.chat_template = "{{ messages }}"
    save = tokenizer.save_pretrained

    def with_more(folder: Path) -> None:
        save(folder)
        (folder / "tokenizer.model").write_bytes(b"sentencepiece")  # of Yi and InternLM, whose format is ChatML too

    tokenizer.save_pretrained = with_more
    save_llava(model, tokenizer, kept(model), tmp_path, tower=True, language_model=True, ranks=ALONE)
    names = [each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*") if each.is_file()]
    assert "language_model/model.safetensors" in names
    assert not [name for name in names if not _FILE.fullmatch(name)]


def test_another_encoder_and_a_damaged_folder_are_sentences(encoder: Encoder, tmp_path: Path) -> None:
    model, tokenizer = made(encoder)
    with pytest.raises(UserError, match=r"holds no llava\.json; give the folder that a training left"):
        load_llava(tmp_path, encoder)
    save_llava(model, tokenizer, kept(model), tmp_path, tower=True, language_model=True, ranks=ALONE)
    with pytest.raises(UserError, match=r"tiles of 32 pixels and patches of 8, and .* has 64 and 8; give the encoder"):
        load_llava(tmp_path, load_encoder(EncoderSpec.parse("synthetic:random-weights?res=64")))
    (tmp_path / "llava.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(UserError, match=r"llava\.json is damaged \(format: .*\); train it again"):
        load_llava(tmp_path, encoder)


def test_the_small_language_model_is_its_seed_s_and_leaves_the_generator_alone() -> None:
    state = torch.get_rng_state()
    one, tokenizer = load_language_model("mini", seed=3)
    again, other = (load_language_model("mini", seed=seed)[0] for seed in (3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    first = dict(one.state_dict())
    assert all(torch.equal(each, first[name]) for name, each in again.state_dict().items())
    assert not torch.equal(other.get_input_embeddings().weight, one.get_input_embeddings().weight)
    assert tokenizer("bafo").input_ids == mini_tokenizer()("bafo").input_ids
    assert sum(each.numel() for each in one.parameters()) < 2e6


def folder(path: Path, seed: int = 1) -> Path:
    words, tokenizer = load_language_model("mini", seed=seed)
    words.generation_config = hf.GenerationConfig(repetition_penalty=1.05, do_sample=True, temperature=0.7)
    words.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_folder_is_read_and_told_by_its_bytes(tmp_path: Path) -> None:
    one = folder(tmp_path / "mine")
    words, tokenizer = load_language_model(str(one), precision="bf16")
    assert words.get_input_embeddings().weight.dtype == torch.bfloat16
    assert words.generation_config.repetition_penalty in (None, 1.0)
    assert tokenizer("<|im_end|>").input_ids == mini_tokenizer()("<|im_end|>").input_ids
    told = identity(str(one))
    assert told.startswith("mine:")
    assert str(tmp_path) not in told
    assert identity(str(folder(tmp_path / "elsewhere" / "mine"))) == told
    assert identity(str(folder(tmp_path / "other" / "mine", seed=2))) != told
    assert identity("mini") == "mini"
    assert identity("Qwen/Qwen2.5-7B-Instruct@main") == "Qwen/Qwen2.5-7B-Instruct@main"


def test_what_is_no_language_model_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: the folder holds no \.safetensors of a language model"):
        identity(str(tmp_path / "empty"))
    for name in (str(tmp_path / "empty"), "nobody/nothing", str(tmp_path / "absent" / "deep" / "folder")):
        with pytest.raises(UserError, match="language model") as refused:
            load_language_model(name)
        assert "\n" not in str(refused.value)
        assert str(tmp_path) not in str(refused.value)
    short = folder(tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    hf.AutoModelForCausalLM.from_config(hf.Qwen2Config(**(config | {"vocab_size": 64}))).save_pretrained(short)
    with pytest.raises(UserError, match="give the two that belong together"):
        load_language_model(str(short))
