"""What is exported loads as transformers' own model and says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from tiny_llava import ANYRES, PATCH, SIDE, batch_of, clip_encoder, noise, picture, tiny_llava

from mllm.llava.export import export_llava
from mllm.llava.mini_tokenizer import mini_tokenizer
from mllm.llava.model import Llava
from mllm.llava.packing import Square
from mllm.llava.speaker import Question, Speaker
from mllm.llava.text import IGNORED, ChatML
from mllm.llava.vision import VisionTower
from rice_core.datasets.nouns import Turn
from rice_core.errors import UserError

SHAPES = {"square": (60, 60), "wide": (20, 130), "tall": (150, 31), "thin": (90, 1), "large": (300, 260)}
ASKED = "What is the word?"


def trained(speaker: Speaker) -> Speaker:
    """After a step on everything."""
    model = speaker.model
    shown = [picture(model, noise(50, 90), speaker.pictures)]
    ids = speaker.format.prompt([Turn("user", "<image>\nHi")], [shown[0].plan.tokens])
    parameters = [each for each in model.parameters() if each.requires_grad]
    model(batch_of([([*ids, 7, 8], [IGNORED] * len(ids) + [7, 8], shown)])).loss.backward()
    torch.optim.SGD(parameters, 0.05).step()
    model.zero_grad()
    return speaker


def speaker_of(folder: Path, pictures: Any = ANYRES) -> Speaker:
    tokenizer = mini_tokenizer()
    return Speaker(tiny_llava(clip_encoder(folder)), tokenizer, ChatML(tokenizer), pictures)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Speaker:
    return trained(speaker_of(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def exported(speaker: Speaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export")
    export_llava(speaker, out, "A model of a test.")
    return out


def theirs(folder: Path) -> tuple[Any, Any]:
    auto: Any = hf.AutoModelForImageTextToText
    model, report = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval(), hf.AutoProcessor.from_pretrained(folder)


def chat(processor: Any, text: str, images: list[Any]) -> Any:
    said = [{"role": "user", "content": [*({"type": "image"} for _ in images), {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(said, add_generation_prompt=True)
    return processor(text=[prompt], images=images or None, return_tensors="pt")


@torch.no_grad()
def logits(speaker: Speaker, question: Question) -> torch.Tensor:
    shown = speaker.cut(question)
    ids = speaker.format.prompt(question.turns, [each.plan.tokens for each in shown])
    batch = batch_of([(list(ids), [IGNORED] * len(ids), shown)])
    model = speaker.model
    found: torch.Tensor = model.language_model(inputs_embeds=model.embeds(batch), attention_mask=batch.mask_BT).logits
    return found


@torch.no_grad()
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_logits_and_answers_of_the_loaded_model_are_ours(speaker: Speaker, exported: Path, shape: str) -> None:
    model, processor = theirs(exported)
    assert isinstance(model, hf.LlavaNextForConditionalGeneration)
    image = noise(*SHAPES[shape])
    given = chat(processor, ASKED, [image])
    question = Question.of(ASKED, [image])
    found = logits(speaker, question)
    assert torch.allclose(model(**given).logits, found, atol=1e-5, rtol=1e-5)
    assert found.std() > 0.1
    ids = model.generate(**given, max_new_tokens=12)[0, given["input_ids"].shape[1] :]
    assert processor.decode(ids, skip_special_tokens=True).strip() == speaker.answer([question], 12)[0]


@torch.no_grad()
@pytest.mark.parametrize("sizes", [(), ((60, 60), (20, 130))], ids=["no picture", "two pictures"])
def test_questions_with_two_pictures_and_with_none_are_read_alike(
    speaker: Speaker, exported: Path, sizes: tuple[tuple[int, int], ...]
) -> None:
    model, processor = theirs(exported)
    images = [noise(*size) for size in sizes]
    found = logits(speaker, Question.of(ASKED, images))
    assert torch.allclose(model(**chat(processor, ASKED, images)).logits, found, atol=1e-5, rtol=1e-5)


def test_the_tower_that_is_loaded_is_the_trained_one(speaker: Speaker, exported: Path, tmp_path: Path) -> None:
    model, _ = theirs(exported)
    before = speaker_of(tmp_path).model.tower
    tiles = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loaded = model.model.vision_tower(tiles, output_hidden_states=True).hidden_states[-2][:, 1:]
        assert torch.equal(loaded, speaker.model.tower(tiles))
        assert not torch.allclose(loaded, before(tiles), atol=1e-4)
    assert type(model.model.vision_tower) is hf.CLIPVisionModel


def test_files_name_no_folder_and_no_penalty(speaker: Speaker, exported: Path) -> None:
    names = {path.name for path in exported.iterdir()}
    assert {"config.json", "model.safetensors", "README.md", "tokenizer.json"} <= names
    assert not any(path.suffix in (".bin", ".pt", ".pkl") for path in exported.iterdir())
    for path in exported.glob("*.json"):
        assert speaker.model.tower.encoder.spec.model not in path.read_text()
    assert json.loads((exported / "config.json").read_text())["image_grid_pinpoints"] == ANYRES.pinpoints
    generation = json.loads((exported / "generation_config.json").read_text())
    assert (generation["repetition_penalty"], generation["do_sample"]) == (1.0, False)
    markers = speaker.format.markers
    assert generation["eos_token_id"] == [markers.end, markers.padding]
    readme = (exported / "README.md").read_text()
    assert "A model of a test." in readme
    assert "Nothing beside transformers is needed." in readme
    assert "mllm" not in readme


def test_the_speaker_is_as_it_was(speaker: Speaker, exported: Path) -> None:
    assert speaker.tokenizer.convert_tokens_to_ids("<image>") in (None, speaker.tokenizer.unk_token_id)
    assert speaker.model.language_model.generation_config.repetition_penalty != 1.3


@pytest.mark.parametrize("resize", ["own", "crop"])
def test_a_single_tile_is_llavas_own_format(tmp_path: Path, resize: Any) -> None:
    speaker = trained(speaker_of(tmp_path / "clip", Square(SIDE, PATCH, resize)))
    export_llava(speaker, tmp_path / "out")
    model, processor = theirs(tmp_path / "out")
    assert isinstance(model, hf.LlavaForConditionalGeneration)
    for size in SHAPES.values():
        image = noise(*size)
        found = logits(speaker, Question.of(ASKED, [image]))
        with torch.no_grad():
            assert torch.allclose(model(**chat(processor, ASKED, [image])).logits, found, atol=1e-5, rtol=1e-5)


def test_a_tile_that_no_processor_makes_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    speaker = speaker_of(tmp_path / "clip", Square(SIDE, PATCH, "squash"))
    with pytest.raises(UserError, match="no processor of transformers makes a tile as square=squash does here; train"):
        export_llava(speaker, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def small(kind: str) -> Any:
    """A language model with a row for each id and none for `<image>`."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    ids = {"vocab_size": len(mini_tokenizer()), "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = {"qwen2": hf.Qwen2Config, "gemma2": hf.Gemma2Config}[kind]
    given = {"head_dim": 12, "final_logit_softcapping": 1.0} if kind == "gemma2" else {"tie_word_embeddings": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return hf.AutoModelForCausalLM.from_config(config(intermediate_size=64, **sizes, **ids, **given)).eval()


def test_tied_embeddings_without_a_row_for_pictures_grow_by_one(tmp_path: Path) -> None:
    encoder, tokenizer = clip_encoder(tmp_path / "clip"), mini_tokenizer()
    speaker = Speaker(Llava(VisionTower(encoder), small("qwen2")), tokenizer, ChatML(tokenizer), ANYRES)
    question = Question.of(ASKED, [noise(20, 130)])
    before, rows = logits(speaker, question), len(tokenizer)
    export_llava(speaker, tmp_path / "out")
    model, processor = theirs(tmp_path / "out")
    assert model.config.image_token_id == rows
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert len(model.lm_head.weight) == rows + 1
    with torch.no_grad():
        found = model(**chat(processor, ASKED, [noise(20, 130)])).logits
    assert torch.allclose(found[..., :rows], before, atol=1e-5, rtol=1e-5)


def test_a_language_model_that_does_more_than_project_is_refused(tmp_path: Path) -> None:
    encoder, tokenizer = clip_encoder(tmp_path / "clip"), mini_tokenizer()
    speaker = Speaker(Llava(VisionTower(encoder), small("gemma2")), tokenizer, ChatML(tokenizer), ANYRES)
    with pytest.raises(UserError, match="gives other logits for these weights; use a language model that does no more"):
        export_llava(speaker, tmp_path / "out")
    assert not (tmp_path / "out").exists()
