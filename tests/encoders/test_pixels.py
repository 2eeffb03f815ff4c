"""What an encoder is shown is what the checkpoint's own library would show it, to the last bit."""

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
from rice_core.encoders.base import TorchEncoder
from rice_core.encoders.rice import save_rice
from rice_core.errors import UserError
from rice_core.images import ImageError
from rice_core.model.vit import ViT, ViTConfig
from rice_core.spec import EncoderSpec

PHOTOGRAPHS = Path(__file__).parents[2] / ".." / "shared" / "data" / "coco" / "val2017"
SIZES = [
    (640, 427),
    (427, 640),
    (500, 333),
    (333, 500),
    (640, 480),
    (57, 31),
    (33, 32),
    (32, 33),
    (500, 7),
    (7, 500),
    (1, 1),
]
"""Widths and heights: odd margins both ways, tiny, extreme."""
SIDE = 32


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise at two scales, so that one pixel's shift of the cut or another filter shows."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8))
    noise = rng.integers(-40, 40, (height, width, 3))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def load(typed: str) -> TorchEncoder:
    encoder = load_encoder(EncoderSpec.parse(typed))
    assert isinstance(encoder, TorchEncoder)
    return encoder


def refusal(typed: str) -> str:
    with pytest.raises(UserError) as caught:
        load(typed)
    return str(caught.value)


@pytest.fixture
def clip(written: dict[str, Any], tmp_path: Path) -> Path:
    """A checkpoint whose processor a test may replace."""
    return Path(shutil.copytree(written["hf-clip"].folder, tmp_path / "clip"))


def state(folder: Path, kind: str = "CLIPImageProcessor", **fields: Any) -> None:
    body = {"image_processor_type": kind, **fields}
    (folder / "preprocessor_config.json").write_text(json.dumps(body))


def own(folder: Path, image: Image.Image, **sizes: Any) -> torch.Tensor:
    """What transformers itself gives, (1, 3, H, W)."""
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    return torch.as_tensor(processor(images=[image], return_tensors="pt", **sizes)["pixel_values"])


def test_every_family_sees_its_library_s_own_pixels(checkpoint: Any) -> None:
    if checkpoint.case.processor is None or "siglip2" in checkpoint.name:
        pytest.skip("has no library's processor, or is squashed where that keeps the aspect ratio")
    encoder, library = load(checkpoint.typed), checkpoint.case.processor(checkpoint.folder)
    for width, height in SIZES:
        image = picture(width, height)
        assert torch.equal(encoder.preprocess([image]), library(image)), (width, height)
    batch = encoder.preprocess([picture(90, 61), picture(61, 90)])
    assert torch.equal(batch[1:], library(picture(61, 90)))


