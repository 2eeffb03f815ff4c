"""The contract of every adapter: one suite, over checkpoints in the libraries' own formats, loaded by what a user types."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.features import Encoder, Informed
from rice_core.spec import EncoderSpec

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def load(typed: str) -> Encoder:
    return load_encoder(EncoderSpec.parse(typed))


def grid_of(tokens_BTC: torch.Tensor, prefix: int, h: int, w: int) -> torch.Tensor:
    return tokens_BTC[:, prefix:].transpose(1, 2).reshape(len(tokens_BTC), -1, h, w)


@torch.no_grad()
def test_geometry_and_tokens_are_the_library_s_own(checkpoint: Any) -> None:
    case, encoder = checkpoint.case, load(checkpoint.typed)
    assert isinstance(encoder, Encoder)
    assert not isinstance(encoder, Informed)
    assert (encoder.patch, encoder.dim) == (case.patch, case.dim)
    assert encoder.spec.resolution == (case.side, case.side)
    optional = {"cls": case.cls, "multires": case.multires}
    assert encoder.provides == {"dense", "levels", "grad"} | {name for name, given in optional.items() if given}
    own = case.side // case.patch
    reference = case.reference(checkpoint.folder) if case.reference else None
    for h, w in ((own, own), (own + 2, own + 2), (own - 1, own + 1), (own + 3, own - 2)):
        pixels = checkpoint.pixels(h, w)
        if not case.multires and (h, w) != (own, own):
            with pytest.raises(UserError, match=rf"res={h * case.patch}x{w * case.patch}"):
                encoder.encode(pixels)
            resized = load(f"{checkpoint.typed}?res={h * case.patch}x{w * case.patch}")
            features = resized.encode(pixels)
        else:
            features = encoder.encode(pixels)
        assert features.dense_BCHW.shape == (2, case.dim, h, w)
        assert (features.cls_BC is not None) == case.cls
        if reference and (case.reference_resizes or (h, w) == (own, own)):
            last = reference(pixels)[0]
            torch.testing.assert_close(features.dense_BCHW, grid_of(last, case.prefix, h, w), **CLOSE)


@torch.no_grad()
def test_layers_and_final_norm(checkpoint: Any) -> None:
    case = checkpoint.case
    own = case.side // case.patch
    pixels = checkpoint.pixels(own, own)
    raw, normed, native = (
        load(f"{checkpoint.typed}?layers=0,-2,-1{norm}").encode(pixels) for norm in ("&norm=0", "&norm=1", "")
    )
    assert len(raw.levels) == len(normed.levels) == 3
    assert raw.dense_BCHW is raw.levels[-1]
    assert load(checkpoint.typed).encode(pixels).levels == ()
    torch.testing.assert_close(native.levels[:2], raw.levels[:2])
    assert not torch.allclose(raw.levels[0], normed.levels[0])
    if case.reference:
        last, *blocks = case.reference(checkpoint.folder)(pixels)
        for level, index in zip(raw.levels, (0, -2, -1), strict=True):
            torch.testing.assert_close(level, grid_of(blocks[index], case.prefix, own, own), **CLOSE)
        assert len(blocks) == case.depth
        if case.cls:
            torch.testing.assert_close(raw.cls_BC, blocks[-1][:, 0], **CLOSE)
            native_is_normed = not torch.allclose(last, blocks[-1])
            torch.testing.assert_close(native.dense_BCHW, (normed if native_is_normed else raw).dense_BCHW)
    if case.cls:
        torch.testing.assert_close(native.cls_BC, normed.cls_BC)
        assert not torch.allclose(raw.cls_BC, normed.cls_BC)
    for wrong in (f"{case.depth}", f"{-case.depth - 1}"):
        with pytest.raises(UserError, match=f"has {case.depth} blocks"):
            load(f"{checkpoint.typed}?layers={wrong}")
    with pytest.raises(UserError, match="shallow to deep"):
        load(f"{checkpoint.typed}?layers=-1,0")


def test_pooled_class_token_is_the_library_s_own(written: dict[str, Any]) -> None:
    import transformers as hf

    for name, kind in {"hf-mlcd": "MLCDVisionModel", "hf-clip": "CLIPVisionModel", "hf-dinov2": "Dinov2Model"}.items():
        pixels = written[name].pixels(4, 4)
        with torch.no_grad():
            want = getattr(hf, kind).from_pretrained(written[name].folder).eval()(pixels).pooler_output
            torch.testing.assert_close(load(written[name].typed).encode(pixels).cls_BC, want, **CLOSE)


@torch.inference_mode()
def test_a_batch_of_two_is_two_batches_of_one(checkpoint: Any) -> None:
    own = checkpoint.case.side // checkpoint.case.patch
    encoder, pixels = load(checkpoint.typed), checkpoint.pixels(own, own)
    both, first, second = (encoder.encode(part) for part in (pixels, pixels[:1], pixels[1:]))
    torch.testing.assert_close(both.dense_BCHW, torch.cat([first.dense_BCHW, second.dense_BCHW]), **CLOSE)
    if checkpoint.case.cls:
        torch.testing.assert_close(both.cls_BC, torch.cat([first.cls_BC, second.cls_BC]), **CLOSE)


def test_gradient_reaches_pixels_and_weights(checkpoint: Any) -> None:
    own = checkpoint.case.side // checkpoint.case.patch
    encoder = load(checkpoint.typed)
    with torch.inference_mode():  # as features are extracted, before something else trains through the same encoder
        extracted = encoder.encode(checkpoint.pixels(own, own))
    pixels = checkpoint.pixels(own, own).requires_grad_()
    torch.testing.assert_close(encoder.encode(pixels).dense_BCHW, extracted.dense_BCHW, **CLOSE)
    encoder.encode(pixels).dense_BCHW.square().sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    assert sum(p.grad is not None for p in encoder._trunk.module.parameters()) > checkpoint.case.depth


@torch.no_grad()
def test_half_precision_is_close_and_returned_as_float32(checkpoint: Any) -> None:
    own = checkpoint.case.side // checkpoint.case.patch
    pixels = checkpoint.pixels(own, own)
    full, half = (load(checkpoint.typed + query).encode(pixels).dense_BCHW for query in ("", "?dtype=bf16"))
    assert half.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(full, half, dim=1)
    assert cosine.min() > 0.98
    assert not torch.equal(full, half)


@torch.no_grad()
def test_size_that_is_no_multiple_of_the_patch(checkpoint: Any) -> None:
    case = checkpoint.case
    odd = case.side - 1
    with pytest.raises(UserError, match=rf"{case.patch}-pixel patch; try res={case.side}x{case.side}, or add pad=1"):
        load(f"{checkpoint.typed}?res={odd}")
    with pytest.raises(UserError, match="no multiple"):
        load(checkpoint.typed).encode(torch.zeros(1, 3, odd, case.side))
    padded = load(f"{checkpoint.typed}?res={odd}&pad=1")
    assert padded.spec.resolution == (case.side, case.side)
    own = case.side // case.patch
    pixels = checkpoint.pixels(own, own)[..., :odd, :]
    grown = torch.cat([pixels, torch.zeros_like(pixels[..., :1, :])], dim=-2)
    torch.testing.assert_close(padded.encode(pixels).dense_BCHW, padded.encode(grown).dense_BCHW)


def test_preprocessing_gives_the_size_and_normalises(checkpoint: Any) -> None:
    """That its pixels are the library's own: test_pixels.py."""
    case, encoder = checkpoint.case, load(checkpoint.typed)
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (67, 101, 3), dtype=np.uint8))
    for image in (wide, wide.transpose(Image.Transpose.ROTATE_90), wide.resize((case.side, case.side))):
        pixels = encoder.preprocess([image, image])
        assert pixels.shape == (2, 3, case.side, case.side)
        assert pixels.dtype == torch.float32
    white = encoder.preprocess([Image.new("RGB", (50, 40), "white")])
    torch.testing.assert_close(white, encoder.normalize(torch.ones_like(white)))
    other = load(f"{checkpoint.typed}?res={2 * case.patch}x{3 * case.patch}").preprocess([wide])
    assert other.shape == (1, 3, 2 * case.patch, 3 * case.patch)


