"""Pictures of every mode and orientation, and old names of image processors: what the checkpoint's own library would show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.images import ImageError, load_image, rgb_image
from rice_core.measure.encode import encode_images
from rice_core.spec import EncoderSpec

CLIP = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}


def load(typed: str) -> Any:
    return load_encoder(EncoderSpec.parse(typed))


@pytest.fixture
def clip(written: dict[str, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(written["hf-clip"].folder, tmp_path / "clip"))


def state(folder: Path, **fields: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(fields))


def noise(mode: str) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 61, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    return image if mode == "RGBA" else image.convert(mode if mode == "LA" else "RGB").convert(mode)


@pytest.mark.parametrize("name", ["hf-clip", "hf-siglip"])
@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr"])
def test_pictures_of_every_mode_are_those_of_the_library(written: dict[str, Any], name: str, mode: str) -> None:
    """The colour below a transparent pixel is arbitrary: transformers lays it on white, as the reader of files here does."""
    encoder, own = load(written[name].typed), hf.AutoImageProcessor.from_pretrained(written[name].folder)
    image = noise(mode)
    want = torch.as_tensor(own(images=[image], do_convert_rgb=True, return_tensors="pt")["pixel_values"])
    assert torch.equal(encoder.preprocess([image]), want)
    assert torch.equal(encoder.preprocess([rgb_image(image)]), want)


@pytest.mark.parametrize("name", ["hf-clip", "timm-vit", "open_clip-vit", "rice"])
def test_sixteen_bits_are_scaled_and_not_clipped(written: dict[str, Any], name: str) -> None:
    encoder = load(written[name].typed)
    grey = np.random.default_rng(0).integers(0, 256, (90, 61), dtype=np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert torch.equal(encoder.preprocess([deep]), encoder.preprocess([Image.fromarray(grey)]))
    with pytest.raises(ImageError, match="does not say which value is white"):
        encoder.preprocess([Image.fromarray(grey.astype(np.float32))])


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_a_picture_is_turned_once_however_often_it_is_read(
    written: dict[str, Any], tmp_path: Path, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise("RGB").save(tmp_path / f"turned.{suffix}", exif=exif)
    once = load_image(tmp_path / f"turned.{suffix}")
    assert once.size == (90, 61)
    assert np.array_equal(np.asarray(rgb_image(once)), np.asarray(once))
    spec = EncoderSpec.parse(written["hf-clip"].typed)
    features = encode_images(spec, [tmp_path / f"turned.{suffix}", once])
    torch.testing.assert_close(features.dense_BCHW[0], features.dense_BCHW[1])


@pytest.mark.parametrize("key", ["image_processor_type", "feature_extractor_type"])
@pytest.mark.parametrize("kind", ["CLIP", "ViT", "DeiT", "Beit"])
def test_feature_extractors_are_image_processors_of_an_older_name(clip: Path, key: str, kind: str) -> None:
    size = 32 if kind == "ViT" else 40
    fields = {"size": size, "crop_size": 32, "do_center_crop": True, "resample": 2, "image_mean": [0.5, 0.4, 0.3]}
    state(clip, **fields, **{key: f"{kind}FeatureExtractor"})
    image = noise("RGB")
    own = getattr(hf, f"{kind}ImageProcessor")(**fields)
    want = torch.as_tensor(own(images=[image], return_tensors="pt")["pixel_values"])
    assert torch.equal(load(f"hf:{clip}").preprocess([image]), want)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (CLIP, "names no image processor that transformers"),
        ({**CLIP, "image_processor_type": "NoSuchFeatureExtractor"}, "names 'NoSuchFeatureExtractor', no image"),
    ],
)
def test_a_processor_without_a_known_name_says_what_to_write(clip: Path, fields: dict[str, Any], says: str) -> None:
    state(clip, **fields)
    with pytest.raises(UserError, match="set image_processor_type to the one") as caught:
        load(f"hf:{clip}")
    assert says in str(caught.value)
    assert "beit" not in str(caught.value)  # not the library's list of all model types
