"""Exported folders: what transformers and `hf:` read back, and what other programs look for in them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, MLCDVisionModel
from typer.testing import CliRunner

from rice_core.cli import build_app
from rice_core.encoders import load_encoder
from rice_core.encoders.regions import RegionEncoder
from rice_core.encoders.rice import save_rice
from rice_core.errors import UserError
from rice_core.model.mlcd import from_mlcd_config, save_hugging_face, to_mlcd_config
from rice_core.model.vit import PRESETS, ViT, ViTConfig
from rice_core.spec import EncoderSpec

CONFIG = ViTConfig(width=48, depth=3, heads=3, mlp_ratio=2.5, patch=4, resolution=24)


@pytest.fixture(scope="module")
def vit() -> ViT:
    torch.manual_seed(0)
    vit = ViT(CONFIG)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return vit.eval()


@pytest.fixture(scope="module")
def folder(vit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "hf"
    save_hugging_face(folder, vit, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), tags={"objective": "rice"})
    return folder


@pytest.fixture(scope="module")
def native(vit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "rice"
    save_rice(folder, vit, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), tags={"objective": "rice"})
    return folder


@pytest.mark.parametrize(("h", "w"), [(24, 24), (16, 32)])
def test_automodel_computes_the_same(folder, vit, h, w):
    model = AutoModel.from_pretrained(folder).eval()
    assert isinstance(model, MLCDVisionModel)
    pixels = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want, got = vit(pixels)[0], model(pixels)
    torch.testing.assert_close(got.last_hidden_state, want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.pooler_output, vit.pool(want), atol=1e-5, rtol=1e-5)


def test_keys_carry_the_prefix_that_conversion_scripts_look_for(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        keys, metadata = list(file.keys()), file.metadata()
    assert all(key.startswith("vision_model.") for key in keys)
    assert "vision_model.pre_layrnorm.weight" in keys
    assert metadata == {"format": "pt"}
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "mlcd_vision_model"
    assert config["architectures"] == ["MLCDVisionModel"]


def test_the_image_processor_reads_as_written(folder):
    processor = AutoImageProcessor.from_pretrained(folder)
    assert list(processor.image_mean) == [0.5, 0.4, 0.3]
    assert dict(processor.crop_size) == {"height": 24, "width": 24}


def test_hf_and_rice_folders_give_the_same_features(folder, native):
    rng = np.random.default_rng(0)
    sizes = [(24, 31), (41, 32), (480, 333), (333, 480), (5, 7), (1, 1), (1, 90)]  # odd margins, shrunk and grown
    images = [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    features, pixels = [], []
    for source, path in (("hf", folder), ("rice", native)):
        encoder = load_encoder(EncoderSpec(source=source, model=str(path)))
        with torch.no_grad():
            pixels.append(encoder.preprocess(images))
            features.append(encoder.encode(pixels[-1]))
        assert encoder.facts["objective"] == "rice"
    assert torch.equal(pixels[0], pixels[1])
    torch.testing.assert_close(features[0].dense_BCHW, features[1].dense_BCHW, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features[0].cls_BC, features[1].cls_BC, atol=1e-5, rtol=1e-5)


def test_region_embeddings_come_from_a_released_folder_too(folder, native):
    rng = np.random.default_rng(1)
    images = [Image.fromarray(rng.integers(0, 256, (48, 36, 3), dtype=np.uint8)) for _ in range(2)]
    boxes = [[(0, 0, 36, 48), (3, 5, 20, 30)], [(10, 10, 30, 20)]]
    from_hf = RegionEncoder.load(f"hf:{folder}").encode_regions(images, boxes=boxes)
    from_rice = RegionEncoder.load(f"rice:{native}").encode_regions(images, boxes=boxes)
    assert [tuple(each.shape) for each in from_hf] == [(2, 48), (1, 48)]
    for a, b in zip(from_hf, from_rice, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    masks = [np.stack([_filled(48, 36, box) for box in each]) for each in boxes]
    by_mask = RegionEncoder.load(f"rice:{native}").encode_regions(images, masks=masks)
    for a, b in zip(by_mask, from_rice, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_regions_are_refused_where_they_make_no_sense(native):
    encoder = RegionEncoder.load(f"rice:{native}")
    image = Image.new("RGB", (24, 24))
    with pytest.raises(UserError, match="either boxes or masks"):
        encoder.encode_regions([image])
    with pytest.raises(UserError, match="2 images came with regions for 1"):
        encoder.encode_regions([image, image], boxes=[[(0, 0, 1, 1)]])
    with pytest.raises(UserError, match="image 0 is 24x24"):
        encoder.encode_regions([image], masks=[np.ones((1, 12, 12), bool)])
    with pytest.raises(UserError, match="no MLCD or RICE encoder"):
        RegionEncoder.load("synthetic:noise")


def test_shapes_survive_the_round_trip_and_foreign_ones_are_refused():
    for config in (CONFIG, *PRESETS.values()):
        assert from_mlcd_config(to_mlcd_config(config)) == config
    with pytest.raises(UserError, match="hidden_act = 'quick_gelu'"):
        from_mlcd_config(to_mlcd_config(CONFIG) | {"hidden_act": "quick_gelu"})


def _filled(height, width, box):
    mask = np.zeros((height, width), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def test_the_command_goes_both_ways_bit_for_bit(native, tmp_path):
    run = CliRunner().invoke
    assert run(build_app(), ["export", f"rice:{native}", str(tmp_path / "hf")]).exit_code == 0
    assert run(build_app(), ["export", f"hf:{tmp_path / 'hf'}", str(tmp_path / "back"), "--to", "rice"]).exit_code == 0
    a, b = (load_file(folder / "encoder.safetensors") for folder in (native, tmp_path / "back"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    for words, message in (
        (["export", f"rice:{native}", str(tmp_path / "hf")], "not empty"),
        (["export", f"rice:{native}", str(tmp_path / "x"), "--to", "onnx"], "use hf or rice"),
        (["export", "synthetic:noise", str(tmp_path / "x")], "no MLCD or RICE encoder"),
    ):
        assert message in str(run(build_app(), words).exception)


def test_an_export_states_the_interpolation_or_is_refused(native, tmp_path):
    run = CliRunner().invoke
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 61, 3), dtype=np.uint8))
    source = f"rice:{native}?interpolation=bilinear&mean=0.1"
    shown = load_encoder(EncoderSpec.parse(source)).preprocess([image])
    assert run(build_app(), ["export", source, str(tmp_path / "hf")]).exit_code == 0
    assert run(build_app(), ["export", f"hf:{tmp_path / 'hf'}", str(tmp_path / "back"), "--to", "rice"]).exit_code == 0
    for written in (f"hf:{tmp_path / 'hf'}", f"rice:{tmp_path / 'back'}"):
        assert torch.equal(load_encoder(EncoderSpec.parse(written)).preprocess([image]), shown)
    file = tmp_path / "hf" / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": {"shortest_edge": 30}}))
    found = run(build_app(), ["export", f"hf:{tmp_path / 'hf'}", str(tmp_path / "zoomed"), "--to", "rice"])
    assert "not resized to their shortest edge" in str(found.exception)
    assert not (tmp_path / "zoomed").exists()
