"""Providers that run transformers' models, with tiny random weights built from configurations: no hub, no download."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from rice_core.encoders.rice import save_rice
from rice_core.errors import UserError
from rice_core.model.vit import ViT, ViTConfig
from rice_core.rice.curate import curate
from rice_core.rice.curate.encoder_features import EncoderFeatures
from rice_core.rice.curate.nouns import DecodedImage, SourceImage
from rice_core.rice.curate.pp_ocr import PpOcr
from rice_core.rice.curate.providers import proposer, spotter
from rice_core.rice.curate.sam import Sam


@pytest.fixture(scope="module")
def picture() -> DecodedImage:
    pixels = np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8)
    return DecodedImage(SourceImage("a.png", Path("a.png")), Image.fromarray(pixels))


def tiny_sam(folder: Path) -> None:
    from transformers import SamConfig, SamImageProcessor, SamModel

    vision = {"hidden_size": 16, "output_channels": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 64, "patch_size": 8, "mlp_dim": 16, "window_size": 0, "global_attn_indexes": [0]}
    heads = {"hidden_size": 8, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    heads |= {"iou_head_depth": 2, "iou_head_hidden_dim": 8, "attention_downsample_rate": 1}
    prompts = {"hidden_size": 8, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
    config = SamConfig(
        vision_config=vision | {"num_pos_feats": 4}, prompt_encoder_config=prompts, mask_decoder_config=heads
    )
    SamModel(config).save_pretrained(folder)
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    sizes |= {"mask_size": {"longest_edge": 16}, "mask_pad_size": {"height": 16, "width": 16}}
    SamImageProcessor(**sizes).save_pretrained(folder)


def tiny_sam2(folder: Path) -> None:
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model

    trunk = {"model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [64, 64]}
    trunk |= {"blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64]}
    trunk |= {"num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 4, 4, 2]}
    trunk |= {"global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4]}
    vision = {"backbone_config": trunk, "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 32}
    vision |= {"backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}
    heads = {"hidden_size": 32, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    heads |= {"iou_head_depth": 2, "iou_head_hidden_dim": 8, "attention_downsample_rate": 1}
    prompts = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    Sam2Model(
        Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=heads)
    ).save_pretrained(folder)
    Sam2ImageProcessor(size={"height": 64, "width": 64}, mask_size={"height": 16, "width": 16}).save_pretrained(folder)


@pytest.mark.parametrize(("family", "make"), [("sam", tiny_sam), ("sam2", tiny_sam2)])
def test_masks_become_proposals(family: str, make: Any, picture: DecodedImage, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make(tmp_path)
    sam = proposer(f"{family}:{tmp_path}", "cpu")
    assert isinstance(sam, Sam)
    assert len(sam.version) == 12
    # Random weights are sure of nothing: with the published thresholds there may be no mask at all.
    sam._generate = partial(sam._generate, pred_iou_thresh=-99.0, stability_score_thresh=-1.0, points_per_crop=4)
    proposals = sam.propose(picture)
    assert proposals
    assert [p.score for p in proposals] == sorted((p.score for p in proposals), reverse=True)
    for proposal in proposals:
        x, y, w, h = coco_mask.toBbox(proposal.rle)
        assert (x, y, x + w, y + h) == proposal.box
        assert proposal.rle is not None
        assert proposal.rle["size"] == [80, 100]


def tiny_pp_ocr(folder: Path) -> str:
    from transformers import (
        PPOCRV5MobileDetConfig,
        PPOCRV5MobileDetForObjectDetection,
        PPOCRV5MobileRecConfig,
        PPOCRV5MobileRecForTextRecognition,
        PPOCRV5ServerDetImageProcessor,
        PPOCRV5ServerRecImageProcessor,
    )

    PPOCRV5MobileDetForObjectDetection(PPOCRV5MobileDetConfig()).save_pretrained(folder / "find")
    PPOCRV5ServerDetImageProcessor(limit_side_len=96).save_pretrained(folder / "find")
    # Five stages of one block (kernel, in, out, stride, squeeze); 48 rows shrink to the three that the head expects.
    blocks = [[[3, 16, 16, stride, False]] for stride in (1, 2, 2, 2, 1)]
    trunk = {"model_type": "pp_lcnet_v3", "block_configs": blocks, "out_features": ["stage5"]}
    config = PPOCRV5MobileRecConfig(backbone_config=trunk, hidden_size=16, num_attention_heads=2, head_out_channels=5)
    model = PPOCRV5MobileRecForTextRecognition(config)
    (head,) = (m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 5)
    head.bias.data[0] = -100.0  # never the blank, so that something is read
    model.save_pretrained(folder / "read")
    PPOCRV5ServerRecImageProcessor(character_list=["", "a", "b", "c", " "]).save_pretrained(folder / "read")
    return f"pp-ocr:{folder / 'find'}+{folder / 'read'}"


def test_pp_ocr_finds_and_reads(picture: DecodedImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    reader = spotter(tiny_pp_ocr(tmp_path), "cpu")
    assert isinstance(reader, PpOcr)
    assert all(line.box[2] > line.box[0] for line in reader.spot(picture))
    # Random weights find no line: two are put where a detector would, one of them half outside.
    put = [{"boxes": torch.tensor([[-20, 50, 60, 70], [10, 10, 90, 30]], dtype=torch.int16)}]
    monkeypatch.setattr(reader._find_pixels, "post_process_object_detection", lambda *_, **__: put)
    lines = reader.spot(picture)
    assert [line.box for line in lines] == [(10, 10, 90, 30), (0, 50, 60, 70)]
    assert all(set(line.text) <= set("abc ") and 0 < (line.score or 0) <= 1 for line in lines)


@pytest.mark.parametrize("text", ["sam:nowhere/at/all", "sam2:nowhere/at/all"])
def test_a_model_that_is_not_there(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="cannot be loaded"):
        proposer(text, "cpu")


def test_pp_ocr_wants_two_models() -> None:
    with pytest.raises(UserError, match=r"DETECTOR\+READER"):
        spotter("pp-ocr:one", "cpu")


def test_crops_are_padded_to_squares() -> None:
    encoder = EncoderFeatures("synthetic:random-weights", device="cpu")
    image = Image.new("RGB", (300, 200), "red")
    crop = encoder.crop(image, (10.0, 20.0, 250.0, 80.0))
    assert crop.size == (96, 96)
    pixels = np.asarray(crop)
    assert pixels[48, 48].tolist() == [255, 0, 0]
    assert pixels[5, 48].tolist() == pixels[90, 48].tolist() == [127, 127, 127]
    small = encoder.crop(image, (0.0, 0.0, 8.0, 8.0))
    assert small.size == (8, 8)


def test_an_encoder_clusters_regions(world: Path, tmp_path: Path, settings: Any, quiet: Any) -> None:
    wanted = settings(features="synthetic:random-weights", text="none", classes=20, limit=40)
    manifest = curate(world, tmp_path, wanted, progress=quiet)
    assert manifest.providers["featurizer"].startswith("synthetic:random-weights")
    assert manifest.quality["purity"] > manifest.quality["purity_shuffled"]


def test_another_encoder_at_the_same_place_is_another_featurizer(world: Path) -> None:
    one, other = (EncoderFeatures(f"same=synthetic:random-weights/{seed}", device="cpu") for seed in (0, 1))
    assert one.version != other.version


def test_the_same_weights_shown_other_pixels_are_another_featurizer(tmp_path: Path) -> None:
    vit = ViT(ViTConfig(width=16, depth=1, heads=2, patch=4, resolution=8))
    versions = []
    for mean in ((0.5, 0.5, 0.5), (0.4, 0.5, 0.5)):
        save_rice(tmp_path, vit, tags={}, mean=mean)
        versions.append(EncoderFeatures(f"rice:{tmp_path}", device="cpu").version)
    assert versions[0] != versions[1]


def test_batches_do_not_change_features() -> None:
    encoder = EncoderFeatures("synthetic:random-weights", device="cpu")
    noise = np.random.default_rng(1).integers(0, 255, (70, 40, 40, 3), dtype=np.uint8)
    crops = [Image.fromarray(pixels) for pixels in noise]
    together = encoder.describe(crops)
    np.testing.assert_allclose(together[65:67], encoder.describe(crops[65:67]), atol=1e-4)
