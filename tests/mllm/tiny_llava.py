"""A model of a few thousand weights, from random ones, and questions to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image

from mllm.llava.batch import CutImage, LlavaBatch, collated
from mllm.llava.mini_tokenizer import ROWS
from mllm.llava.model import Llava
from mllm.llava.packing import Anyres, Square
from mllm.llava.vision import VisionTower
from rice_core.encoders import load_encoder
from rice_core.features import Encoder
from rice_core.spec import EncoderSpec

SIDE, PATCH, WIDTH = 28, 7, 32
CLIP = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}
QWEN = {
    "vocab_size": ROWS,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "eos_token_id": None,
    "bos_token_id": None,
}
ANYRES = Anyres(SIDE, PATCH)
SQUARE = Square(SIDE, PATCH, "pad")


def shaken(model: Any, seed: int) -> Any:
    """Norms start at one and biases at zero; noise on every weight makes a lost or swapped one visible."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def clip_encoder(folder: Path) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shaken(hf.CLIPVisionModel(hf.CLIPVisionConfig(**CLIP)), 0).save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)
    return load_encoder(EncoderSpec.parse(f"hf:{folder}"))


def qwen(seed: int = 1) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return shaken(hf.AutoModelForCausalLM.from_config(hf.Qwen2Config(**QWEN)), seed)


def tiny_llava(encoder: Encoder) -> Llava:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return Llava(VisionTower(encoder), qwen()).eval()


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def picture(model: Llava, image: Image.Image, cut: Anyres | Square = ANYRES) -> CutImage:
    return CutImage(cut.tiles(image, model.tower.recipe), cut.plan(image.height, image.width))


def batch_of(
    samples: list[tuple[list[int], list[int], list[CutImage]]], side: Any = "right", padding: int = 0
) -> LlavaBatch:
    """Of (ids, labels, pictures)."""
    ids, labels, pictures = zip(*samples, strict=True)
    return collated(ids, pictures, labels=labels, padding=padding, side=side)
