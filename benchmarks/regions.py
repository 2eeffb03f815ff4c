"""Ten regions an image in one pass, against the plain training step and against one crop a region.

    python -m benchmarks regions

A step is forward and backward of the trunk with a mean-square loss on what the objective would read: the class token for
the plain step, every region's embedding for the others. Crops are encoded at the model's own resolution, one class token
each, as RegionCLIP-like pipelines do. On a CPU the small ViT runs; on a GPU B/16 in bfloat16. FLOPs are counted, not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import alternate, keep, machine, median, ratio
from rice_core.model.regions import RegionViT
from rice_core.model.vit import PRESETS, ViT

REGIONS = 10


def main() -> None:
    """Measure at the size that the machine can take."""
    before = machine()
    cuda = torch.cuda.is_available()
    preset, batch, rounds = ("B/16", 64, 30) if cuda else ("S/16", 4, 12)
    body = _measure(preset, batch, rounds, "cuda" if cuda else "cpu")
    flops = {name: _flops(name) for name in PRESETS}
    claims = [
        f"{preset}, {batch} images, {REGIONS} regions: step {body['regions_over_plain']['wall']:.2f}x the plain one "
        f"(goal 1.05; CPU seconds {body['regions_over_plain']['cpu']:.2f}x), one crop a region "
        f"{body['crops_over_plain']['wall']:.1f}x",
        "FLOPs of a forward pass over the plain one (goal 1.02): "
        + ", ".join(f"{name} {value['regions']:.4f}" for name, value in flops.items()),
    ]
    keep("regions", claims, {"device": "cuda" if cuda else "cpu", **body, "flops": flops}, before)


def _measure(preset: str, batch: int, rounds: int, device: str) -> dict[str, Any]:
    torch.manual_seed(0)
    config = PRESETS[preset]
    model = RegionViT(ViT(config)).to(device).train()
    images = torch.randn(batch, 3, config.resolution, config.resolution, device=device)
    # One image's crops at a time: all at once would only be slower for want of cache.
    crops = torch.randn(REGIONS, 3, config.resolution, config.resolution, device=device)
    visible = torch.rand(batch, REGIONS, (config.resolution // config.patch) ** 2, device=device) < 0.2

    def step(read: Callable[[], torch.Tensor]) -> None:
        model.zero_grad(set_to_none=True)
        # Without bfloat16 units a CPU emulates it, eight times slower than float32.
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = read().float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        if device == "cuda":
            torch.cuda.synchronize()

    def plain() -> None:
        step(lambda: model(images).cls_BD)

    def regions() -> None:
        step(lambda: model(images, visible).regions_BND)

    def cropped() -> None:
        for _ in range(batch):
            step(lambda: model(crops).cls_BD)

    for call in (plain, regions):
        call()
    laps = alternate([plain, regions], rounds)
    crop_laps = alternate([plain, cropped], max(2, rounds // 6))
    return {
        "model": preset,
        "batch": batch,
        "rounds": rounds,
        "plain_seconds": round(median(laps[0]), 4),
        "regions_over_plain": ratio(laps[1], laps[0]),
        "crops_over_plain": ratio(crop_laps[1], crop_laps[0]),
    }


def _flops(preset: str) -> dict[str, float]:
    config = PRESETS[preset]
    with torch.device("meta"):
        model = RegionViT(ViT(config), layers=4 if config.depth >= 24 else 2)
        images = torch.empty(1, 3, config.resolution, config.resolution)
        visible = torch.empty(1, REGIONS, (config.resolution // config.patch) ** 2, dtype=torch.bool)
    counts = []
    for seen in (None, visible):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images, seen)
        counts.append(counter.get_total_flops())
    return {"gflop_plain": round(counts[0] / 1e9, 3), "regions": round(counts[1] / counts[0], 4)}
