"""A training step of the detector (paper@2 at 512 pixels, paper-1024@2 at 1024; masks) over a frozen ViT-L/14."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from benchmarks.gpu.clock import Timing, forget_peak, milliseconds, peak_gib, waits
from probes.detection.backend import build_detector
from probes.detection.nouns import Target
from probes.detection.recipe import RECIPES, side_of
from rice_core.model.vit import PRESETS, ViT, ViTConfig


def measure(device: torch.device, *, tiny: bool) -> Timing:
    """Milliseconds of the encoder and of the head's step, and the peak memory of both together."""
    shape, images, sides, rounds = (
        (ViTConfig(width=32, depth=1, heads=2, patch=8, resolution=64), 2, (64, 96), 1)
        if tiny
        else (PRESETS["L/14"], 8, (512, 1024), 5)
    )
    claims, numbers = [], {}
    for wanted in sides:
        side = side_of(wanted, shape.patch)
        numbers[str(wanted)] = found = _step(device, shape, images, side, rounds, tiny=tiny)
        claims.append(
            f"{side} px, {images} images: {found['head_ms']:.0f} ms the head's step, {found['encoder_ms']:.0f} ms the encoder, "
            f"{found['detect_ms']:.0f} ms to detect; peak {found['peak_gib']} GiB; the host waits {found['head']['waits']} times a step and "
            f"{found['detect']['waits']} times to detect"
        )
    return Timing(claims, numbers)


def _step(device: torch.device, shape: ViTConfig, images: int, side: int, rounds: int, *, tiny: bool) -> dict[str, Any]:
    forget_peak(device)
    torch.manual_seed(0)
    vit = ViT(shape).to(device).eval()
    head = RECIPES["smoke" if tiny else "paper@2" if side < 1000 else "paper-1024@2"].head
    detector, _ = build_detector(head, channels=shape.width, classes=80, patch=shape.patch, masks=True, backend="ops")
    module = cast(nn.Module, detector).to(device).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5)
    pixels_B3SS = torch.rand(images, 3, side, side, device=device)
    targets, sizes = _targets(images, side, device), [(side, side)] * images
    amp = {"device_type": device.type, "dtype": torch.bfloat16, "enabled": not tiny}

    def encode() -> torch.Tensor:
        with torch.no_grad(), torch.autocast(**amp):
            return vit(pixels_B3SS)[0][:, 1:].float().transpose(1, 2).unflatten(2, (side // shape.patch, -1))

    tokens_BCTU = encode()

    def step() -> None:
        with torch.autocast(**amp):
            losses = detector.losses(tokens_BCTU, sizes, targets, torch.Generator(device).manual_seed(2))
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def detect() -> None:
        with torch.inference_mode(), torch.autocast(**amp):
            detector.detect(tokens_BCTU, sizes)

    found: dict[str, Any] = {"encoder_ms": milliseconds(encode, device, rounds=rounds)}
    found["head_ms"] = milliseconds(step, device, rounds=rounds)
    found["peak_gib"] = peak_gib(device)
    found["head"] = waits(step, device)
    module.eval()
    return found | {"detect_ms": milliseconds(detect, device, rounds=rounds), "detect": waits(detect, device)}


def _targets(images: int, side: int, device: torch.device) -> list[Target]:
    """Seven objects an image, each with a mask that fills its box."""
    rng = torch.Generator().manual_seed(1)
    targets = []
    for _ in range(images):
        corner_N2 = torch.rand(7, 2, generator=rng) * side * 0.6
        boxes_N4 = torch.cat([corner_N2, corner_N2 + side * 0.3], dim=1)
        masks_NHW = torch.zeros(7, side, side, dtype=torch.bool)
        for mask_HW, (left, top, right, bottom) in zip(masks_NHW, boxes_N4.int().tolist(), strict=True):
            mask_HW[top:bottom, left:right] = True
        targets.append(Target(boxes_N4.to(device), torch.arange(7, device=device), masks_NHW.to(device)))
    return targets
