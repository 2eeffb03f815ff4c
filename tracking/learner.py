"""TrackerLearner: one tracker in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rice_core.errors import UserError, lacks_memory
from rice_core.ranks import Ranks, reducing, spread
from rice_core.record import Skipped
from rice_core.train.adam import Adam
from rice_core.train.checkpoint import checkpoints_below
from rice_core.train.learner import StepOutcome, Trainee
from tracking.loader import Crops, PairBatch
from tracking.losses import tracking_losses
from tracking.model import TrackerHead
from tracking.recipe import LearningConfig

_LINES = 200
"""Points of the loss curve."""


class EncodedPairs:
    """A part of a step's pairs, whose tokens are computed once, when the first tracker asks for them.

    Args:
        tokens: of crops (B, C, T, T), without a graph.
    """

    positions = None

    def __init__(self, batch: PairBatch, tokens: Callable[[Crops], torch.Tensor]) -> None:
        self.batch, self._tokens = batch, tokens

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out since the part before."""
        return self.batch.skipped

    @cached_property
    def tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of template and search crops, by one pass of the encoder each: the two know nothing of each other.

        Raises:
            UserError: they are not finite.
        """
        return self._tokens(self.batch.template), self._tokens(self.batch.search)


class TrackerLearner:
    """A tracker with its optimizer; see `rice_core.train.learner.Learner`.

    Args:
        seed: of the paths that are dropped. ranks: of the training.
    """

    def __init__(self, head: TrackerHead, config: LearningConfig, *, seed: int, ranks: Ranks) -> None:
        self._config, self._seed, self._ranks, self._head = config, seed, ranks, head
        self._adam = Adam(head, rate=config.rate, weight_decay=config.weight_decay, clip=config.clip)
        self._spread = spread(_Losses(head, config), [], ranks, "ddp")
        self.curve: list[dict[str, float]] = []
        """Now and then: step, rate, losses and their sum, and how many draws came to nothing so far."""
        self.skipped: dict[str, str] = {}
        """What was left out, with the reasons."""
        self._redrawn = 0

    def step(self, parts: Sequence[EncodedPairs], *, step: int, rate: float) -> StepOutcome:
        """See `rice_core.train.learner.Learner`."""
        self._head.train()
        found: dict[str, torch.Tensor] = {}
        for number, part in enumerate(parts):
            with reducing(self._spread, last=number == len(parts) - 1):
                losses = self._losses(part, step, number)
                torch.autograd.backward(torch.stack([*losses.values()]).sum() / len(parts))
            for name, loss in losses.items():
                found[name] = found.get(name, 0.0) + loss.detach() / len(parts)
        norm = self._adam.gradient_norm()
        # All in one, for a GPU is waited for with each number that is asked of it.
        *numbers, length = torch.stack([each.double() for each in (*found.values(), norm)]).tolist()
        values = dict(zip(found, numbers, strict=True))
        outcome = StepOutcome(sum(values.values()), length, values)
        outcome.check(self._ranks)
        self._adam.update(norm, rate)
        self._note(parts, outcome, step, rate)
        return outcome

    def _note(self, parts: Sequence[EncodedPairs], outcome: StepOutcome, step: int, rate: float) -> None:
        self.skipped |= {skip.item: skip.reason for part in parts for skip in part.skipped}
        self._redrawn += sum(part.batch.redrawn for part in parts)
        steps = self._config.steps
        if step % max(1, steps // _LINES) == 0 or step + 1 == steps:
            redrawn = self._ranks.total([float(self._redrawn)])[0]
            told = {"step": step, "rate": rate, **outcome.stats, "loss": outcome.loss, "redrawn": redrawn}
            self.curve.append({name: float(value) for name, value in told.items()})

    def _losses(self, part: EncodedPairs, step: int, number: int) -> dict[str, torch.Tensor]:
        losses = dict[str, torch.Tensor]()
        error: Exception | None = None
        try:
            template_BCTT, search_BCSS = part.tokens
            # What is drawn depends on the step and the part alone, whichever rank it is on.
            torch.manual_seed(_seed(self._seed, step, number * self._ranks.size + self._ranks.rank))
            with torch.autocast(search_BCSS.device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
                losses = self._spread(template_BCTT, search_BCSS, part.batch)
        except UserError as refusal:
            error = refusal
        except (MemoryError, RuntimeError) as full:
            if not lacks_memory(full):
                raise
            # By its message alone: its traceback holds what filled the memory.
            error = torch.OutOfMemoryError(str(full))
        if self._ranks.any(error is not None):
            raise error or UserError("the tracker's training failed on another rank.")
        return losses

    def tensors(self) -> dict[str, torch.Tensor]:
        """See `rice_core.train.learner.Learner`; the statistics of batch norms are among them."""
        return self._adam.tensors()

    def counts(self) -> dict[str, Any]:
        """See `rice_core.train.learner.Learner`; of what was left out and drawn again, that of all ranks."""
        skipped = {item: reason for each in self._ranks.gather(self.skipped) for item, reason in each.items()}
        redrawn = sum(self._ranks.gather(self._redrawn))
        return self._adam.counts() | {"curve": self.curve, "skipped": skipped, "redrawn": redrawn}

    def recount(self, counts: Mapping[str, Any]) -> None:
        """See `rice_core.train.learner.Learner`."""
        self._adam.recount(counts)
        self.curve, self.skipped = list(counts["curve"]), dict(counts["skipped"])
        self._redrawn = int(counts["redrawn"]) if self._ranks.leads else 0


def trainee(
    head: TrackerHead, config: LearningConfig, *, seed: int, folder: Path, ranks: Ranks
) -> Trainee[TrackerLearner]:
    """A tracker that goes on from `folder`/checkpoints, which belong to a folder of this name wherever it lies."""
    return Trainee(TrackerLearner(head, config, seed=seed, ranks=ranks), checkpoints_below(folder, ranks))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Losses(nn.Module):
    """The tracker's losses as a forward pass, for DDP."""

    def __init__(self, head: TrackerHead, config: LearningConfig) -> None:
        super().__init__()
        self.head, self._config = head, config

    def forward(
        self, template_BCTT: torch.Tensor, search_BCSS: torch.Tensor, batch: PairBatch
    ) -> dict[str, torch.Tensor]:
        device = search_BCSS.device
        foreground_BTT = batch.foreground_BTT.to(device, non_blocking=True)
        maps = self.head(self.head.template(template_BCTT, foreground_BTT), search_BCSS)
        return tracking_losses(maps, batch.boxes_B4.to(device, non_blocking=True), self._config)