CROP = {"height": SIDE, "width": SIDE}
CLIP = {"size": {"shortest_edge": SIDE}, "crop_size": CROP}
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTImageProcessor", {"size": CROP}),
    "vit, old style": ("ViTImageProcessor", {"size": SIDE, "resample": 2}),
    "deit": ("DeiTImageProcessor", {"size": {"height": 37, "width": 37}, "crop_size": CROP}),
    "beit": ("BeitImageProcessor", {"size": CROP, "crop_size": {"height": 20, "width": 20}}),
    "beit, old style": ("BeitImageProcessor", {"size": 38, "crop_size": SIDE, "do_center_crop": True}),
    "bit": ("BitImageProcessor", {"size": {"shortest_edge": 37}, "crop_size": CROP}),
    "siglip": ("SiglipImageProcessor", {"size": CROP}),
    "dinov3": ("DINOv3ViTImageProcessor", {"size": CROP}),
    "dinov3, not normalised": ("DINOv3ViTImageProcessor", {"size": CROP, "do_normalize": False}),
    "convnext, crop_pct": ("ConvNextImageProcessor", {"size": {"shortest_edge": SIDE}, "crop_pct": 0.8}),
    "clip, odd crop": ("CLIPImageProcessor", {"size": {"shortest_edge": 45}, "crop_size": CROP}),
    "clip, not normalised": ("CLIPImageProcessor", {**CLIP, "do_normalize": False}),
    "clip, not rescaled": ("CLIPImageProcessor", {**CLIP, "do_rescale": False}),
    "clip, neither": ("CLIPImageProcessor", {**CLIP, "do_rescale": False, "do_normalize": False}),
    "clip, to [0, 2]": ("CLIPImageProcessor", {**CLIP, "rescale_factor": 1 / 127.5}),
    "clip, not resized": ("CLIPImageProcessor", {**CLIP, "do_resize": False}),
    "clip, squashed and cut": ("CLIPImageProcessor", {"size": {"height": 40, "width": 49}, "crop_size": CROP}),
    "clip, cut smaller than resized": ("CLIPImageProcessor", {"size": {"shortest_edge": 20}, "crop_size": CROP}),
    "clip, wide cut": ("CLIPImageProcessor", {"size": {"shortest_edge": 41}, "crop_size": {"height": 24, "width": 40}}),
    "clip, two edges": ("CLIPImageProcessor", {"size": {"shortest_edge": 40, "longest_edge": 45}, "crop_size": CROP}),
    "clip, one mean": ("CLIPImageProcessor", {**CLIP, "image_mean": 0.5, "image_std": 0.25}),
    "clip, nearest": ("CLIPImageProcessor", {**CLIP, "resample": 0}),
    "clip, lanczos": ("CLIPImageProcessor", {**CLIP, "resample": 1}),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_each_field_of_a_processor_s_file_counts(clip: Path, name: str) -> None:
    kind, fields = PROCESSORS[name]
    state(clip, kind, **fields)
    encoder = load(f"hf:{clip}")
    for width, height in SIZES:
        image = picture(width, height)
        want = own(clip, image)
        assert want.shape[-2:] == encoder.spec.resolution
        assert torch.equal(encoder.preprocess([image]), want.float()), (width, height)
    # Views that own the geometry use mean and standard deviation alone.
    solid = Image.new("RGB", (200, 200), (10, 100, 200))
    square = torch.tensor([10, 100, 200]).reshape(1, 3, 1, 1) / 255
    centre = own(clip, solid)[..., 12:13, 12:13].float()
    torch.testing.assert_close(encoder.normalize(square), centre, atol=1e-4, rtol=1e-5)


def test_every_field_is_in_the_architecture_s_digest(clip: Path) -> None:
    digests = {}
    for name, (kind, fields) in PROCESSORS.items():
        state(clip, kind, **fields)
        digests[name] = load(f"hf:{clip}").architecture_digest()
    assert digests.pop("vit, old style") == digests["vit"]  # one recipe in two spellings
    assert len(set(digests.values())) == len(PROCESSORS) - 1


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the folder of shared photographs is not beside the checkout")
@pytest.mark.parametrize("name", ["hf-clip", "hf-siglip", "hf-dinov2", "hf-dinov3", "timm-vit", "open_clip-vit"])
def test_photographs(written: dict[str, Any], name: str) -> None:
    found = written[name]
    encoder, library = load(found.typed), found.case.processor(found.folder)
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))[:12]
    assert files
    for file in files:
        image = Image.open(file).convert("RGB")
        assert torch.equal(encoder.preprocess([image]), library(image)), image.size


def test_naflex_is_squashed_and_says_so(written: dict[str, Any]) -> None:
    found = written["hf-siglip2"]
    encoder = load(found.typed)
    assert "squashed" in encoder.facts["preprocessing"]
    n, patch = found.case.side // found.case.patch, found.case.patch
    square = found.case.processor(found.folder)(picture(61, 61)).reshape(1, n, n, patch, patch, 3)
    square = square.permute(0, 5, 1, 3, 2, 4).reshape(1, 3, found.case.side, found.case.side)
    assert torch.equal(encoder.preprocess([picture(61, 61)]), square)
    siglip = hf.SiglipImageProcessor(size=CROP, resample=2)
    wide = picture(90, 41)
    assert torch.equal(encoder.preprocess([wide]), siglip(images=[wide], return_tensors="pt")["pixel_values"])
    assert "preprocessing" not in load(written["hf-siglip"].typed).facts


