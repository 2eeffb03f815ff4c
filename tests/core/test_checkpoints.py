"""What somebody points at by the wrong string is refused with the string that reads it, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rice_core.catalogue import resolve
from rice_core.checkpoints import reading_strings
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkpoints of every kind in the working folder, as far as their kind can be told."""
    monkeypatch.chdir(tmp_path)
    configs = {
        "hf/config.json": {"model_type": "vit"},
        "timm/config.json": {"architecture": "vit_tiny_patch16_224"},
        "clip/open_clip_config.json": {"model_cfg": {}},
        "run/encoder/encoder.json": {"format": 1},
    }
    weights = ["hf/model.safetensors", "clip/open_clip_model.safetensors", "run/encoder/encoder.safetensors"]
    weights += ["hf/model-00001-of-00002.safetensors", "hf/mine.pth", "timm/pytorch_model.bin", "dino/teacher.pth"]
    for name in (*configs, *weights):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(json.dumps(configs.get(name, "")))
    (tmp_path / "hf" / "model.safetensors.index.json").write_text("{}")
    Path("photos").mkdir()
    return tmp_path


RIGHT = {
    "hf:hf/model.safetensors": "hf:hf",
    "hf:hf/config.json": "hf:hf",
    "hf:hf/model.safetensors.index.json": "hf:hf",
    "hf:hf/model-00001-of-00002.safetensors": "hf:hf",
    "hf:hf/mine.pth": "timm:NAME?weights=hf/mine.pth",
    "hf:timm": "timm:local-dir:timm",
    "hf:./run/encoder/": "rice:run/encoder",
    "hf:clip": "open_clip:local-dir:clip",
    "hf:dino/teacher.pth": "timm:NAME?weights=dino/teacher.pth",
    "rice:hf": "hf:hf",
    "rice:run": "rice:run/encoder",
    "rice:run/encoder/encoder.safetensors": "rice:run/encoder",
    "timm:./hf": "hf:hf",
    "timm:local-dir:hf": "hf:hf",
    "timm:local-dir:dino/teacher.pth": "timm:NAME?weights=dino/teacher.pth",
    "timm:dino/teacher.pth": "timm:NAME?weights=dino/teacher.pth",
    "timm:timm/pytorch_model.bin": "timm:local-dir:timm",
    "open_clip:local-dir:timm": "timm:local-dir:timm",
    "open_clip:clip/open_clip_model.safetensors": "open_clip:local-dir:clip",
    "hf/model.safetensors": "hf:hf",
    "./hf": "hf:hf",
    "run": "rice:run/encoder",
    "dino/teacher.pth": "timm:NAME?weights=dino/teacher.pth",
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("typed", sorted(RIGHT))
def test_the_string_that_reads_it_is_said(typed: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(typed)
    assert str(caught.value).endswith(f"; write {RIGHT[typed]}.")
    if ":" in typed:
        with pytest.raises(UserError) as caught:
            load_encoder(EncoderSpec.parse(typed))
        assert str(caught.value).endswith(f"; write {RIGHT[typed]}.")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "typed",
    [
        "hf:hf",
        "hf:./hf/",
        "timm:local-dir:timm",
        "open_clip:local-dir:clip",
        "rice:run/encoder",
        "hf:org/name",
        "timm:timm",
    ],
)
def test_what_its_own_source_reads_is_left_to_it(typed: str) -> None:
    """A name of timm may be called as a folder is."""
    assert resolve(typed) == EncoderSpec.parse(typed)


@pytest.mark.usefixtures("here")
def test_nothing_is_said_of_what_is_no_checkpoint() -> None:
    assert reading_strings(Path("photos")) == ()
    assert reading_strings(Path("nowhere")) == ()
    with pytest.raises(UserError, match="there is no encoder 'photos'"):
        resolve("photos")


def test_the_string_survives_a_path_with_signs_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "a@b?c"
    folder.mkdir()
    (folder / "encoder.json").write_text("{}")
    (string,) = reading_strings(folder)
    assert EncoderSpec.parse(string).model == str(folder)
    file = tmp_path / "a&b, c+d.pth"
    file.write_bytes(b"")
    (string,) = reading_strings(file)
    assert EncoderSpec.parse(string).weights == str(file)
