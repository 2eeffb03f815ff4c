"""A training of a store becomes a folder of transformers, by its id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from tiny_llava import clip_encoder, noise, shaken

from mllm.cli import register
from mllm.llava.kept import load_llava
from mllm.llava.language_model import load_language_model
from mllm.llava.model import Llava
from mllm.llava.recipe import LlavaConfig
from mllm.llava.speaker import Question
from mllm.llava.vision import VisionTower
from mllm.llava.weights import LlavaCard, save_llava
from rice_core.digest import file_digest
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.features import Encoder
from rice_core.measure.trained import Shelf
from rice_core.ranks import Ranks
from rice_core.record import Evidence
from rice_core.spec import EncoderSpec
from rice_core.stage import StageRequest, StageSpec, Trained
from rice_core.store import Store


def command(*words: str) -> None:
    """As the command line does."""
    import typer

    app = typer.Typer(add_completion=False)
    register(app)
    app.callback()(lambda: None)
    app(["export-llava", *words], standalone_mode=False)


def put(store: Path, encoder: Encoder, precision: Any = "fp32") -> str:
    """What a second stage leaves, on the shelf; its id."""
    words, tokenizer = load_language_model("mini", seed=1)
    model, made = shaken(Llava(VisionTower(encoder), words), 3), store / "made"
    kept = LlavaCard(model=LlavaConfig(lm="mini"), side=model.tower.side, patch=model.tower.patch, precision=precision)
    save_llava(model, tokenizer, kept, made, tower=True, language_model=True, ranks=Ranks(0, 1, torch.device("cpu")))
    request = StageRequest(encoder=encoder.spec.told(), stage=StageSpec(name="llava-instruct", params={"lm": "mini"}))
    files = {each.relative_to(made).as_posix(): file_digest(each) for each in made.rglob("*") if each.is_file()}
    evidence = Evidence(weights=encoder.weights_digest(), data="data", code="code")
    Shelf(Store(store)).put(Trained(request=request, evidence=evidence, made_from="all", files=files), made)
    return request.id


def align(store: Path, encoder: Encoder) -> str:
    """What a first stage leaves; its id."""
    made = store / "made"
    made.mkdir()
    (made / "llava.json").write_text("{}")
    request = StageRequest(encoder=encoder.spec.told(), stage=StageSpec(name="llava-align"))
    evidence = Evidence(weights=encoder.weights_digest(), data="data", code="code")
    files = {"llava.json": file_digest(made / "llava.json")}
    Shelf(Store(store)).put(Trained(request=request, evidence=evidence, made_from="all", files=files), made)
    return request.id


@pytest.fixture
def encoder() -> Encoder:
    return load_encoder(EncoderSpec.parse("synthetic:random-weights?res=32"))


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:Passing `")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_is_exported_by_its_id(
    encoder: Encoder, tmp_path: Path, precision: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = put(tmp_path / "store", encoder, precision)
    command(stage, str(tmp_path / "out"), "--store", str(tmp_path / "store"))
    assert capsys.readouterr().out == f"Written; {tmp_path / 'out' / 'README.md'} says how it is loaded.\n"
    said = (tmp_path / "out" / "README.md").read_text()
    assert "random-weights" in said
    assert f"with mini, trained by ricebench (stage {stage})." in said
    auto: Any = hf.AutoModelForImageTextToText
    model, processor = auto.from_pretrained(tmp_path / "out"), hf.AutoProcessor.from_pretrained(tmp_path / "out")
    image = noise(40, 90)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What colour?"}]}]
    given = processor(text=[processor.apply_chat_template(chat, add_generation_prompt=True)], images=[image])
    given = given.convert_to_tensors("pt")
    speaker = load_llava(Store(tmp_path / "store").stage(stage), encoder)
    ids = model.generate(**given, max_new_tokens=8)[0, given["input_ids"].shape[1] :]
    expected = speaker.answer([Question.of("What colour?", [image])], 8)[0]
    if precision == "fp32":
        assert processor.decode(ids, skip_special_tokens=True).strip() == expected
    words = dict(speaker.model.language_model.named_parameters())
    loaded = dict(model.model.language_model.named_parameters())
    assert all(torch.equal(each.float(), words[f"model.{name}"].float()) for name, each in loaded.items())


def test_an_encoder_of_a_folder_has_to_be_given_and_be_the_same(tmp_path: Path) -> None:
    stage = put(tmp_path / "store", clip_encoder(tmp_path / "clip"))
    to = (stage, str(tmp_path / "out"), "--store", str(tmp_path / "store"))
    with pytest.raises(UserError, match="is a folder whose place is not kept; say where it is, as in -e hf:FOLDER"):
        command(*to)
    other = hf.CLIPVisionModel.from_pretrained(tmp_path / "clip")
    shaken(other, 9).save_pretrained(tmp_path / "other")
    hf.CLIPImageProcessor.from_pretrained(tmp_path / "clip").save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match=r"has other weights than the training began with; give the encoder .* \(-e\)"):
        command(*to, "-e", f"hf:{tmp_path / 'other'}")
    assert not (tmp_path / "out").exists()
    command(*to, "-e", f"hf:{tmp_path / 'clip'}")
    assert (tmp_path / "out" / "config.json").is_file()
    for path in (tmp_path / "out").glob("*"):
        assert str(tmp_path).encode() not in path.read_bytes()


def test_what_is_no_training_and_what_is_damaged_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    store = ("--store", str(tmp_path / "store"))
    nothing = f"{'0' * 20} is no training of a language model that answers in .*; train one first, as with -p docvqa"
    with pytest.raises(UserError, match=nothing):
        command("0" * 20, str(tmp_path / "out"), *store)
    stage, aligned = put(tmp_path / "store", encoder), align(tmp_path / "store", encoder)
    with pytest.raises(UserError, match=rf"{aligned} \(.* / llava-align\) has no language model .*; there is {stage} "):
        command(aligned, str(tmp_path / "out"), *store)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(UserError, match="full is not empty; choose a new folder"):
        command(stage, str(tmp_path / "full"), *store)
    path = Store(tmp_path / "store").stage(stage) / "tower.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match="its files are damaged; run the same command that trained it again"):
        command(stage, str(tmp_path / "out"), *store)
