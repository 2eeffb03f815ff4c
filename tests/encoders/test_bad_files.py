"""A checkpoint with a bad file is refused when it is loaded, in one sentence; nothing is guessed and nothing fails later."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf
from torch import nn

from rice_core.encoders import load_encoder
from rice_core.encoders.base import TorchEncoder
from rice_core.encoders.preprocess import Preprocess
from rice_core.encoders.rice import native_trunk
from rice_core.errors import UserError
from rice_core.measure.known import KnownEncoders
from rice_core.model.vit import ViT, ViTConfig
from rice_core.spec import EncoderSpec

WRONG: tuple[Any, ...] = (None, "x", -1, 0, 0.5, [], [1, [2]], {"a": {}}, True, 1e999)
HF = ["hf-clip", "hf-clip-whole", "hf-siglip2", "hf-dinov2", "hf-dinov3", "hf-aimv2", "hf-aimv2-whole"]


def load(typed: str) -> Any:
    return load_encoder(EncoderSpec.parse(typed))


def refusal(typed: str) -> str:
    with pytest.raises(UserError) as caught:
        load(typed)
    message = str(caught.value)
    assert message.startswith(typed.split("?")[0])
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.fixture
def copied(written: dict[str, Any], tmp_path: Path) -> Any:
    def copy(name: str) -> tuple[str, Path]:
        folder = Path(shutil.copytree(written[name].folder, tmp_path / name))
        return f"{written[name].case.source}:{folder}", folder

    return copy


def vision(body: dict[str, Any]) -> dict[str, Any]:
    """The part of a config.json that is about the tower."""
    return body.get("vision_config", body)


def configure(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    body = json.loads(file.read_text())
    vision(body).update(changes)
    for derived in ("out_features", "out_indices", "stage_names"):  # of backbones; published checkpoints have none
        body.pop(derived, None)
    file.write_text(json.dumps(body))


def places(body: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in body.items():
        if not key.startswith("text_"):
            yield (*path, key)
        if isinstance(value, dict) and not key.startswith("text_"):
            yield from places(value, (*path, key))


def spoiled(body: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(body))
    part = copy
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return copy


def test_a_wrong_value_anywhere_is_one_sentence_or_none(copied: Any, checkpoint: Any) -> None:
    """Either it changes nothing that matters, or it is refused: never a traceback."""
    typed, folder = copied(checkpoint.name)
    draw = random.Random(checkpoint.name)
    refused: list[str] = []
    for file in sorted(folder.glob("*.json")):
        text = file.read_text()
        body = json.loads(text)
        paths = list(places(body))
        for path in draw.sample(paths, min(12, len(paths))):
            file.write_text(json.dumps(spoiled(body, path, draw.choice(WRONG))))
            try:
                load(typed).preprocess([Image.new("RGB", (50, 40))])
            except UserError as error:
                refused.append(str(error))
        file.write_text(text)
    assert refused
    assert not any("\n" in message for message in refused)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{", "", "[" * 100_000])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("hf-clip", "config.json"),
        ("hf-clip", "preprocessor_config.json"),
        ("hf-clip", "rice_config.json"),
        ("timm-vit", "config.json"),
        ("open_clip-vit", "open_clip_config.json"),
        ("rice", "encoder.json"),
    ],
)
def test_a_file_that_is_no_json_object_is_named(copied: Any, name: str, file: str, text: str) -> None:
    typed, folder = copied(name)
    (folder / file).write_text(text)
    message = refusal(typed)
    assert file in message or "a file in" in message
    assert "missing" not in message
    assert any(word in message for word in ("no JSON", "no object", "Invalid JSON", "should be an object"))


def test_bytes_that_are_no_text(copied: Any) -> None:
    typed, folder = copied("hf-clip")
    (folder / "preprocessor_config.json").write_bytes(b"\xff\xfe\x00")
    assert "preprocessor_config.json is no JSON" in refusal(typed)


@pytest.mark.parametrize(("name", "file"), [("timm-vit", "config.json"), ("open_clip-vit", "open_clip_config.json")])
def test_a_folder_without_its_configuration(copied: Any, name: str, file: str) -> None:
    typed, folder = copied(name)
    (folder / file).unlink()
    assert f"holds no {file}" in refusal(typed)


@pytest.mark.parametrize("body", [{"tags": []}, {"tags": {}, "regions": {"layers": "x"}}])
def test_what_an_export_left_beside_the_weights(copied: Any, body: dict[str, Any]) -> None:
    typed, folder = copied("hf-mlcd")
    (folder / "rice_config.json").write_text(json.dumps(body))
    assert "rice_config.json cannot be used" in refusal(typed)


@pytest.mark.parametrize("name", HF)
def test_another_width_is_said_with_both(copied: Any, name: str) -> None:
    typed, folder = copied(name)
    configure(folder, hidden_size=48)
    message = refusal(typed)
    assert "32 in its weights and" in message
    assert "48 by its config.json" in message


@pytest.mark.parametrize("name", HF)
def test_more_layers_in_the_weights_than_in_the_configuration(copied: Any, name: str) -> None:
    """transformers would leave the last ones out, without a word."""
    typed, folder = copied(name)
    configure(folder, num_hidden_layers=2)
    assert "its weights hold" in (message := refusal(typed))
    assert "2." in message
    assert "that its config.json knows nothing of" in message


@pytest.mark.parametrize("name", HF)
def test_fewer_layers_in_the_weights_than_in_the_configuration(copied: Any, name: str) -> None:
    typed, folder = copied(name)
    configure(folder, num_hidden_layers=4)
    assert "its weights lack" in refusal(typed)


def test_registers_that_the_model_type_does_not_know(copied: Any) -> None:
    """Surplus weights of the trunk that are no layers."""
    typed, folder = copied("hf-dinov2-registers")
    configure(folder, model_type="dinov2")
    assert "embeddings.register_tokens" in refusal(typed)


def test_heads_and_text_models_may_be_left_out(copied: Any) -> None:
    from safetensors.torch import load_file, save_file

    typed, folder = copied("hf-dinov2")
    tensors = load_file(folder / "model.safetensors") | {
        "classifier.weight": torch.zeros(4, 64),
        "embeddings.position_ids": torch.arange(17)[None],
    }
    del tensors["embeddings.mask_token"]  # of training alone
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(typed).dim == 32


@pytest.mark.parametrize(("name", "arguments"), [("timm-vit", "model_args"), ("open_clip-vit", "vision_cfg")])
def test_layers_and_widths_of_other_libraries(copied: Any, name: str, arguments: str) -> None:
    typed, folder = copied(name)
    (file,) = folder.glob("*config.json")
    body = json.loads(file.read_text())
    part = body["model_args"] if arguments == "model_args" else body["model_cfg"]["vision_cfg"]
    depth, width = ("depth", "embed_dim") if arguments == "model_args" else ("layers", "width")
    for key, value, says in ((depth, 2, "blocks.2."), (depth, 4, "blocks.3."), (width, 64, "32")):
        kept, part[key] = part[key], value
        file.write_text(json.dumps(body))
        part[key] = kept
        assert says in refusal(typed)


def test_a_hybrid_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    """Its convolutions shrink the picture before the patches are cut, which no attribute of its patch tells."""
    arguments = {"img_size": 64, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_small_r26_s32_224", num_classes=0, **arguments)
    save_for_hf(model, str(tmp_path), model_args=arguments, safe_serialization=True)
    message = refusal(f"timm:local-dir:{tmp_path}")
    assert "plain vision transformer" in message


def test_a_forward_that_fails_is_found_when_it_is_loaded() -> None:
    vit = ViT(ViTConfig(width=16, depth=1, heads=2, patch=4, resolution=8))
    vit.blocks[0] = nn.Linear(3, 3)
    trunk = native_trunk(vit, Preprocess(resolution=(8, 8)), {})
    with pytest.raises(UserError, match="a forward pass fails"):
        TorchEncoder(EncoderSpec.parse("rice:x"), trunk)


@pytest.mark.parametrize("name", ["hf-clip", "timm-vit", "open_clip-vit", "rice"])
@pytest.mark.parametrize("instead", ["folder", "loop"])
def test_something_else_in_the_place_of_a_file(copied: Any, name: str, instead: str) -> None:
    typed, folder = copied(name)
    for file in [path for path in folder.iterdir() if path.is_file()]:
        kept = file.read_bytes()
        file.unlink()
        if instead == "folder":
            file.mkdir()
        else:
            file.symlink_to(file.name)
        refusal(typed)
        file.rmdir() if instead == "folder" else file.unlink()
        file.write_bytes(kept)
    load(typed)


def test_a_name_in_an_index_that_no_file_can_have(copied: Any, tmp_path: Path) -> None:
    typed, folder = copied("hf-vit")
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"a": "x" * 5000}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert KnownEncoders(tmp_path).get(EncoderSpec.parse(typed)) is None
    refusal(typed)


def test_a_tower_that_is_described_in_another_folder(copied: Any, written: dict[str, Any]) -> None:
    """What changes there would change the features and no digest of this folder's files."""
    typed, folder = copied("open_clip-timm")
    file = folder / "open_clip_config.json"
    body = json.loads(file.read_text())
    body["model_cfg"]["vision_cfg"]["timm_model_name"] = f"local-dir:{written['timm-vit'].folder}"
    file.write_text(json.dumps(body))
    assert "is described elsewhere" in refusal(typed)


