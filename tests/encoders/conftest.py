"""Tiny random checkpoints of every family, written by the libraries' own savers and named by the string a user would type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
import transformers as hf
from open_clip.push_to_hf_hub import save_for_hf as save_open_clip
from safetensors.torch import load_file
from timm.models import save_for_hf as save_timm

from rice_core.encoders.rice import save_rice
from rice_core.model.vit import ViT, ViTConfig

PATCH, SIDE, WIDTH, DEPTH = 8, 32, 32, 3
VISION = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 64}
HIDDEN = {"intermediate_size": 48}
Reference = Callable[[torch.Tensor], list[torch.Tensor]]
"""Model space (B, 3, H, W) -> last hidden tokens with prefix as the library gives them, then the raw blocks if it shows them."""


@dataclass(frozen=True)
class Case:
    """One checkpoint and what its configuration promises."""

    prefix: int
    cls: bool
    save: Callable[[Path], None]
    source: str = "hf"
    """How the string begins; the folder follows."""
    multires: bool = True
    side: int = SIDE
    patch: int = PATCH
    dim: int = WIDTH
    depth: int = DEPTH
    reference: Callable[[Path], Reference] | None = None
    reference_resizes: bool = True
    processor: Callable[[Path], Callable[[Any], torch.Tensor]] | None = None
    """The library's own preprocessing of one image."""


def _hf(
    kind: str,
    config: Any,
    processor: Any,
    *,
    prefix: int,
    cls: bool,
    whole: str = "",
    resizes: bool = True,
    options: dict[str, Any] | None = None,
    **inputs: Any,
) -> Case:
    options = options or {}

    def save(folder: Path) -> None:
        _randomise(getattr(hf, whole or kind)(config)).save_pretrained(folder)
        processor.save_pretrained(folder)

    def reference(folder: Path) -> Reference:
        # AIMv2's tower does not find its keys in a whole checkpoint by itself.
        # Masked BEiT's own class takes the norm on top of the tower for the tower's (transformers 5.23).
        name = kind if whole == "BeitForMaskedImageModeling" else whole or kind
        found: Any = getattr(hf, name).from_pretrained(folder, **options)
        inside = "vision_model" if hasattr(found, "vision_model") else found.base_model_prefix
        model = (getattr(found, inside) if name == whole else found).eval()

        def run(pixels: torch.Tensor) -> list[torch.Tensor]:
            given = _naflex_inputs(pixels) if kind == "Siglip2VisionModel" else {"pixel_values": pixels}
            out = model(**given, **inputs, output_hidden_states=True)
            tokens = [out.last_hidden_state, *out.hidden_states[1:]]
            return [_unshuffled(each, out.ids_restore) for each in tokens] if kind == "ViTMAEModel" else tokens

        return run

    def preprocess(folder: Path) -> Callable[[Any], torch.Tensor]:
        own = hf.AutoImageProcessor.from_pretrained(folder)
        return lambda image: own(images=[image], return_tensors="pt")["pixel_values"]

    return Case(prefix, cls, save, reference=reference, reference_resizes=resizes, processor=preprocess)


def _unshuffled(tokens_BTC: torch.Tensor, ids_restore_BT: torch.Tensor) -> torch.Tensor:
    """MAE's own way back from the random order in which its encoder saw the patches."""
    index_BTC = ids_restore_BT[..., None].expand(-1, -1, tokens_BTC.shape[2])
    return torch.cat([tokens_BTC[:, :1], tokens_BTC[:, 1:].gather(1, index_BTC)], dim=1)


