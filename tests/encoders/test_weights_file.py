"""`timm:NAME?weights=FILE`: state dicts as people save them give the features of the model they were saved from."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf as save_timm

from rice_core.encoders import load_encoder
from rice_core.encoders.state import shape, side
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec

NAME, SIDE, WIDTH, DEPTH, PATCH = "vit_tiny_patch16_224", 64, 192, 12, 16
State = dict[str, torch.Tensor]


def load(typed: str) -> Any:
    return load_encoder(EncoderSpec.parse(typed))


def refusal(typed: str) -> str:
    with pytest.raises(UserError) as caught:
        load(typed)
    return str(caught.value)


@pytest.fixture(scope="module")
def model() -> Any:
    """Trained at a size that is not its name's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = timm.create_model(NAME, num_classes=5, img_size=SIDE)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.05)
    return made.eval()


@pytest.fixture(scope="module")
def state(model: Any) -> State:
    return {key: value.clone() for key, value in model.state_dict().items()}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def worse(state: State) -> State:
    return {key: value + 1 for key, value in state.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "deit": lambda s: {"model": s, "optimizer": {}, "epoch": 3},
    "ddp": lambda s: {"state_dict": prefixed(s, "module.")},
    "timm-with-ema": lambda s: {"state_dict": worse(s), "state_dict_ema": s, "args": argparse.Namespace(lr=1)},
    "dino": lambda s: {
        "student": prefixed(worse(s), "module.backbone."),
        "teacher": prefixed(s, "backbone.") | {"head.mlp.0.weight": torch.zeros(2, 2)},
        "dino_loss": {"center": torch.zeros(2)},
    },
    "dinov2": lambda s: s | {"mask_token": torch.zeros(1, WIDTH)},
    "dinov2-in-chunks": lambda s: {
        "teacher": {
            "backbone."
            + (f"blocks.{int(key.split('.')[1]) // 4}.{key[7:]}" if key.startswith("blocks.") else key): value
            for key, value in s.items()
        }
    },
    "mae-with-decoder": lambda s: {
        "model": s | {"mask_token": torch.zeros(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.zeros(8)}
    },
    "ijepa": lambda s: {"encoder": prefixed(s, "module."), "predictor": {"module.x": torch.zeros(1)}},
    "lightning": lambda s: {"state_dict": prefixed(s, "encoder.") | {"loss.weight": torch.zeros(1)}},
    "moco": lambda s: {
        "state_dict": prefixed(worse(s), "module.base_encoder.") | prefixed(s, "module.momentum_encoder.")
    },
}


@torch.no_grad()
@pytest.mark.parametrize("kind", sorted(WRAPPED))
def test_every_wrapper_gives_the_features_of_the_model(model: Any, state: State, tmp_path: Path, kind: str) -> None:
    torch.save(WRAPPED[kind](state), tmp_path / "mine.pth")
    encoder = load(f"timm:{NAME}?weights={tmp_path / 'mine.pth'}")
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    own = model.forward_features(pixels)
    features = encoder.encode(pixels)
    torch.testing.assert_close(features.dense_BCHW.flatten(2).transpose(1, 2), own[:, 1:])
    torch.testing.assert_close(features.cls_BC, own[:, 0])
    assert encoder.spec.resolution == (SIDE, SIDE), "the size it was trained at, so that no table is resized twice"


def test_one_digest_whatever_the_file_is_called_and_wrapped_in(state: State, tmp_path: Path) -> None:
    """Over tensors, as everywhere; heads are no part of it."""
    tower = {key: value for key, value in state.items() if not key.startswith("head.")}
    save_file(tower, tmp_path / "a+b, c.safetensors")
    torch.save({"model": state}, tmp_path / "mine.pth")
    one, other = (load(f"timm:{NAME}?weights={tmp_path / name}") for name in ("a+b, c.safetensors", "mine.pth"))
    assert one.weights_digest() == other.weights_digest()
    assert one.architecture_digest() == other.architecture_digest()
    assert one.facts == {
        "weights": "a+b, c.safetensors",
        "preprocessing": "as timm's vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    }
    assert EncoderSpec.parse(one.spec.shorthand) == one.spec
    torch.save(worse(state), tmp_path / "mine.pth")
    assert load(f"timm:{NAME}?weights={tmp_path / 'mine.pth'}").weights_digest() != one.weights_digest()


@torch.no_grad()
def test_the_filter_of_the_name_renames_the_keys_of_its_family(tmp_path: Path) -> None:
    """DINOv2 with registers keeps its class position apart, and DeiT III calls its layer scale gamma."""
    ours = timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, img_size=56).eval()
    state = ours.state_dict()
    position = torch.randn(1, 1, ours.embed_dim) * 0.1
    theirs = {key: value for key, value in state.items() if key not in ("reg_token", "pos_embed")}
    theirs |= {
        "register_tokens": state["reg_token"],
        "mask_token": torch.zeros(1, ours.embed_dim),
        "cls_token": state["cls_token"] - position,
        "pos_embed": torch.cat([position, state["pos_embed"]], dim=1),
    }
    torch.save(theirs, tmp_path / "dinov2.pth")
    encoder = load(f"timm:vit_small_patch14_reg4_dinov2?weights={tmp_path / 'dinov2.pth'}")
    pixels = torch.randn(1, 3, 56, 56)
    torch.testing.assert_close(
        encoder.encode(pixels).dense_BCHW.flatten(2).transpose(1, 2), ours.forward_features(pixels)[:, 5:]
    )
    assert encoder.spec.resolution == (56, 56)
    third = timm.create_model("deit3_small_patch16_224", num_classes=0).eval()
    named = {
        key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for key, v in third.state_dict().items()
    }
    assert any("gamma_1" in key for key in named)
    torch.save({"model": named}, tmp_path / "deit3.pth")
    pixels = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(
        load(f"timm:deit3_small_patch16_224?weights={tmp_path / 'deit3.pth'}").encode(pixels).cls_BC,
        third.forward_features(pixels)[:, 0],
    )


def test_what_does_not_fit_names_the_tensor_and_the_name_that_fits(state: State, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    torch.save(state, file)
    message = refusal(f"timm:vit_small_patch16_224?weights={file}")
    assert "mine.pth has cls_token of size 1, 1, 192 where 1, 1, 384 belongs" in message
    assert "its width 192, depth 12 and patch 16 fit timm:vit_tiny_patch16_224" in message
    assert "timm:vit_tiny_patch16_224 or" in refusal(f"timm:NAME?weights={file}")
    torch.save({key: value for key, value in state.items() if "blocks.3.norm1" not in key}, file)
    message = refusal(f"timm:{NAME}?weights={file}")
    assert "mine.pth lacks blocks.3.norm1.weight and 1 more; no timm name fits" in message
    torch.save(state | {"blocks.3.extra": torch.zeros(1)}, file)
    assert "has a stray blocks.3.extra;" in refusal(f"timm:{NAME}?weights={file}")
    torch.save({key: value for key, value in state.items() if not key.startswith("blocks.11.")}, file)
    message = refusal(f"timm:{NAME}?weights={file}")
    assert "lacks blocks.11." in message
    assert "width 192, depth 11 and patch 16" in message


def test_files_that_hold_no_tower(state: State, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    assert "there is no file" in refusal(f"timm:{NAME}?weights={file}")
    torch.save({"epoch": 3, "optimizer": {}}, file)
    assert "mine.pth holds no weights (it has epoch, optimizer)" in refusal(f"timm:{NAME}?weights={file}")
    torch.save([torch.zeros(1)], file)
    assert "holds no weights" in refusal(f"timm:{NAME}?weights={file}")
    torch.save({"embeddings.cls_token": torch.zeros(1), "encoder.layer.0.x": torch.zeros(1)}, file)
    assert "are not named as timm's or DINOv2's are" in refusal(f"timm:{NAME}?weights={file}")
    torch.save(prefixed(state, "left.") | prefixed(state, "semantic."), file)
    assert "several encoders (left., semantic.)" in refusal(f"timm:{NAME}?weights={file}")
    file.write_bytes(b"nothing")
    assert "its weights are damaged, or a pickle" in refusal(f"timm:{NAME}?weights={file}")
    (tmp_path / "mine.npz").write_bytes(b"nothing")
    assert "no file of weights" in refusal(f"timm:{NAME}?weights={tmp_path / 'mine.npz'}")


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


def test_a_file_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"weight": _Trap()}}, "mine.pth")
    assert "never opened; convert them to safetensors" in refusal(f"timm:{NAME}?weights=mine.pth")
    with Path("bare.bin").open("wb") as bare:
        pickle.dump(_Trap(), bare)
    assert refusal(f"timm:{NAME}?weights=bare.bin")
    assert not Path("sprung").exists()


