"""torch.compile of the trunk's blocks (`compile: true`): the same losses, and what a step takes."""

from __future__ import annotations

import time
from functools import partial

import torch

from benchmarks.gpu.clock import Timing, idle, milliseconds
from benchmarks.gpu.trainings import TINY, batch_of, configured, learner_of
from rice_core.rice.batch import Batch
from rice_core.rice.learner import RegionLearner


def measure(device: torch.device, *, tiny: bool) -> Timing:
    """A step with and without; a tiny run compiles nothing, since that takes a compiler and a minute."""
    if tiny:
        with torch.compiler.set_stance("force_eager"):
            return _measure(device, tiny=True)
    return _measure(device, tiny=False)


def _measure(device: torch.device, *, tiny: bool) -> Timing:
    vit, side, images, classes, rounds = (TINY, 32, 4, 100, 1) if tiny else ("B/16", 224, 128, 10_000, 10)
    found, losses = {}, {}
    for name, compile in (("eager", False), ("compiled", True)):
        config = configured(
            vit, resolution=side, batch=images, steps=100, precision="fp32" if tiny else "bf16", compile=compile
        )
        learner, batch = learner_of(config, device, classes=classes), batch_of(config, classes=classes)
        began = time.perf_counter()
        losses[name] = learner.step([batch], step=0, rate=1e-4).loss
        idle(device)
        found[f"{name}_first_s"] = round(time.perf_counter() - began, 2)
        found[f"{name}_ms"] = milliseconds(partial(_step, learner, batch), device, rounds=rounds)
    difference = abs(losses["compiled"] - losses["eager"]) / abs(losses["eager"])
    if difference > 0.02:
        raise RuntimeError(f"the first loss is {losses['compiled']} compiled and {losses['eager']} eager")
    return Timing(
        claims=[
            f"a step of {images} images, {vit if isinstance(vit, str) else 'tiny'} at {side} px: "
            f"{found['compiled_ms']:.0f} ms compiled, {found['eager_ms']:.0f} ms eager "
            f"({found['eager_ms'] / found['compiled_ms']:.2f}x); the first compiled step takes {found['compiled_first_s']} s; "
            f"first losses differ by {difference:.1e}" + (" (nothing is compiled in a tiny run)" if tiny else "")
        ],
        numbers=found | {"first_loss_differs_by": difference},
    )


def _step(learner: RegionLearner, batch: Batch) -> None:
    learner.step([batch], step=1, rate=1e-4)