def _naflex_inputs(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

    B, h, w = len(pixels), pixels.shape[2] // PATCH, pixels.shape[3] // PATCH
    return {
        "pixel_values": torch.stack([convert_image_to_patches(image, PATCH) for image in pixels]),
        "pixel_attention_mask": torch.ones(B, h * w, dtype=torch.long),
        "spatial_shapes": torch.tensor([[h, w]] * B),
    }


def _randomise(model: torch.nn.Module) -> Any:
    """Norms start at one and biases at zero; noise on every weight makes a lost or swapped one visible."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return model.eval()


def _timm(prefix: int, cls: bool, name: str, **arguments: Any) -> Case:
    arguments = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": 2} | arguments

    def save(folder: Path) -> None:
        model = _randomise(
            timm.create_model(name, num_classes=0, pretrained_cfg_overlay={"input_size": (3, SIDE, SIDE)}, **arguments)
        )
        save_timm(model, str(folder), model_args=arguments, safe_serialization=True)

    def reference(folder: Path) -> Reference:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0, dynamic_img_size=True).eval()

        def run(pixels: torch.Tensor) -> list[torch.Tensor]:
            raw = model.forward_intermediates(
                pixels, norm=False, output_fmt="NLC", intermediates_only=True, return_prefix_tokens=True
            )
            return [
                model.forward_features(pixels),
                *(torch.cat([r[1], r[0]], 1) if isinstance(r, tuple) else r for r in raw),
            ]

        return run

    def preprocess(folder: Path) -> Callable[[Any], torch.Tensor]:
        model = timm.create_model(f"local-dir:{folder}")
        own = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
        return lambda image: own(image)[None]

    return Case(prefix, cls, save, "timm:local-dir", reference=reference, processor=preprocess)


class _NoTokenizer:
    def save_pretrained(self, folder: Path) -> None:
        """open_clip's saver wants one; an image tower needs none."""


def _open_clip(prefix: int, cls: bool, vision: dict[str, Any], **facts: Any) -> Case:
    side = facts.get("side", SIDE)
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 1, "layers": 1}
    body = {"embed_dim": 16, "vision_cfg": {"image_size": side, **vision}, "text_cfg": text}
    recipe = {"size": side, "mean": (0.4, 0.5, 0.6), "std": (0.3, 0.2, 0.1), "interpolation": "bicubic"}

    def save(folder: Path) -> None:
        borrowed = "timm_model_name" in vision
        model = _randomise((open_clip.CustomTextCLIP if borrowed else open_clip.CLIP)(**body))
        open_clip.model.set_model_preprocess_cfg(
            model, recipe | {"mode": "RGB", "resize_mode": "shortest", "fill_color": 0}
        )
        config = body | ({"custom_text": True} if borrowed else {})
        save_open_clip(model, _NoTokenizer(), config, str(folder), safe_serialization=True)

    def reference(folder: Path) -> Reference:
        def run(pixels: torch.Tensor) -> list[torch.Tensor]:
            size = tuple(pixels.shape[-2:])
            tower = open_clip.create_model(f"local-dir:{folder}", force_image_size=size).visual.eval()
            options = {"output_fmt": "NLC", "intermediates_only": True, "output_extra_tokens": True}
            normed, raw = (
                tower.forward_intermediates(pixels, normalize_intermediates=norm, **options) for norm in (True, False)
            )
            joined = [
                [
                    torch.cat(pair, 1)
                    for pair in zip(out["image_intermediates_prefix"], out["image_intermediates"], strict=True)
                ]
                for out in (normed, raw)
            ]
            return [joined[0][-1], *joined[1]]

        return run

    def preprocess(folder: Path) -> Callable[[Any], torch.Tensor]:
        own = open_clip.create_model_and_transforms(f"local-dir:{folder}")[2]
        return lambda image: own(image)[None]

    return Case(prefix, cls, save, "open_clip:local-dir", reference=reference, processor=preprocess, **facts)


def _rice() -> Case:
    config = ViTConfig(width=WIDTH, depth=DEPTH, heads=2, patch=PATCH, resolution=SIDE)

    def save(folder: Path) -> None:
        save_rice(folder, _randomise(ViT(config)), tags={"objective": "none"})

    def reference(folder: Path) -> Reference:
        vit = ViT(config)
        vit.load_state_dict(load_file(folder / "encoder.safetensors"))
        return lambda pixels: [vit(pixels)[0], *vit(pixels, layers=range(DEPTH))]

    return Case(1, True, save, "rice", reference=reference)