def test_loading_leaves_the_global_generator_alone(checkpoint: Any) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    encoder = load(checkpoint.typed)
    own = checkpoint.case.side // checkpoint.case.patch
    encoder.encode(checkpoint.pixels(own, own))
    encoder.preprocess([Image.new("RGB", (9, 9))])
    assert torch.equal(before, torch.get_rng_state())


def test_one_flipped_bit_changes_the_digest(checkpoint: Any, tmp_path: Path) -> None:
    twin, flipped = tmp_path / "twin", tmp_path / "flipped"
    for folder in (twin, flipped):
        shutil.copytree(checkpoint.folder, folder)
    (file,) = flipped.glob("*.safetensors")
    tensors = load_file(file)
    vision = [key for key in sorted(tensors) if "vis" in key] or sorted(tensors)
    block = next(key for key in vision if ("block" in key or "layer" in key) and not key.startswith("decoder"))
    tensors[block].view(-1).view(torch.uint8)[0] ^= 1
    save_file(tensors, file, metadata={"format": "pt"})
    typed = [f"{checkpoint.case.source}:{folder}" for folder in (checkpoint.folder, twin, flipped)]
    one, same, other = (load(each) for each in typed)
    assert one.weights_digest() == same.weights_digest() != other.weights_digest()
    assert one.architecture_digest() == same.architecture_digest() == other.architecture_digest()


PROBE = """
import json, sys
from rice_core.encoders import load_encoder
from rice_core.spec import EncoderSpec
for typed in sys.argv[1:]:
    encoder = load_encoder(EncoderSpec.parse(typed))
    print(json.dumps([encoder.weights_digest(), encoder.architecture_digest(), encoder.n_params]))
"""


def test_digests_in_another_process_and_from_the_hub_s_cache(written: dict[str, Any], tmp_path: Path) -> None:
    """`hf:org/name@rev` reads the revision that was asked for, offline, from a cache laid out as the hub's client does."""
    first, second = written["hf-dinov2"], written["hf-dinov3"]
    repo = tmp_path / "models--org--name"
    for commit, found in (("a" * 40, first), ("b" * 40, second)):
        shutil.copytree(found.folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "v1").write_text("a" * 40)
    (repo / "refs" / "main").write_text("b" * 40)
    named = {name: found.typed for name, found in written.items()}
    hub = {"hub v1": "hf:org/name@v1", "hub commit": f"hf:org/name@{'a' * 40}", "hub main": "hf:org/name"}
    output = subprocess.run(
        [sys.executable, "-c", PROBE, *named.values(), *hub.values()],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    elsewhere = dict(zip([*named, *hub], map(json.loads, output.strip().splitlines()), strict=True))
    for name, typed in named.items():
        encoder = load(typed)
        assert elsewhere[name] == [encoder.weights_digest(), encoder.architecture_digest(), encoder.n_params]
    assert elsewhere["hub v1"] == elsewhere["hub commit"] == elsewhere["hf-dinov2"]
    assert elsewhere["hub main"] == elsewhere["hf-dinov3"]
    assert len({digest for digest, _, _ in (elsewhere[name] for name in named)}) == len(named)