def test_a_folder_of_timm_without_all_of_its_tower_is_refused(tmp_path: Path) -> None:
    """timm itself would draw the rest at random, since the classes of the head differ."""
    save_timm(timm.create_model("test_vit", num_classes=7), str(tmp_path), safe_serialization=True)
    whole = load(f"timm:local-dir:{tmp_path}").weights_digest()
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    save_file({key: value for key, value in tensors.items() if not key.startswith("head.")}, file)
    assert load(f"timm:local-dir:{tmp_path}").weights_digest() == whole
    save_file({key: value for key, value in tensors.items() if "blocks.0.attn.qkv" not in key}, file)
    message = refusal(f"timm:local-dir:{tmp_path}")
    assert "lacks blocks.0.attn.qkv.weight and 1 more; give a complete checkpoint" in message


def test_a_repository_of_timm_without_all_of_its_tower_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the folder, from a cache laid out as the hub's client does."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("a" * 40)
    save_timm(timm.create_model("test_vit", num_classes=7), str(snapshot), safe_serialization=True)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("a" * 40)
    whole = load(f"timm:local-dir:{snapshot}").weights_digest()
    assert load("timm:hf-hub:org/name").weights_digest() == whole
    assert load(f"timm:hf-hub:org/name@{'a' * 40}").weights_digest() == whole
    tensors = load_file(snapshot / "model.safetensors")
    kept = {key: value for key, value in tensors.items() if "blocks.0.attn.qkv" not in key}
    save_file(kept, snapshot / "model.safetensors")
    message = refusal("timm:hf-hub:org/name")
    assert "lacks blocks.0.attn.qkv.weight and 1 more; give a complete checkpoint" in message


def test_geometry_is_read_off_the_tensors(state: State) -> None:
    tower = {key: value for key, value in state.items() if not key.startswith("head.")}
    assert shape(tower) == (WIDTH, DEPTH, PATCH)
    for others in (0, 1, 2, 5):
        assert side(tower | {"pos_embed": torch.zeros(1, 49 + others, WIDTH)}) == 7 * PATCH
    assert side(tower | {"pos_embed": torch.zeros(1, 8, WIDTH)}) is None
    assert shape({}) == (0, 0, 0)
    assert side({}) is None
