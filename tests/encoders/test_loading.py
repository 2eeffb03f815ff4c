"""What goes wrong between a name and its weights is one sentence with the next step, and nothing is ever executed."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import load_file, save_file

from rice_core.catalogue import explained
from rice_core.encoders import load_encoder
from rice_core.encoders.rice import save_rice
from rice_core.errors import MissingExtra, UnknownModel, UserError
from rice_core.model.vit import ViT, ViTConfig
from rice_core.spec import EncoderSpec


def refusal(typed: str) -> str:
    with pytest.raises(UserError) as caught:
        load_encoder(EncoderSpec.parse(typed))
    return str(caught.value)


@pytest.fixture
def clip(written: dict[str, Any], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(written["hf-clip"].folder, tmp_path / "clip"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (GatedRepoError, ["gated", "https://huggingface.co/facebook/dinov2-lage", "hf auth login"]),
        (RevisionNotFoundError, ["no such revision", "after the @"]),
        (RepositoryNotFoundError, ["neither a folder nor a public repository", "check the spelling"]),
        (ConnectionError, ["did not answer", "run again"]),
    ],
)
def test_what_the_hub_answers(monkeypatch: pytest.MonkeyPatch, kind: type[Exception], words: list[str]) -> None:
    def answer(*_: Any, **__: Any) -> None:
        if kind is ConnectionError:
            raise kind("reset by peer")
        raise kind("403", response=SimpleNamespace(headers={}, request=None))  # type: ignore[call-arg]

    monkeypatch.setattr("rice_core.encoders.hugging_face.hf_hub_download", answer)
    with pytest.raises(UserError) as caught:
        load_encoder(EncoderSpec.parse("hf:facebook/dinov2-lage@old"))
    assert all(word in str(caught.value) for word in words), caught.value
    # Only where nothing is there do names of the catalogue help.
    unknown = kind is RepositoryNotFoundError
    assert isinstance(caught.value, UnknownModel) == unknown
    assert explained(caught.value).startswith(str(caught.value).rstrip("."))
    assert ("did you mean facebook/dinov2-large" in explained(caught.value)) == unknown


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "typed", ["hf:org/name", "timm:vit_base_patch16_siglip_512", "open_clip:ViT-B-32/laion2b_s34b_b79k"]
)
def test_offline_and_not_in_the_cache(typed: str) -> None:
    assert "not in the hub's local cache" in refusal(typed)


def test_unknown_names_offer_close_ones() -> None:
    assert "did you mean" in refusal("timm:vit_bse_patch16_siglip_512")
    assert "vit_base_patch16_siglip_512" in refusal("timm:vit_bse_patch16_siglip_512")
    assert "webli" in refusal("timm:vit_base_patch16_siglip_512.wrong")
    assert "ViT-L-14-336" in refusal("open_clip:ViT-L-14-337/openai")
    assert "openai" in refusal("open_clip:ViT-L-14-336/opnai")
    assert "openai" in refusal("open_clip:ViT-L-14-336")
    assert "did you mean oracle?" in refusal("synthetic:orcale")
    assert "no such encoder ships" in refusal("rice:builtin/nothing")


@pytest.mark.parametrize("typed", ["hf:./no/such/folder", "hf:/no/such/folder", "rice:no/such/folder"])
def test_no_such_folder(typed: str) -> None:
    assert "no such folder" in refusal(typed) or "there is no folder" in refusal(typed)


@pytest.mark.parametrize("source", ["timm", "open_clip"])
def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setitem(sys.modules, source, None)
    for module in (source, "timm"):
        monkeypatch.delitem(sys.modules, f"rice_core.encoders.{module}", raising=False)
    with pytest.raises(MissingExtra, match=r'pip install "ricebench\[encoders\]"'):
        load_encoder(EncoderSpec.parse(f"{source}:anything"))


def test_timm_models_without_a_patch_grid() -> None:
    assert "plain vision transformer" in refusal("timm:resnet18")


def test_not_a_vision_transformer(clip: Path) -> None:
    edit(clip / "config.json", model_type="bert")
    assert "'bert' is no vision transformer that hf: reads" in refusal(f"hf:{clip}")
    edit(clip / "config.json", model_type="mine", auto_map={"AutoModel": "modeling.Mine"})
    assert "Python code from its repository, which is never run" in refusal(f"hf:{clip}")
    (clip / "config.json").unlink()
    assert "no config.json" in refusal(f"hf:{clip}")


def test_incomplete_or_damaged_weights(clip: Path) -> None:
    file = clip / "model.safetensors"
    tensors = load_file(file)
    lost = next(key for key in tensors if "post_layernorm" in key)
    save_file({key: value for key, value in tensors.items() if key != lost}, file, metadata={"format": "pt"})
    # transformers itself would fill the gap with random numbers.
    assert "its weights lack post_layernorm" in refusal(f"hf:{clip}")
    file.write_bytes(file.read_bytes()[:500])
    assert "damaged" in refusal(f"hf:{clip}")
    file.unlink()
    assert "cannot be loaded" in refusal(f"hf:{clip}")


def test_without_its_image_processor_mean_and_std_are_not_guessed(clip: Path) -> None:
    (clip / "preprocessor_config.json").unlink()
    assert "no preprocessor_config.json" in refusal(f"hf:{clip}")


def test_a_folder_has_no_revision(clip: Path, written: dict[str, Any]) -> None:
    assert "leave out @v1" in refusal(f"hf:{clip}@v1")
    for name in ("timm-vit", "open_clip-vit", "rice"):
        assert "leave out @v1" in refusal(f"{written[name].typed}@v1")


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("hf-clip", "pytorch_model.bin"),
        ("timm-vit", "pytorch_model.bin"),
        ("open_clip-vit", "open_clip_pytorch_model.bin"),
    ],
)
def test_a_bin_is_read_for_its_tensors_and_never_run(
    written: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(written[name].folder, tmp_path / "copy"))
    (safe,) = folder.glob("*.safetensors")
    torch.save(load_file(safe), folder / file)
    safe.unlink()
    typed = f"{written[name].case.source}:{folder}"
    assert (
        load_encoder(EncoderSpec.parse(typed)).weights_digest()
        == load_encoder(EncoderSpec.parse(written[name].typed)).weights_digest()
    )
    torch.save({"weight": _Trap()}, folder / file)
    assert "never opened; convert them to safetensors" in refusal(typed)
    with (folder / file).open("wb") as bare:
        pickle.dump(_Trap(), bare)
    assert refusal(typed)
    assert not Path("sprung").exists()


def test_open_clip_weights_file_and_activation_of_the_tag(
    written: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`open_clip:NAME/FILE` loads a file; a tag trained with QuickGELU gets it even under the plain name."""
    found = written["open_clip-vit"]
    body = json.loads((found.folder / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / "tiny-test.json").write_text(json.dumps(body))
    open_clip.add_model_config(tmp_path / "tiny-test.json")
    (weights,) = found.folder.glob("*.safetensors")
    plain = load_encoder(EncoderSpec.parse(f"open_clip:tiny-test/{weights}"))
    assert plain.weights_digest() == load_encoder(EncoderSpec.parse(found.typed)).weights_digest()
    tag = {"tiny-test": {"quick": {"file": str(weights), "quick_gelu": True}}}
    monkeypatch.setattr(open_clip.pretrained, "_PRETRAINED", tag)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda config, **_: config["file"])
    quick = load_encoder(EncoderSpec.parse("open_clip:tiny-test/quick"))
    pixels = found.pixels(4, 4)
    assert not torch.allclose(plain.encode(pixels).dense_BCHW, quick.encode(pixels).dense_BCHW, atol=1e-3)
    assert plain.architecture_digest() != quick.architecture_digest()