def _clip_processor(**other: Any) -> Any:
    return hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, **other)


def _cases() -> dict[str, Case]:
    crop, squash = _clip_processor(), hf.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    dino = hf.BitImageProcessor(
        size={"shortest_edge": 36},
        crop_size={"height": SIDE, "width": SIDE},
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    naflex = hf.Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=(SIDE // PATCH) ** 2)
    dinov3 = hf.DINOv3ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    flag = {"interpolate_pos_encoding": True}
    clip, siglip = VISION | HIDDEN, VISION | HIDDEN
    naflex_vision = {key: value for key, value in VISION.items() if key != "image_size"} | HIDDEN | {"num_patches": 16}
    dinov2 = VISION | {"mlp_ratio": 2}
    return {
        "hf-mlcd": _hf("MLCDVisionModel", hf.MLCDVisionConfig(**clip), crop, prefix=1, cls=True),
        "hf-clip": _hf("CLIPVisionModel", hf.CLIPVisionConfig(**clip), crop, prefix=1, cls=True, **flag),
        "hf-clip-whole": _hf(
            "CLIPVisionModel",
            hf.CLIPConfig(text_config=TEXT, vision_config=clip),
            crop,
            prefix=1,
            cls=True,
            whole="CLIPModel",
            **flag,
        ),
        "hf-siglip": _hf("SiglipVisionModel", hf.SiglipVisionConfig(**siglip), squash, prefix=0, cls=False, **flag),
        "hf-siglip-whole": _hf(
            "SiglipVisionModel",
            hf.SiglipConfig(text_config=TEXT, vision_config=siglip),
            squash,
            prefix=0,
            cls=False,
            whole="SiglipModel",
            **flag,
        ),
        "hf-siglip2": _hf("Siglip2VisionModel", hf.Siglip2VisionConfig(**naflex_vision), naflex, prefix=0, cls=False),
        "hf-siglip2-whole": _hf(
            "Siglip2VisionModel",
            hf.Siglip2Config(text_config=TEXT, vision_config=naflex_vision),
            naflex,
            prefix=0,
            cls=False,
            whole="Siglip2Model",
        ),
        "hf-dinov2": _hf("Dinov2Model", hf.Dinov2Config(**dinov2), dino, prefix=1, cls=True),
        "hf-dinov2-registers": _hf(
            "Dinov2WithRegistersModel",
            hf.Dinov2WithRegistersConfig(**dinov2, num_register_tokens=4),
            dino,
            prefix=5,
            cls=True,
        ),
        "hf-dinov3": _hf(
            "DINOv3ViTModel", hf.DINOv3ViTConfig(**VISION, **HIDDEN, num_register_tokens=3), dinov3, prefix=4, cls=True
        ),
        "hf-aimv2": _hf(
            "Aimv2VisionModel", hf.Aimv2VisionConfig(**VISION, **HIDDEN), crop, prefix=0, cls=False, resizes=False
        ),
        "hf-aimv2-native": _hf(
            "Aimv2VisionModel", hf.Aimv2VisionConfig(**VISION, **HIDDEN, is_native=True), crop, prefix=0, cls=False
        ),
        "hf-aimv2-whole": _hf(
            "Aimv2VisionModel",
            hf.Aimv2Config(text_config=TEXT, vision_config=VISION | HIDDEN),
            crop,
            prefix=0,
            cls=False,
            whole="Aimv2Model",
            resizes=False,
        ),
        **_plain_vits(flag),
        "timm-vit": _timm(5, True, "vit_tiny_patch16_224", reg_tokens=4),
        "timm-siglip": _timm(0, False, "vit_base_patch16_siglip_224"),
        "timm-dinov3": _timm(5, True, "vit_small_patch16_dinov3"),
        "open_clip-vit": _open_clip(1, True, {"layers": DEPTH, "width": WIDTH, "head_width": 16, "patch_size": PATCH}),
        "open_clip-timm": _open_clip(
            1,
            True,
            {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear"},
            multires=False,
            side=160,
            patch=16,
            dim=64,
            depth=6,
        ),
        "rice": _rice(),
    }


def _plain_vits(flag: dict[str, bool]) -> dict[str, Case]:
    """ViT and its relatives: the tower alone, or under a head."""
    vit = VISION | HIDDEN
    squash = hf.ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    decoder = {f"decoder_{key}": value for key, value in (vit | {"hidden_size": 16}).items() if "size" not in key[:6]}
    mae = hf.ViTMAEConfig(**vit, **decoder)
    relative = vit | {"use_relative_position_bias": True, "use_mean_pooling": False}
    shared = vit | {"use_shared_relative_position_bias": True, "use_mean_pooling": False, "use_mask_token": True}
    absolute = vit | {"use_absolute_position_embeddings": True, "use_mean_pooling": False}

    def head(tower: str, kind: str, config: Any, prefix: int = 1, **other: Any) -> Case:
        return _hf(tower, config, squash, prefix=prefix, cls=prefix > 0, whole=kind, **other)

    return {
        "hf-vit": _hf("ViTModel", hf.ViTConfig(**vit), squash, prefix=1, cls=True, **flag),
        "hf-vit-head": head("ViTModel", "ViTForImageClassification", hf.ViTConfig(**vit), **flag),
        "hf-deit": head("DeiTModel", "DeiTForImageClassificationWithTeacher", hf.DeiTConfig(**vit), 2, **flag),
        "hf-msn": _hf("ViTMSNModel", hf.ViTMSNConfig(**vit), squash, prefix=1, cls=True, **flag),
        "hf-mae": _hf("ViTMAEModel", mae, squash, prefix=1, cls=True, options={"mask_ratio": 0.0}, **flag),
        "hf-mae-decoder": head("ViTMAEModel", "ViTMAEForPreTraining", mae, options={"mask_ratio": 0.0}, **flag),
        "hf-ijepa": _hf("IJepaModel", hf.IJepaConfig(**vit), squash, prefix=0, cls=False, **flag),
        "hf-beit": _hf("BeitModel", hf.BeitConfig(**absolute), squash, prefix=1, cls=True),
        "hf-beit-head": head("BeitModel", "BeitForImageClassification", hf.BeitConfig(**relative)),
        "hf-beit-masked": head("BeitModel", "BeitForMaskedImageModeling", hf.BeitConfig(**shared)),
        "hf-data2vec": _hf("Data2VecVisionModel", hf.Data2VecVisionConfig(**relative), squash, prefix=1, cls=True),
    }


@dataclass(frozen=True)
class Checkpoint:
    """A case written to disk."""

    name: str
    case: Case
    folder: Path

    @property
    def typed(self) -> str:
        """What a user would type."""
        return f"{self.case.source}:{self.folder}"

    def pixels(self, h: int, w: int, batch: int = 2) -> torch.Tensor:
        """Random images of h x w patches, in model space."""
        size = (batch, 3, h * self.case.patch, w * self.case.patch)
        return torch.randn(size, generator=torch.Generator().manual_seed(h * 100 + w))


CASES = _cases()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """Every case, on disk."""
    root = tmp_path_factory.mktemp("checkpoints")
    out = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, case in CASES.items():
            (root / name).mkdir()
            case.save(root / name)
            out[name] = Checkpoint(name, case, root / name)
    return out


@pytest.fixture(params=sorted(CASES))
def checkpoint(request: pytest.FixtureRequest, written: dict[str, Checkpoint]) -> Checkpoint:
    return written[request.param]
