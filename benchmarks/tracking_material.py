"""What the tracking benchmarks share: drawn videos, trackers that have learnt nothing, which cost what trained ones do, and the bare forward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import nn

from rice_core.datasets import KnownTrack, Track, Video
from rice_core.encoders.base import TorchEncoder
from rice_core.encoders.preprocess import Preprocess
from rice_core.encoders.rice import native_trunk
from rice_core.model.vit import ViT, ViTConfig
from rice_core.spec import EncoderSpec
from tracking.model import TrackerHead
from tracking.recipe import TrackerConfig
from tracking.tracker import ObjectTracker

SMALL = ViTConfig(width=96, depth=4, heads=3, patch=8, resolution=96)
"""An encoder that leaves room for what is beside it."""


def write_videos(folder: Path, lengths: Sequence[int], width: int, height: int) -> list[Video]:
    """A textured square over a textured background, in JPEG as data sets have it."""
    rng, videos = np.random.default_rng(0), []
    for k, length in enumerate(lengths):
        back = Image.fromarray(rng.integers(0, 255, (24, 40, 3), np.uint8)).resize((width, height))
        side = height // 6
        thing = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).resize((side, side))
        place = folder / f"{k}"
        place.mkdir(parents=True)
        paths, boxes = [], []
        for frame in range(length):
            shown, box = back.copy(), (width // 6 + 3 * frame, height // 3 + frame, side, side)
            shown.paste(thing, box[:2])
            paths.append(place / f"{frame:05d}.jpg")
            shown.save(paths[-1], quality=90)
            boxes.append(box)
        videos.append(Video(f"{k}", paths, KnownTrack(Track(np.array(boxes, float), np.zeros(length, bool)))))
    return videos


def untrained(
    shape: ViTConfig, config: TrackerConfig, device: torch.device | str, *, seed: int = 0, precision: str = "fp32"
) -> ObjectTracker:
    """A tracker on an encoder, both as they were drawn, but that it finds the object as large as it was."""
    torch.manual_seed(seed)
    preprocess = Preprocess(resolution=(shape.resolution, shape.resolution))
    spec = EncoderSpec.parse("synthetic:random-weights")
    encoder = TorchEncoder(spec, native_trunk(ViT(shape), preprocess, {})).to(device)
    head = TrackerHead(config, encoder.dim)
    # A box as large as the one before: else crops grow to many times the frame, and cutting them takes what no trained tracker's takes.
    share, last = 1 / config.search_factor, cast(Any, head.head.size[-1])
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, math.log(share / (1 - share)))
    return ObjectTracker(encoder, head.to(device).eval(), config, precision)


def bare_forward(tracker: ObjectTracker, crops: int, batch: int) -> None:
    """The encoder alone, over as many crops as are searched."""
    encoder, size = tracker.encoder, tracker.search_size
    device = encoder.device
    pixels_B3SS = torch.rand(batch, 3, size, size, device=device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=tracker.precision == "bf16"):
        for _ in range(0, crops, batch):
            encoder.encode(pixels_B3SS)
    if device.type == "cuda":
        torch.cuda.synchronize()