def test_naflex_follows_the_processor_s_number_of_patches(written: dict[str, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(written["hf-siglip2"].folder, tmp_path / "naflex"))
    file = folder / "preprocessor_config.json"
    body = json.loads(file.read_text())
    file.write_text(json.dumps(body | {"max_num_patches": 40}))
    assert load(f"hf:{folder}").spec.resolution == (48, 48)
    file.write_text(json.dumps(body | {"patch_size": 4}))
    assert "patch_size is 4, in config.json 8" in refusal(f"hf:{folder}")


def test_another_size_is_the_same_recipe_at_that_size(written: dict[str, Any]) -> None:
    image = picture(427, 640)
    for name, sizes in {
        "hf-clip": {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
        "hf-dinov2": {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
        "hf-siglip": {"size": {"height": 64, "width": 64}},
        "hf-dinov3": {"size": {"height": 64, "width": 64}},
    }.items():
        found = written[name]
        assert torch.equal(load(f"{found.typed}?res=64").preprocess([image]), own(found.folder, image, **sizes)), name


def test_a_size_of_another_shape_keeps_the_aspect_ratio_and_fills_the_picture(written: dict[str, Any]) -> None:
    typed = written["hf-clip"].typed
    image = picture(640, 320)
    exact = own(written["hf-clip"].folder, image, size={"height": 32, "width": 64}, do_center_crop=False)
    assert torch.equal(load(f"{typed}?res=32x64").preprocess([image]), exact)
    tall, wide = load(f"{typed}?res=64x24"), load(f"{typed}?res=24x64")
    for width, height in SIZES:
        for encoder in (tall, wide):
            pixels = encoder.preprocess([Image.new("RGB", (width, height), "white")])
            torch.testing.assert_close(pixels, encoder.normalize(torch.ones_like(pixels)))  # no black margin


def test_a_size_that_a_recipe_cannot_fill_is_refused(clip: Path) -> None:
    state(clip, "CLIPImageProcessor", size={"shortest_edge": 40, "longest_edge": 60}, crop_size=CROP)
    assert load(f"hf:{clip}?res=64").preprocess([picture(80, 61)]).shape[-2:] == (64, 64)
    assert "sizes pictures by longest_edge and shortest_edge" in refusal(f"hf:{clip}?res=64x32")
    state(clip, "ConvNextImageProcessor", size={"shortest_edge": SIDE}, crop_pct=0.8)
    assert "comes out in 64x64 where 64x32 is wanted" in refusal(f"hf:{clip}?res=64x32")


def test_the_rest_of_a_size_that_the_patch_does_not_divide_is_dropped_as_the_model_does(clip: Path) -> None:
    side = {"height": 37, "width": 37}
    state(clip, size={"shortest_edge": 37}, crop_size=side)
    image = picture(61, 90)
    for typed in (f"hf:{clip}", f"hf:{clip}?res=32"):
        encoder = load(typed)
        assert encoder.spec.resolution == (32, 32)
        assert torch.equal(encoder.preprocess([image]), own(clip, image)[..., :32, :32])
    state(clip, size={"shortest_edge": 5}, crop_size={"height": 5, "width": 5})
    assert "5x5 are smaller than its 8-pixel patch" in refusal(f"hf:{clip}")
    assert load(f"hf:{clip}?res=16").preprocess([image]).shape[-2:] == (16, 16)


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("CLIPImageProcessor", {**CLIP, "do_center_crop": False}, "several sizes"),
        ("SiglipImageProcessor", {"size": CROP, "do_resize": False}, "several sizes"),
        ("DetrImageProcessor", {}, "several sizes"),
        ("CLIPImageProcessor", {**CLIP, "size": {"longest_edge": SIDE}}, "'shortest_edge' key"),
        ("MobileViTImageProcessor", {"size": {"shortest_edge": SIDE}, "crop_size": CROP}, "colours change"),
        ("CLIPImageProcessor", {**CLIP, "image_mean": None}, "image_mean"),
        ("CLIPImageProcessor", {**CLIP, "image_mean": "half"}, "preprocessor_config.json cannot be used"),
        ("CLIPImageProcessor", {**CLIP, "image_std": [0, 0, 0]}, "image_std is (0, 0, 0)"),
        ("DINOv3ViTImageProcessor", {"size": CROP, "do_rescale": False}, "should be a float tensor"),
        ("CLIPImageProcessor", {**CLIP, "size": {"height": -5, "width": 4}}, "greater than 0"),
        ("CLIPImageProcessor", {**CLIP, "resample": 99}, "KeyError: 99"),
        ("CLIPImageProcessor", {**CLIP, "do_normalize": "false"}, "do_normalize in its preprocessor_config.json"),
        ("NoSuchImageProcessor", {}, "names 'NoSuchImageProcessor', no image processor"),
    ],
)
def test_a_processor_that_cannot_be_honoured_is_refused_by_its_reason(
    clip: Path, kind: str, fields: dict[str, Any], says: str
) -> None:
    state(clip, kind, **fields)
    message = refusal(f"hf:{clip}")
    assert says in message
    assert "preprocessor_config.json" in message


def test_a_processor_inside_processor_config_counts(clip: Path) -> None:
    (clip / "preprocessor_config.json").unlink()
    body = {"image_processor_type": "CLIPImageProcessor", **CLIP, "resample": 2}
    (clip / "processor_config.json").write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    assert "no preprocessor_config.json" in refusal(f"hf:{clip}")
    (clip / "processor_config.json").write_text(json.dumps({"image_processor": body}))
    image = picture(61, 90)
    assert torch.equal(load(f"hf:{clip}").preprocess([image]), own(clip, image))
    (clip / "processor_config.json").write_text(json.dumps({"image_processor": [body]}))
    assert "image_processor in its processor_config.json is no object" in refusal(f"hf:{clip}")


GIVEN = "mean=0.1,0.2,0.3&std=0.4,0.5,0.6&interpolation=bilinear"


def stated(**fields: Any) -> Any:
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 2}
    return hf.CLIPImageProcessor(**CLIP, **values | fields)


