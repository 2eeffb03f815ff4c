"""Train a detector over a frozen encoder. Stopped at any moment, the same call goes on and ends with the same weights.

FOLDER/head.safetensors   weights, both moments of AdamW, and what is needed to go on; replaced as a whole
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from probes.detection.annotations import TruthImage
from probes.detection.loader import Batch, training_batches
from probes.detection.nouns import Detector, Target
from probes.detection.recipe import TrainingConfig
from rice_core.errors import StoreError, UserError
from rice_core.features import Encoder, Informed
from rice_core.record import Skipped
from rice_core.train.parallel import World, reducing, spread

HEAD = "head.safetensors"
_SAVES = 20
"""Checkpoints over a training: at most a twentieth of it is lost."""
_LINES = 200
"""Points of the loss curve."""


class Progress(Protocol):
    """As `Work.progress`."""

    def __call__(self, sequence: Sequence[int], what: str) -> Iterator[int]: ...


@dataclass(frozen=True)
class Trained:
    """What came of a training beside the detector's weights."""

    curve: list[dict[str, float]]
    """iteration, rate, each loss and their sum, now and then."""
    skipped: tuple[Skipped, ...]


def train(
    encoder: Encoder,
    detector: Detector,
    images: Sequence[TruthImage],
    config: TrainingConfig,
    *,
    masks: bool,
    seed: int,
    folder: Path,
    progress: Progress,
    what: str,
    workers: int = 0,
    world: World | None = None,
) -> Trained:
    """Train in place, from the checkpoint of `folder` on where there is one.

    Args:
        masks: whether the detector learns masks.
        what: how the progress bar calls it.
        world: the ranks of the training; None is this process alone.

    Raises:
        UserError: a loss is no number, the features are not finite, no image can be read, or the batch does not divide.
        StoreError: the checkpoint cannot be written.
    """
    world = world or World(0, 1, encoder.device)
    side = side_of(config.side, encoder.patch)
    module = cast(nn.Module, detector)
    optimizer = torch.optim.AdamW(_groups(module, config.weight_decay), lr=config.rate)
    state = _State(folder / HEAD, module, optimizer)
    first, curve = state.load()
    batches = training_batches(
        images,
        config,
        side=side,
        masks=masks,
        told=isinstance(encoder, Informed),
        seed=seed,
        first=first,
        rank=world.rank,
        world=world.size,
        workers=workers,
    )
    spread_out = spread(_Losses(detector), [], world, "ddp")
    module.train()
    skipped: dict[str, Skipped] = {}
    every, line = max(1, config.iterations // _SAVES), max(1, config.iterations // _LINES)
    for iteration in progress(range(first, config.iterations), what):
        rate = rate_at(config, iteration)
        for group in optimizer.param_groups:
            group["lr"] = rate
        found: dict[str, torch.Tensor] = {}
        for part in range(config.accumulate):
            batch = next(batches)
            skipped |= {skip.item: skip for skip in batch.skipped}
            with reducing(spread_out, last=part == config.accumulate - 1):
                # What is drawn depends on the step and the rank alone, so nothing of a generator need be kept.
                generator = torch.Generator(encoder.device).manual_seed(_seed(seed, iteration, part, world.rank))
                tokens_BCTU = tokens_of(encoder, batch, config.precision)
                with torch.autocast(encoder.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                    losses = spread_out(tokens_BCTU, batch, generator)
                (sum(losses.values()) / config.accumulate).backward()
            found = {name: found.get(name, 0.0) + loss.detach() / config.accumulate for name, loss in losses.items()}
        _step(module, optimizer, config.clip, found, iteration, world)
        if iteration % line == 0 or iteration == config.iterations - 1:
            values = {name: float(loss) for name, loss in found.items()}
            curve.append({"iteration": float(iteration), "rate": rate, **values, "loss": sum(values.values())})
        if world.leads and ((iteration + 1) % every == 0 or iteration == config.iterations - 1):
            state.save(iteration + 1, curve)
    module.eval()
    return Trained(curve, tuple(skipped.values()))


def side_of(side: int, patch: int) -> int:
    """The multiple of the patch that is nearest to `side` pixels, at least one patch."""
    return max(1, round(side / patch)) * patch


def rate_at(config: TrainingConfig, iteration: int) -> float:
    """Linear warm-up, then a tenth at each drop."""
    warm = min(1.0, (iteration + 1) / (config.warm_up + 1))
    fallen = sum(iteration >= share * config.iterations for share in config.drops)
    return config.rate * warm * math.pow(0.1, fallen)


def tokens_of(encoder: Encoder, batch: Batch, precision: str) -> torch.Tensor:
    """The frozen encoder's patch grid (B, C, T, U), float32, without a graph.

    Raises:
        UserError: it is not finite.
    """
    if isinstance(encoder, Informed):
        encoder.observe([example.truth for example in batch.examples if example.truth is not None])
    device = encoder.device
    # Not inference_mode: the head's backward pass keeps what is computed here.
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        pixels_B3SS = batch.pixels_B3SS.to(device, non_blocking=True).float() / 255
        tokens_BCTU = encoder.encode(encoder.normalize(pixels_B3SS)).dense_BCHW.float()
    if not tokens_BCTU.isfinite().all():
        finite = tokens_BCTU.isfinite().flatten(1).all(1).tolist()
        bad = batch.examples[finite.index(False)].image.sample.id
        raise UserError(f"{encoder.spec.title} gives NaN or infinite features for {bad}; try ?dtype=fp32.")
    return tokens_BCTU


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Losses(nn.Module):
    """The detector's losses as a forward pass, for DDP."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, tokens_BCTU: torch.Tensor, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        device = tokens_BCTU.device
        targets = [_on(example.target, device) for example in batch.examples]
        # The padding of a training view counts as background to learn, as in detectron2.
        sizes_hw = [example.pixels_SS3.shape[:2] for example in batch.examples]
        return self.detector.losses(tokens_BCTU, sizes_hw, targets, generator)


def _on(target: Target, device: torch.device) -> Target:
    masks = None if target.masks_NHW is None else target.masks_NHW.to(device)
    return Target(target.boxes_N4.to(device), target.labels_N.to(device), masks)


def _groups(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels alone."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    clip: float | None,
    losses: dict[str, torch.Tensor],
    iteration: int,
    world: World,
) -> None:
    finite = all(bool(loss.isfinite()) for loss in losses.values())
    norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    if world.any(not (finite and bool(norm.isfinite()))):
        said = ", ".join(f"{name} {float(loss):.4g}" for name, loss in losses.items())
        raise UserError(f"the detector's loss is no number at step {iteration} ({said}); try a smaller rate=.")
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(module.parameters(), clip, norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@dataclass(frozen=True)
class _State:
    """One file with everything, so that no kill can leave two halves of different steps."""

    path: Path
    module: nn.Module
    optimizer: torch.optim.AdamW

    def save(self, steps: int, curve: list[dict[str, float]]) -> None:
        tensors = {f"weight.{name}": value.detach() for name, value in self.module.named_parameters()}
        for name, parameter in self.module.named_parameters():
            for slot, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{slot}.{name}"] = value.detach()
        about = {"steps": json.dumps(steps), "curve": json.dumps(curve)}
        temporary = self.path.with_name(f".{HEAD}.{secrets.token_hex(4)}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, temporary, metadata=about)
            os.replace(temporary, self.path)  # noqa: PTH105 - says what it does
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise StoreError(
                f"{self.path.parent} cannot take the detector's checkpoint ({error}); free some space."
            ) from error

    def load(self) -> tuple[int, list[dict[str, float]]]:
        """Steps that are done, and their curve; a file that cannot be read is as none."""
        if not self.path.is_file():
            return 0, []
        try:
            with safe_open(self.path, "pt") as file:
                about = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            steps, curve = int(json.loads(about["steps"])), json.loads(about["curve"])
            with torch.no_grad():
                for name, parameter in self.module.named_parameters():
                    parameter.copy_(tensors.pop(f"weight.{name}"))
                    slots = {slot: tensors.get(f"{slot}.{name}") for slot in ("step", "exp_avg", "exp_avg_sq")}
                    if all(value is not None for value in slots.values()):
                        self.optimizer.state[parameter] = {
                            slot: cast(torch.Tensor, value).to(parameter.device if slot != "step" else "cpu")
                            for slot, value in slots.items()
                        }
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self.path} cannot be gone on with ({' '.join(str(error).split())[:100]}); remove it to begin again."
            ) from None
        return steps, curve
