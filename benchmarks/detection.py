"""Detection: `python -m benchmarks detection`.

A training step of the head against the frozen encoder's bare forward over the same images. The head on torchvision's operators
against detectron2's modules, a step of the same inputs and draws, where detectron2 imports (PYTHONPATH).
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from benchmarks.measuring import Lap, alternate, keep, machine, median, ratio
from probes.detection.backend import build_detector
from probes.detection.nouns import Detector, Target
from probes.detection.recipe import RECIPES
from rice_core.encoders import load_encoder
from rice_core.spec import EncoderSpec


def main() -> None:
    """Measure both."""
    before = machine()
    torch.set_num_threads(1)
    step = _steps()
    claims = [
        f"a training step of recipe mini is {step['step_over_forward']['cpu']:.1f}x the encoder's bare forward (CPU time)",
    ]
    if "ops_over_detectron2" in step:
        claims.append(
            f"a step on torchvision's operators takes {step['ops_over_detectron2']['cpu']:.2f}x detectron2's (CPU time)"
        )
    keep("detection", claims, {"step": step}, before)


def _steps() -> dict[str, Any]:
    recipe = RECIPES["mini"]
    encoder = load_encoder(EncoderSpec.parse("synthetic:random-weights"))
    batch, side = recipe.training.batch, recipe.training.side
    pixels = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return encoder.encode(encoder.normalize(pixels)).dense_BCHW

    tokens = forward()
    calls: dict[str, Callable[[], object]] = {"forward": forward}
    for backend in ("ops", "detectron2") if importlib.util.find_spec("detectron2") else ("ops",):
        torch.manual_seed(0)
        detector, _ = build_detector(
            recipe.head, channels=encoder.dim, classes=48, patch=encoder.patch, masks=True, backend=backend
        )
        calls[backend] = _stepper(detector, tokens, side)
    for call in calls.values():
        call()
    laps: dict[str, list[Lap]] = dict(zip(calls, alternate(list(calls.values()), 7), strict=True))
    found: dict[str, Any] = {
        "images_per_second": round(batch / median(laps["ops"]), 2),
        "forward_s": round(statistics.median(lap.cpu for lap in laps["forward"]), 4),
        "step_over_forward": ratio(laps["ops"], laps["forward"]),
    }
    if "detectron2" in laps:
        found["ops_over_detectron2"] = ratio(laps["ops"], laps["detectron2"])
    return found


def _stepper(detector: Detector, tokens: torch.Tensor, side: int) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(cast(nn.Module, detector).parameters(), lr=1e-4)
    rng = torch.Generator().manual_seed(1)
    corners = torch.rand(len(tokens), 4, 2, generator=rng) * (side - 40)
    masks = torch.ones(4, side, side, dtype=torch.bool)
    targets = [Target(torch.cat([corner, corner + 30], dim=1), torch.arange(4), masks) for corner in corners]

    def step() -> None:
        losses = detector.losses(tokens, [(side, side)] * len(tokens), targets, torch.Generator().manual_seed(2))
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