def test_rice_folders(tmp_path: Path) -> None:
    vit = ViT(ViTConfig(width=16, depth=2, heads=2, patch=4, resolution=8))
    save_rice(tmp_path, vit, tags={"objective": "rice"}, mean=(0, 0, 0), std=(1, 1, 1))
    encoder = load_encoder(EncoderSpec.parse(f"rice:{tmp_path}"))
    assert encoder.facts == {"objective": "rice"}  # type: ignore[attr-defined]
    assert torch.equal(encoder.normalize(torch.ones(1, 3, 8, 8)), torch.ones(1, 3, 8, 8))
    digest = encoder.architecture_digest()
    edit(tmp_path / "encoder.json", tags={})
    assert load_encoder(EncoderSpec.parse(f"rice:{tmp_path}")).architecture_digest() == digest
    vit_body = json.loads((tmp_path / "encoder.json").read_text())["vit"]
    edit(tmp_path / "encoder.json", vit=vit_body | {"eps": 1e-3})
    assert load_encoder(EncoderSpec.parse(f"rice:{tmp_path}")).architecture_digest() != digest
    edit(tmp_path / "encoder.json", vit=vit_body | {"depth": 3})
    assert "disagree" in refusal(f"rice:{tmp_path}")
    edit(tmp_path / "encoder.json", vit=vit_body | {"depths": 3})
    assert "damaged" in refusal(f"rice:{tmp_path}")
    (tmp_path / "encoder.safetensors").unlink()
    edit(tmp_path / "encoder.json", vit=vit_body)
    assert "lacks" in refusal(f"rice:{tmp_path}")


def test_architecture_digest_sees_what_the_weights_do_not(clip: Path) -> None:
    typed = EncoderSpec.parse(f"hf:{clip}")
    before = load_encoder(typed)
    edit(clip / "config.json", hidden_act="gelu")
    other = load_encoder(typed)
    assert before.weights_digest() == other.weights_digest()
    assert before.architecture_digest() != other.architecture_digest()
    edit(clip / "preprocessor_config.json", image_mean=[0, 0, 0])
    assert load_encoder(typed).architecture_digest() != other.architecture_digest()


def test_a_published_size_that_the_patch_does_not_divide_is_floored(clip: Path) -> None:
    edit(clip / "preprocessor_config.json", size={"shortest_edge": 37}, crop_size={"height": 37, "width": 37})
    assert load_encoder(EncoderSpec.parse(f"hf:{clip}")).spec.resolution == (32, 32)
