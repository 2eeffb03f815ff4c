"""What the loop trains: a `Learner` makes one step of optimization, and names what a checkpoint has to hold of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, SupportsFloat, TypeVar

import torch

from rice_core.ranks import Ranks
from rice_core.record import Skipped
from rice_core.train.checkpoint import Checkpoints, Position, State


class MicroBatch(Protocol):
    """What the loop asks of a part of a step's batch; everything else in it is the learner's affair."""

    @property
    def skipped(self) -> Sequence[Skipped]:
        """What was left out since the part before."""

    @property
    def positions(self) -> Mapping[int, Position] | None:
        """Of each data stream, after this part; None where the data are a function of the step."""


B = TypeVar("B", bound=MicroBatch)
B_contra = TypeVar("B_contra", bound=MicroBatch, contravariant=True)


class NonFinite(Exception):
    """A loss or a gradient that is no number; no weight has moved. The message lists the step's statistics."""


@dataclass(frozen=True)
class StepOutcome:
    """What a step came to; tensors stay on the device until something is logged."""

    loss: float
    grad_norm: float
    """Before clipping."""
    stats: Mapping[str, SupportsFloat]

    def check(self, ranks: Ranks, *, finite: bool = True) -> None:
        """The rule for all trainings, to be called on every rank before weights move.

        Args:
            finite: whether all else that the learner looked at is.

        Raises:
            NonFinite: the loss or the gradient is NaN or infinite, on any rank; then on all.
        """
        if ranks.any(not (finite and math.isfinite(self.loss) and math.isfinite(self.grad_norm))):
            numbers = {"loss": self.loss, "gradient norm": self.grad_norm} | dict(self.stats)
            raise NonFinite(", ".join(f"{name} {float(value):.4g}" for name, value in numbers.items()))


class Learner(Protocol[B_contra]):
    """A network with its optimizer, spread over the ranks."""

    def step(self, parts: Sequence[B_contra], *, step: int, rate: float) -> StepOutcome:
        """One optimizer step over the parts of this rank's share of the batch.

        Args:
            step: number of the step, from 0: what it draws depends on it, or on torch's global generator, and on nothing else.

        Raises:
            NonFinite: by `StepOutcome.check`.
            UserError: it cannot be made, on any rank; then on all.
        """

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """All tensors of a checkpoint, by name, as they stand: writing into them restores. Sharded ones are DTensors."""

    def counts(self) -> dict[str, Any]:
        """The rest of it, as JSON: counts of steps, what the learner has noted."""

    def recount(self, counts: Mapping[str, Any]) -> None:
        """Take the counts of a checkpoint, and make room for the tensors that it holds; then `tensors()` is written into."""


L_co = TypeVar("L_co", bound=Learner[Any], covariant=True)


class Trainee(Generic[L_co]):
    """A learner with its checkpoints, and how far it is."""

    def __init__(self, learner: L_co, checkpoints: Checkpoints) -> None:
        self.learner, self.checkpoints = learner, checkpoints
        self.state: State | None = None
        """Of the checkpoint that it went on from."""
        self.done = 0
        """Steps made."""
        self.lost = False
        """Whether it failed beside one that goes on."""

    def resume(self) -> None:
        """Go on from the last sound checkpoint, where there is one, and where it has not happened yet.

        Raises:
            UserError: no checkpoint can be read, or it is another training's.
        """
        if self.state is not None or (state := self.checkpoints.newest()) is None:
            return
        self.learner.recount(state.counts)
        self.checkpoints.load(state, self.learner.tensors())
        self.state, self.done = state, state.step
