"""ViT and its relatives under `hf:`, beside the contract: heads, what may be missing, and what sets each family apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf as save_timm

from rice_core.encoders import load_encoder
from rice_core.encoders.families import FAMILIES
from rice_core.errors import UserError
from rice_core.features import Encoder
from rice_core.spec import EncoderSpec

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SQUARE = TINY | {"image_size": 32, "patch_size": 8}


def load(typed: str) -> Encoder:
    return load_encoder(EncoderSpec.parse(typed))


def refusal(typed: str) -> str:
    with pytest.raises(UserError) as caught:
        load(typed)
    return str(caught.value)


def saved(model: Any, folder: Path) -> Path:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def without(folder: Path, *words: str) -> None:
    file = folder / "model.safetensors"
    kept = {key: value for key, value in load_file(file).items() if not any(word in key for word in words)}
    save_file(kept, file, metadata={"format": "pt"})


def test_a_head_changes_neither_features_nor_digests_and_what_is_on_top_may_be_missing(tmp_path: Path) -> None:
    """The tower alone, with its pooler, under a classifier and without either: one encoder."""
    torch.manual_seed(0)
    classifier = hf.ViTForImageClassification(hf.ViTConfig(**SQUARE, num_labels=3))
    saved(classifier, tmp_path / "head")
    pooled = hf.ViTModel(classifier.config)
    pooled.load_state_dict(classifier.vit.state_dict(), strict=False)
    pooled.save_pretrained(tmp_path / "pooled")
    shutil.copy(tmp_path / "head" / "preprocessor_config.json", tmp_path / "pooled")
    shutil.copytree(tmp_path / "pooled", tmp_path / "bare")
    without(tmp_path / "bare", "pooler")
    head, with_pooler, bare = (load(f"hf:{tmp_path / name}") for name in ("head", "pooled", "bare"))
    assert head.weights_digest() == with_pooler.weights_digest() == bare.weights_digest()
    assert head.n_params == sum(p.numel() for p in classifier.vit.parameters())


@pytest.mark.parametrize("name", ["hf-vit-head", "hf-beit-head", "hf-beit-masked", "hf-mae-decoder", "hf-deit"])
def test_a_missing_tensor_of_the_tower_is_refused(written: dict[str, Any], tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(written[name].folder, tmp_path / "copy"))
    without(folder, "layer.1.layernorm_before", "layers.1.layernorm_before")
    message = refusal(f"hf:{folder}")
    assert "its weights lack" in message
    assert "layers.1.layernorm_before" in message


def test_heads_of_a_wrong_size_or_missing_do_not_matter(written: dict[str, Any], tmp_path: Path) -> None:
    for name, top in {"hf-beit-masked": "lm_head", "hf-vit-head": "classifier", "hf-beit-head": "pooler"}.items():
        folder = Path(shutil.copytree(written[name].folder, tmp_path / name))
        without(folder, top)
        assert load(f"hf:{folder}").weights_digest() == load(written[name].typed).weights_digest()


@torch.no_grad()
def test_mae_sees_all_patches_in_the_order_of_the_image(written: dict[str, Any]) -> None:
    """A bright patch shows where it is, in every run: its own forward draws a new order each time and drops three of four."""
    found = written["hf-mae-decoder"]
    assert hf.ViTMAEConfig.from_pretrained(found.folder).mask_ratio == 0.75
    encoder = load(f"{found.typed}?layers=0&norm=0")
    base = torch.zeros(1, 3, 32, 32)
    plain = encoder.encode(base).dense_BCHW
    for row, column in ((0, 0), (1, 2), (3, 3)):
        lit = base.clone()
        lit[:, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 3.0
        change_HW = (encoder.encode(lit).dense_BCHW - plain).norm(dim=1)[0]
        assert divmod(int(change_HW.argmax()), 4) == (row, column)
    assert torch.equal(encoder.encode(lit).dense_BCHW, encoder.encode(lit).dense_BCHW)


@torch.no_grad()
def test_beit_with_mean_pooling_has_no_final_norm(tmp_path: Path) -> None:
    """Fine-tuned BEiT norms the mean of its patches: tokens are as its own forward leaves them, and norm=1 means nothing."""
    torch.manual_seed(0)
    config = hf.BeitConfig(**SQUARE, use_relative_position_bias=True, use_mean_pooling=True)
    folder = saved(hf.BeitForImageClassification(config), tmp_path)
    pixels = torch.randn(2, 3, 32, 32)
    own = hf.BeitModel.from_pretrained(folder).eval()(pixels).last_hidden_state
    features = load(f"hf:{folder}").encode(pixels)
    torch.testing.assert_close(features.dense_BCHW.flatten(2).transpose(1, 2), own[:, 1:])
    torch.testing.assert_close(features.cls_BC, own[:, 0])
    assert "no final norm over its tokens" in refusal(f"hf:{folder}?norm=1")


@torch.no_grad()
def test_masked_beit_s_norm_on_top_is_not_the_tower_s(written: dict[str, Any]) -> None:
    """Both are called layernorm; transformers' own class for the whole takes one for the other."""
    found = written["hf-beit-masked"]
    weights = load_file(found.folder / "model.safetensors")
    module = load(found.typed).module  # type: ignore[attr-defined]
    assert torch.equal(module.layernorm.weight, weights["beit.layernorm.weight"])
    assert not torch.equal(module.layernorm.weight, weights["layernorm.weight"])


def test_deit_has_two_tokens_before_its_grid(written: dict[str, Any]) -> None:
    weights = load_file(written["hf-deit"].folder / "model.safetensors")
    (table,) = (value for key, value in weights.items() if key.endswith("position_embeddings"))
    assert table.shape[1] == 2 + 16


@pytest.mark.parametrize("kind", ["vit-hybrid", "hiera", "swin", "vitdet", "yolos"])
def test_what_is_no_plain_transformer_is_refused_by_name(written: dict[str, Any], tmp_path: Path, kind: str) -> None:
    assert kind not in FAMILIES
    folder = Path(shutil.copytree(written["hf-vit"].folder, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": kind}))
    assert f"model_type '{kind}' is no vision transformer that hf: reads" in refusal(f"hf:{folder}")


def test_a_hybrid_of_timm_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    model = timm.create_model("vit_tiny_r_s16_p8_224", num_classes=0, embed_dim=32, depth=1, num_heads=1)
    arguments = {"embed_dim": 32, "depth": 1, "num_heads": 1}
    save_timm(model, str(tmp_path), model_args=arguments, safe_serialization=True)
    assert "cut from a convolutional net" in refusal(f"timm:local-dir:{tmp_path}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_channels": 1}, "images of 1 channels"),
        ({"image_size": [32, 48]}, r"image_size is [32, 48]"),
        ({"patch_size": [8, 4]}, "patch_size is [8, 4]"),
    ],
)
def test_shapes_that_fail_at_the_first_image_are_refused_before(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    folder = saved(hf.ViTModel(hf.ViTConfig(**(SQUARE | changes))), tmp_path)
    assert words in refusal(f"hf:{folder}")
