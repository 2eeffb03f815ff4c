"""DetectorLearner: one head in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

from probes.detection.loader import ViewBatch
from probes.detection.nouns import Detector, StepPart
from probes.detection.recipe import TrainingConfig
from probes.detection.tokens import Encoded
from rice_core.errors import UserError, lacks_memory
from rice_core.ranks import Ranks, reducing, spread
from rice_core.train.adam import Adam
from rice_core.train.checkpoint import checkpoints_below
from rice_core.train.learner import StepOutcome, Trainee

T = TypeVar("T")
_LINES = 200
"""Points of the loss curve."""


class DetectorLearner:
    """A detector with its optimizer; see `rice_core.train.learner.Learner`.

    Args:
        seed: of the anchors and regions that each step learns from.
        ranks: the ranks of the training.
        scale: of the loop's rate: heads that differ in their rate alone are trained side by side.
    """

    def __init__(
        self, detector: Detector, config: TrainingConfig, *, seed: int, ranks: Ranks, scale: float = 1.0
    ) -> None:
        self._config, self._seed, self._ranks, self._scale = config, seed, ranks, scale
        self._detector, self._module = detector, cast(nn.Module, detector)
        self._adam = Adam(self._module, rate=config.rate, weight_decay=config.weight_decay, clip=config.clip)
        self._spread = spread(_Losses(detector), [], ranks, "ddp")
        self.curve: list[dict[str, float]] = []
        """Now and then: iteration, rate, losses and their sum."""
        self.skipped: dict[str, str] = {}
        """Images left out, with the reasons."""

    def step(self, parts: Sequence[Encoded], *, step: int, rate: float) -> StepOutcome:
        """See `rice_core.train.learner.Learner`."""
        self._module.train()
        rate *= self._scale
        found: dict[str, torch.Tensor] = {}
        lessons = [None] if len(parts) == 1 else self._agreed(partial(self._lessons, parts, step))
        for number, (part, lesson) in enumerate(zip(parts, lessons, strict=True)):
            with reducing(self._spread, last=number == len(parts) - 1):
                losses = self._agreed(partial(self._losses, part, step, lesson))
                sum(losses.values()).backward()
            for name, loss in losses.items():
                found[name] = found.get(name, 0.0) + loss.detach()
        norm = self._adam.gradient_norm()
        # All in one, for a GPU is waited for with each number that is asked of it.
        *numbers, length = torch.stack([each.double() for each in (*found.values(), norm)]).tolist()
        values = dict(zip(found, numbers, strict=True))
        outcome = StepOutcome(sum(values.values()), length, values)
        outcome.check(self._ranks)
        self._adam.update(norm, rate)
        iterations = self._config.iterations
        if step % max(1, iterations // _LINES) == 0 or step + 1 == iterations:
            self.curve.append({"iteration": float(step), "rate": rate, **values, "loss": outcome.loss})
        return outcome

    def _lessons(self, parts: Sequence[Encoded], step: int) -> Sequence[Any]:
        """What each part learns from, so that the step learns what it would in one part."""
        # Masks are needed in none, and those of all parts at once may be what memory does not hold.
        shown = [_shown(part.tokens_BCTU, part.batch, masks=False) for part in parts]
        device = shown[0].tokens_BCTU.device
        with self._cast(device):
            return self._detector.lessons(shown, self._generator(device, step))

    def _losses(self, part: Encoded, step: int, lesson: Any) -> dict[str, torch.Tensor]:
        self.skipped |= {skip.item: skip.reason for skip in part.skipped}
        tokens_BCTU = part.tokens_BCTU
        generator = self._generator(tokens_BCTU.device, step)
        with self._cast(tokens_BCTU.device):
            return self._spread(tokens_BCTU, part.batch, generator, lesson)

    def _generator(self, device: torch.device, step: int) -> torch.Generator:
        # What is drawn depends on the step and the rank alone, so nothing of a generator need be kept.
        return torch.Generator(device).manual_seed(_seed(self._seed, step, 0, self._ranks.rank))

    def _cast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self._config.precision == "bf16")

    def _agreed(self, make: Callable[[], T]) -> T:
        """What this makes on every rank; where it fails on one, an error on all."""
        made: T | None = None
        error: Exception | None = None
        try:
            made = make()
        except UserError as refusal:
            error = refusal
        except (MemoryError, RuntimeError) as full:
            if not lacks_memory(full):
                raise
            # By its message alone: its traceback holds what filled the memory.
            error = torch.OutOfMemoryError(str(full))
        if self._ranks.any(error is not None):
            raise error or UserError("the detector's training failed on another rank.")
        return cast(T, made)

    def tensors(self) -> dict[str, torch.Tensor]:
        """See `rice_core.train.learner.Learner`."""
        return self._adam.tensors()

    def counts(self) -> dict[str, Any]:
        """See `rice_core.train.learner.Learner`."""
        return self._adam.counts() | {"curve": self.curve, "skipped": self.skipped}

    def recount(self, counts: Mapping[str, Any]) -> None:
        """See `rice_core.train.learner.Learner`."""
        self._adam.recount(counts)
        self.curve, self.skipped = list(counts["curve"]), dict(counts["skipped"])


def trainee(
    detector: Detector, config: TrainingConfig, *, seed: int, folder: Path, ranks: Ranks, scale: float = 1.0
) -> Trainee[DetectorLearner]:
    """A head that goes on from `folder`/checkpoints, which belong to a folder of this name wherever it lies.

    Args:
        scale: of the rate, as of `DetectorLearner`.
    """
    return Trainee(
        DetectorLearner(detector, config, seed=seed, ranks=ranks, scale=scale), checkpoints_below(folder, ranks)
    )


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Losses(nn.Module):
    """The detector's losses as a forward pass, for DDP."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self, tokens_BCTU: torch.Tensor, batch: ViewBatch, generator: torch.Generator, lesson: Any
    ) -> dict[str, torch.Tensor]:
        shown = _shown(tokens_BCTU, batch, masks=True)
        return self.detector.losses(shown.tokens_BCTU, shown.sizes_hw, shown.targets, generator, lesson)


def _shown(tokens_BCTU: torch.Tensor, batch: ViewBatch, *, masks: bool) -> StepPart:
    """With the truth on the device of the tokens."""
    to = partial(torch.Tensor.to, device=tokens_BCTU.device, non_blocking=True)
    targets = [example.target if masks else replace(example.target, masks_NHW=None) for example in batch.examples]
    # The padding of a training view counts as background to learn, as in detectron2.
    sizes_hw = [(example.placing.side, example.placing.side) for example in batch.examples]
    return StepPart(tokens_BCTU, sizes_hw, [target.moved(to) for target in targets])
