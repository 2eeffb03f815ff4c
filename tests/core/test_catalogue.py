"""The catalogue: every row parses, names resolve, nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rice_core.catalogue import entries, resolve
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec

LIBRARY_MEAN = {"clip": 0.48145466, "imagenet": 0.485, "half": 0.5, "none": 0.0}


def test_rows_parse_and_ids_are_unique() -> None:
    ids = [entry.id for entry in entries()]
    assert len(set(ids)) == len(ids)
    for entry in entries():
        assert EncoderSpec.parse(entry.spec).shorthand == entry.spec
        if entry.patch and entry.resolution:
            assert entry.resolution % entry.patch == 0


def test_ids_become_display_names_and_settings_apply() -> None:
    spec = resolve("dinov2-l14?res=518&layers=-4,-1")
    assert (spec.title, spec.resolution, spec.layers) == ("dinov2-l14?res=518&layers=-4,-1", (518, 518), (-4, -1))
    assert resolve("dinov2-l14").identity() == EncoderSpec.parse("hf:facebook/dinov2-large").identity()
    assert resolve("mine=dinov2-l14?res=518").title == "mine"
    assert resolve("mine=hf:a/b?res=56").title == "mine"
    assert resolve(" hf:a/b ") == EncoderSpec.parse("hf:a/b")


def test_unknown_and_unreadable_ids() -> None:
    with pytest.raises(UserError, match=r"no encoder 'dinov2-l41'; did you mean dinov2-l14, .*list encoders"):
        resolve("dinov2-l41")
    with pytest.raises(UserError, match="cannot be loaded: it needs Python code"):
        resolve("onevision-encoder")
    with pytest.raises(UserError, match="no encoder ''"):
        resolve("")


@pytest.mark.parametrize("name", ["noise", "constant", "random-weights", "oracle", "mini-supervised"])
def test_the_controls_are_as_their_rows_say(name: str) -> None:
    (entry,) = (entry for entry in entries() if entry.id == name)
    encoder = load_encoder(resolve(name))
    assert encoder.spec.title == name
    assert (encoder.patch, encoder.spec.resolution) == (entry.patch, (entry.resolution, entry.resolution))


@pytest.mark.parametrize("entry", [e for e in entries() if e.source in ("timm", "open_clip")], ids=lambda e: e.id)
def test_rows_of_timm_and_open_clip_agree_with_the_libraries(entry) -> None:
    """Built without weights on the meta device, so that patch, size, prefix and mean are the library's own words."""
    import open_clip
    import timm
    import torch

    if entry.source == "open_clip":
        name, tag = entry.model.split("/")
        vision = open_clip.get_model_config(name)["vision_cfg"]
        facts = (vision["patch_size"], vision["image_size"], 1)
        mean = open_clip.get_pretrained_cfg(name, tag)["mean"][0]
    else:
        assert entry.model in timm.list_pretrained(entry.model.split(".")[0])
        with torch.device("meta"):
            model = timm.create_model(entry.model, num_classes=0, dynamic_img_size=True)
        facts = (model.patch_embed.patch_size[0], model.default_cfg["input_size"][1], model.num_prefix_tokens)
        mean = model.default_cfg["mean"][0]
    assert facts == (entry.patch, entry.resolution, entry.prefix)
    assert mean == pytest.approx(LIBRARY_MEAN[entry.mean_std])


def test_no_torch_is_imported() -> None:
    code = "import sys, rice_core.catalogue as c; c.resolve('noise'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
