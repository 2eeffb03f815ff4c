"""A RICE training step (10 regions an image, K = 1M classes, rho = 0.1) against the plain step of the same trunk, in bf16.

The plain step is forward, backward, clipping and AdamW of the trunk on its class token, over the same images: no regions, no
banks. What RICE adds is the region tokens, the loss and the rows' optimizer; drawing the negatives is work of the CPU and is
also measured by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gpu.clock import Timing, forget_peak, milliseconds, peak_gib
from benchmarks.gpu.trainings import TINY, batch_of, configured, learner_of
from rice_core.model.vit import ViT
from rice_core.rice.batch import Batch
from rice_core.rice.config import TrainConfig


def measure(device: torch.device, *, tiny: bool) -> Timing:
    """Milliseconds and peak memory of both."""
    vit, side, images, classes, rounds = (TINY, 32, 4, 100, 1) if tiny else ("L/14", 224, 64, 1_000_000, 8)
    config = configured(vit, resolution=side, batch=images, steps=100, precision="fp32" if tiny else "bf16")
    batch = batch_of(config, classes=classes)

    forget_peak(device)
    plain = _plain(config, batch, device)
    plain_ms, plain_gib = milliseconds(plain, device, rounds=rounds), peak_gib(device)
    del plain

    learner = learner_of(config, device, classes=classes)
    forget_peak(device)
    steps = iter(range(10**9))

    def rice() -> None:
        learner.step([batch], step=next(steps), rate=1e-4)

    rice_ms, rice_gib = milliseconds(rice, device, rounds=rounds), peak_gib(device)
    bank = learner.banks["object"]
    labels = batch.labels_BNM.flatten(0, 1).to(device)
    sampling = milliseconds(lambda: bank.sample(config.objective.loss, labels, step=next(steps)), device, rounds=rounds)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    tf32_ms = milliseconds(rice, device, rounds=rounds)
    torch.set_float32_matmul_precision(before)
    return Timing(
        claims=[
            f"a step of {images} images, {vit if isinstance(vit, str) else 'tiny'} at {side} px, 10 regions, K = {classes:,}: "
            f"{rice_ms:.0f} ms, plain {plain_ms:.0f} ms, {rice_ms / plain_ms:.2f}x; "
            f"peak {rice_gib} GiB, plain {plain_gib} GiB; "
            f"drawing the negatives {sampling:.0f} ms of it; {tf32_ms:.0f} ms with TF32 in the loss"
        ],
        numbers={
            "images": images,
            "classes": classes,
            "rice_ms": rice_ms,
            "plain_ms": plain_ms,
            "ratio": round(rice_ms / plain_ms, 3),
            "rice_peak_gib": rice_gib,
            "plain_peak_gib": plain_gib,
            "sampling_ms": sampling,
            "rice_with_tf32_ms": tf32_ms,
        },
    )


def _plain(config: TrainConfig, batch: Batch, device: torch.device) -> Callable[[], None]:
    vit = ViT(config.model.trunk).to(device)
    optimizer = torch.optim.AdamW(vit.parameters(), lr=1e-4)
    mean, std = (torch.tensor(value, device=device)[:, None, None] for value in (config.mean, config.std))

    def step() -> None:
        pixels_B3HW = (batch.pixels_B3HW.to(device).float() / 255 - mean) / std
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            cls_BD = vit.pool(vit(pixels_B3HW)[0])
        cls_BD.float().square().mean().backward()
        torch.nn.utils.clip_grad_norm_(vit.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