@pytest.mark.parametrize("name", ["hf-clip", "timm-vit", "rice"])
def test_weights_that_are_no_numbers(copied: Any, name: str) -> None:
    from safetensors.torch import load_file, save_file

    typed, folder = copied(name)
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    key = next(key for key in tensors if "patch_embed" in key and tensors[key].ndim == 4)
    tensors[key][0, 0, 0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    assert "not finite" in refusal(typed)


@pytest.mark.parametrize("field", ["mean", "std", "zoom", "resolution"])
def test_a_recipe_of_ours_that_makes_no_sense(copied: Any, field: str) -> None:
    typed, folder = copied("rice")
    file = folder / "encoder.json"
    body = json.loads(file.read_text())
    wrong = {"mean": [float("inf"), 0, 0], "std": [0, 1, 1], "zoom": 0.5, "resolution": [0, 32]}[field]
    file.write_text(json.dumps(spoiled(body, ("preprocess", field), wrong)).replace("Infinity", "1e999"))
    assert f"preprocess.{field}" in refusal(typed)


@pytest.mark.parametrize(
    "string", ["hf:{}", "rice:{}", "timm:local-dir:{}", "open_clip:ViT-B-32/{}", "timm:x?weights={}.pth"]
)
def test_a_name_that_no_file_can_have(string: str, tmp_path: Path) -> None:
    spec = EncoderSpec.parse(string.format("x" * 5000))
    assert KnownEncoders(tmp_path).get(spec) is None
    with pytest.raises(UserError):
        load_encoder(spec)
