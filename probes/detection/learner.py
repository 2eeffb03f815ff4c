"""One head in training: its weights, its optimizer, and its state on disk.

FOLDER/head.safetensors   weights, both moments of AdamW, and what is needed to go on; replaced as a whole
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from probes.detection.loader import Batch
from probes.detection.nouns import Detector, Target
from probes.detection.recipe import TrainingConfig
from rice_core.disk.sealed import Damaged, Unsealed, key_of, seal_arrays, unseal_arrays
from rice_core.disk.temporaries import beside
from rice_core.errors import StoreError, UserError
from rice_core.ranks import Ranks, reducing, spread

HEAD = "head.safetensors"
_SAVES = 20
"""Checkpoints over a training: at most a twentieth of it is lost."""
_LINES = 200
"""Points of the loss curve."""


class Learner:
    """A detector that is trained from the checkpoint of `folder` on, where there is one.

    Args:
        seed: of the anchors and regions that each step learns from.
        ranks: the ranks of the training.

    Raises:
        UserError: the checkpoint cannot be read.
    """

    def __init__(self, detector: Detector, config: TrainingConfig, *, seed: int, folder: Path, ranks: Ranks) -> None:
        self._config, self._seed, self._ranks = config, seed, ranks
        self._module = cast(nn.Module, detector)
        optimizer = torch.optim.AdamW(_groups(self._module, config.weight_decay), lr=config.rate)
        self._state = _State(folder / HEAD, self._module, optimizer)
        self.done, self.curve, self.skipped = self._state.load()
        """Steps made; now and then their iteration, rate, losses and sum of losses; images left out, with the reasons."""
        self._spread = spread(_Losses(detector), [], ranks, "ddp")
        self._module.train()
        self._found: dict[str, torch.Tensor] = {}

    def learn(self, tokens_BCTU: torch.Tensor, batch: Batch, part: int) -> None:
        """Add the gradient of the `part`-th part of this step's batch.

        Raises:
            UserError: the detector refuses, on any rank; then on all.
        """
        config, device = self._config, tokens_BCTU.device
        self.skipped |= {skip.item: skip.reason for skip in batch.skipped}
        with reducing(self._spread, last=part == config.accumulate - 1):
            # What is drawn depends on the step and the rank alone, so nothing of a generator need be kept.
            generator = torch.Generator(device).manual_seed(_seed(self._seed, self.done, part, self._ranks.rank))
            losses, error = dict[str, torch.Tensor](), None
            try:
                with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                    losses = self._spread(tokens_BCTU, batch, generator)
            except UserError as refusal:
                error = refusal
            if self._ranks.any(error is not None):
                raise error or UserError(f"the detector's training failed on another rank at step {self.done}.")
            (sum(losses.values()) / config.accumulate).backward()
        for name, loss in losses.items():
            self._found[name] = self._found.get(name, 0.0) + loss.detach() / config.accumulate

    def step(self) -> None:
        """Step, and keep the state now and then.

        Raises:
            UserError: a loss or gradient is no number.
            StoreError: the checkpoint cannot be written.
        """
        config, iteration = self._config, self.done
        rate = rate_at(config, iteration)
        for group in self._state.optimizer.param_groups:
            group["lr"] = rate
        _step(self._module, self._state.optimizer, config.clip, self._found, iteration, self._ranks)
        self.done = iteration + 1
        last = self.done == config.iterations
        if iteration % max(1, config.iterations // _LINES) == 0 or last:
            values = {name: float(loss) for name, loss in self._found.items()}
            self.curve.append({"iteration": float(iteration), "rate": rate, **values, "loss": sum(values.values())})
        self._found = {}
        if self._ranks.leads and (self.done % max(1, config.iterations // _SAVES) == 0 or last):
            self._state.save(self.done, self.curve, self.skipped, last=last)


def rate_at(config: TrainingConfig, iteration: int) -> float:
    """Linear warm-up, then a tenth at each drop."""
    warm = min(1.0, (iteration + 1) / (config.warm_up + 1))
    fallen = sum(iteration >= share * config.iterations for share in config.drops)
    return config.rate * warm * math.pow(0.1, fallen)


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
        sizes_hw = [(example.placing.side, example.placing.side) for example in batch.examples]
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
    ranks: Ranks,
) -> None:
    finite = all(bool(loss.isfinite()) for loss in losses.values())
    norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    if ranks.any(not (finite and bool(norm.isfinite()))):
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

    def save(self, steps: int, curve: list[dict[str, float]], skipped: dict[str, str], *, last: bool) -> None:
        """Replace the file as a whole; after the `last` step the moments are left out, since none will follow."""
        tensors = {f"weight.{name}": value.detach() for name, value in self.module.named_parameters()}
        for name, parameter in self.module.named_parameters() if not last else ():
            for slot, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{slot}.{name}"] = value.detach()
        tensors = {name: value.contiguous().cpu() for name, value in tensors.items()}
        arrays = {name: value.numpy() for name, value in tensors.items()}
        notes = {"steps": steps, "curve": curve, "skipped": skipped}
        temporary = beside(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, temporary, metadata=seal_arrays(key_of(self.path), arrays, notes))
            os.replace(temporary, self.path)  # noqa: PTH105 - says what it does
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StoreError(
                f"{self.path.parent} cannot take the detector's checkpoint ({error}); free some space."
            ) from error

    def load(self) -> tuple[int, list[dict[str, float]], dict[str, str]]:
        """Steps that are done, their curve, and what was left out.

        Raises:
            UserError: the file is damaged, or the state of another training.
        """
        if not self.path.is_file():
            return 0, [], {}
        try:
            with safe_open(self.path, "pt") as file:
                about = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            notes = unseal_arrays(key_of(self.path), {name: value.numpy() for name, value in tensors.items()}, about)
            steps, curve, skipped = (notes[name] for name in ("steps", "curve", "skipped"))
            with torch.no_grad():
                for name, parameter in self.module.named_parameters():
                    parameter.copy_(tensors.pop(f"weight.{name}"))
                    slots = {slot: tensors.get(f"{slot}.{name}") for slot in ("step", "exp_avg", "exp_avg_sq")}
                    if all(value is not None for value in slots.values()):
                        self.optimizer.state[parameter] = {
                            slot: cast(torch.Tensor, value).to(parameter.device if slot != "step" else "cpu")
                            for slot, value in slots.items()
                        }
        except Unsealed:  # of an earlier version, whose code made other numbers
            return 0, [], {}
        except (SafetensorError, Damaged, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self.path} cannot be gone on with ({' '.join(str(error).split())[:100]}); remove it to begin again."
            ) from None
        return int(steps), curve, skipped