def test_mean_std_and_interpolation_stand_in_for_a_missing_file(clip: Path) -> None:
    (clip / "preprocessor_config.json").unlink()
    assert "std= and interpolation= are not known" in refusal(f"hf:{clip}?mean=0.5")
    encoder = load(f"hf:{clip}?{GIVEN}")
    assert encoder.spec.resolution == (32, 32)  # the config's image_size
    for width, height in SIZES:
        image = picture(width, height)
        want = stated()(images=[image], return_tensors="pt")["pixel_values"]
        assert torch.equal(encoder.preprocess([image]), want)
    assert "as given, for want of a file" in encoder.facts["preprocessing"]
    assert load(f"hf:{clip}?{GIVEN}&res=48").preprocess([picture(61, 90)]).shape[-2:] == (48, 48)
    assert load(f"hf:{clip}?{GIVEN}&res=24x40").preprocess([picture(61, 90)]).shape[-2:] == (24, 40)


def test_without_file_and_image_size_the_size_has_to_be_said(written: dict[str, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(written["hf-siglip2"].folder, tmp_path / "naflex"))
    (folder / "preprocessor_config.json").unlink()
    assert "say the size, as in res=224" in refusal(f"hf:{folder}?{GIVEN}")
    assert load(f"hf:{folder}?{GIVEN}&res=24x40").spec.resolution == (24, 40)


def test_mean_std_and_interpolation_go_before_the_file(clip: Path) -> None:
    state(clip, **CLIP, do_normalize=False)
    image = picture(61, 90)
    want = stated()(images=[image], return_tensors="pt")["pixel_values"]
    plain, given = load(f"hf:{clip}"), load(f"hf:{clip}?{GIVEN}")
    assert torch.equal(given.preprocess([image]), want)
    assert not torch.equal(plain.preprocess([image]), want)
    assert plain.architecture_digest() != given.architecture_digest()
    bilinear = own(clip, image, resample=2)
    assert torch.equal(load(f"hf:{clip}?interpolation=bilinear").preprocess([image]), bilinear)


@pytest.mark.parametrize("name", ["timm-vit", "open_clip-vit", "rice"])
def test_mean_std_and_interpolation_serve_every_source(written: dict[str, Any], name: str) -> None:
    typed = written[name].typed
    plain, given = load(typed), load(f"{typed}?{GIVEN}")
    mean, std = torch.tensor([0.1, 0.2, 0.3])[:, None, None], torch.tensor([0.4, 0.5, 0.6])[:, None, None]
    pixels = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(given.normalize(pixels), (pixels - mean) / std)
    image = picture(427, 640)
    bicubic = load(f"{typed}?{GIVEN.replace('bilinear', 'bicubic')}").preprocess([image])
    assert (given.preprocess([image]) - bicubic).abs().max() > 0.01
    assert plain.architecture_digest() != given.architecture_digest()
    back = plain.normalize((bicubic * std + mean).clip(0, 1))
    torch.testing.assert_close(back, plain.preprocess([image]), atol=1e-5, rtol=1e-5)


def test_settings_that_a_source_cannot_follow_are_refused(written: dict[str, Any]) -> None:
    assert "leave out mean and std" in refusal("synthetic:noise?mean=0.5&std=0.5")
    assert "leave out interpolation" in refusal("synthetic:random-weights?interpolation=bicubic")
    assert "bicubic and bilinear" in refusal(f"{written['open_clip-vit'].typed}?interpolation=lanczos")


def test_our_own_recipe_cuts_as_the_processor_of_an_export(tmp_path: Path) -> None:
    save_rice(
        tmp_path,
        ViT(ViTConfig(width=16, depth=1, heads=2, patch=4, resolution=8)),
        tags={},
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    pixels = np.arange(360, dtype=np.int64).reshape(8, 15, 3).astype(np.uint8)
    shown = load(f"rice:{tmp_path}").preprocess([Image.fromarray(pixels)])[0].permute(1, 2, 0) * 255
    assert np.array_equal(shown.round().numpy(), pixels[:, 3:11])  # a margin of 7: three at the left


@pytest.mark.parametrize(
    ("changed", "size"),
    [
        ({"crop_pct": 0.875}, (61, 90)),
        ({"crop_mode": "border"}, (61, 90)),
        ({"crop_mode": "squash", "crop_pct": 0.9}, (61, 90)),
    ],
)
def test_timm_s_own_way_of_cutting(
    written: dict[str, Any], tmp_path: Path, changed: dict[str, Any], size: tuple[int, int]
) -> None:
    import timm

    folder = Path(shutil.copytree(written["timm-vit"].folder, tmp_path / "timm"))
    body = json.loads((folder / "config.json").read_text())
    body["pretrained_cfg"] |= changed
    (folder / "config.json").write_text(json.dumps(body))
    config = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{folder}"))
    assert changed.items() <= config.items()
    image = picture(*size)
    for query, hw in (("", (32, 32)), ("?res=40", (40, 40)), ("?res=24x40", (24, 40))):
        library = timm.data.create_transform(**config | {"input_size": (3, *hw)})
        assert torch.equal(load(f"timm:local-dir:{folder}{query}").preprocess([image])[0], library(image)), query


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_open_clip_s_own_ways_of_resizing(written: dict[str, Any], tmp_path: Path, mode: str) -> None:
    import open_clip

    folder = Path(shutil.copytree(written["open_clip-vit"].folder, tmp_path / "clip"))
    body = json.loads((folder / "open_clip_config.json").read_text())
    body["preprocess_cfg"] |= {"resize_mode": mode, "fill_color": 90}
    (folder / "open_clip_config.json").write_text(json.dumps(body))
    library = open_clip.create_model_and_transforms(f"local-dir:{folder}")[2]
    encoder = load(f"open_clip:local-dir:{folder}")
    for width, height in SIZES:
        image = picture(width, height)
        if mode == "longest" and 7 in (width, height):
            with pytest.raises(
                ImageError, match=f"cannot be resized by its encoder's library, {width}x{height} to 32x32"
            ):
                encoder.preprocess([image])
            continue
        assert torch.equal(encoder.preprocess([image])[0], library(image)), (width, height)
