"""mmengine's Runner for its hooks and its loop, without what is unsafe or global in it.

Of mmengine stay: Runner, Hook, the order of hooks by priority, and its words (an epoch is a leg here, an iteration an
optimizer step). Replaced, since version 0.10.7 is the last one: checkpoints (its own are pickles, and its resume fails on
torch >= 2.6), the set-up of processes (it crashes on hosts without a GPU), optimizer wrappers and schedulers (the learner and
`Training.rate` do both, under FSDP2 too), and loggers, message hubs and visualizers, which are one for all trainings of a process.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Generic

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from rice_core.disk.files import check_writable
from rice_core.errors import UserError, lacks_memory
from rice_core.ranks import Ranks
from rice_core.train.checkpoint import Position, State
from rice_core.train.learner import B, Learner, NonFinite, StepOutcome, Trainee
from rice_core.train.schedule import Leg

_log = logging.getLogger("ricebench.train")


@dataclass(frozen=True)
class Training(Generic[B]):
    """All parts of one training on one rank.

    Learners that are shown the same may be trained side by side: each ends as it would have alone, and joins in where its
    checkpoint is. The first one's failure ends the training; another that fails is left where it was. What they draw from
    torch's global generator is restored for one alone.
    """

    name: str
    folder: Path
    ranks: Ranks
    trainees: Sequence[Trainee[Learner[B]]]
    legs: Sequence[Leg]
    rate: Callable[[Leg, int], float]
    """(leg, step) -> learning rate."""
    open_loader: Callable[[Leg, int, Mapping[int, Position] | None], Generator[B]]
    """(leg, next step, where each data stream goes on; None for the beginning) -> micro-batches without end."""
    accumulate: int = 1
    """Micro-batches of a step."""
    advice: str = "lower the learning rate"
    """What to do where a loss is no number."""
    room: str = "use a smaller batch"
    """What to do where memory is full."""
    say: Callable[[str], None] = _log.warning
    reach: Callable[[int], None] | None = None
    """Told the steps done after each: a bar."""


@dataclass(frozen=True)
class Done:
    """A finished step, as hooks get it."""

    steps: int
    """Optimizer steps done, this one included."""
    leg: Leg
    rate: float
    outcome: StepOutcome
    """The first learner's of those that made it."""


class SafeRunner(Runner):  # type: ignore[misc]
    """Runs one training from its last sound checkpoint.

    Args:
        hooks: called in the order of their priorities, then as listed; `after_train` only when everything is done.

    Raises:
        StoreError: the folder cannot be written into.
    """

    iter = 0
    """The step being made, from 0, which rises after its hooks as in mmengine; after a leg, the steps done."""
    epoch = 0
    """The leg being made, from 0."""
    max_iters = 0
    """Steps of all legs."""

    def __init__(self, training: Training[Any], hooks: Sequence[Hook]) -> None:
        self.training, self.max_iters = training, training.legs[-1].end
        self.positions: dict[int, Position] | None = None
        self.stopping = False
        """Whether the ranks agreed to stop after this step."""
        self.stop_asked = False
        if training.ranks.leads:
            check_writable(training.folder)
        training.ranks.wait()
        none = dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"))
        super().__init__(
            training.trainees[0].learner,
            str(training.folder),
            default_hooks=none,
            custom_hooks=list(hooks),
            default_scope=None,
            experiment_name=training.name,
        )

    def train(self) -> bool:
        """Train to the end, or to the end of the step in which SIGINT or SIGTERM came; returns whether it is finished.

        Raises:
            UserError: a loss or a gradient is not finite, memory is full, or no checkpoint can be read or written.
        """
        with _flagging(self):
            self.call_hook("before_run")
            self.load_or_resume()
            self.call_hook("before_train")
            for leg in self.training.legs:
                if self.iter < leg.end and not self.stopping:
                    self._run_leg(leg)
            if not self.stopping:
                self.call_hook("after_train")
            self.call_hook("after_run")
        return not self.stopping

    def load_or_resume(self) -> None:
        """Go on from the last sound checkpoints, where there are any; with several, from the least of them."""
        own = self.training
        for trainee in own.trainees:
            with self.attempting(trainee):
                trainee.resume()
        least = min((each for each in own.trainees if not each.lost), key=lambda each: each.done)
        if (state := least.state) is None:
            return
        self.positions = dict(state.positions)
        self.iter = state.step
        if len(state.generators) == own.ranks.size:
            _set_generators(state.generators[own.ranks.rank], own.ranks.device)
        self.call_hook("after_load_checkpoint", checkpoint={"step": state.step})

    @contextlib.contextmanager
    def attempting(self, trainee: Trainee[Any]) -> Iterator[None]:
        """What is wrong with another than the first is told when its own turn comes."""
        try:
            yield
        except (UserError, NonFinite):
            if trainee is self.training.trainees[0]:
                raise
            trainee.lost = True

    def save_checkpoint(self, steps: int, *, ends_leg: bool) -> None:
        """Everything that the next step depends on, for each learner that made the last one."""
        own = self.training
        # Each rank knows how far its own streams are; the rest of its positions are from the last resume.
        mine = {s: p for s, p in (self.positions or {}).items() if s % own.ranks.size == own.ranks.rank}
        positions = {s: p for part in own.ranks.gather(mine) for s, p in part.items()}
        generators = tuple(own.ranks.gather(_generators(own.ranks.device)))
        for trainee in own.trainees:
            if trainee.done == steps and not trainee.lost:
                state = State(
                    step=steps,
                    ends_stage=ends_leg,
                    data=trainee.checkpoints.data,
                    positions=positions,
                    counts=trainee.learner.counts(),
                    generators=generators,
                )
                trainee.checkpoints.save(trainee.learner.tensors(), state)

    def _run_leg(self, leg: Leg) -> None:
        training = self.training
        self.epoch = leg.index
        self.call_hook("before_train_epoch")
        with contextlib.closing(training.open_loader(leg, self.iter, self.positions)) as batches:
            while self.iter < leg.end and not self.stopping:
                parts = [next(batches) for _ in range(training.accumulate)]
                self.call_hook("before_train_iter", batch_idx=self.iter, data_batch=parts)
                rate = training.rate(leg, self.iter)
                made = self._step(parts, leg, rate)
                self.positions = (self.positions or {}) | dict(parts[-1].positions or {})
                self.stopping = training.ranks.any(self.stop_asked)
                if made is not None:
                    done = Done(self.iter + 1, leg, rate, made)
                    self.call_hook("after_train_iter", batch_idx=self.iter, data_batch=parts, outputs=done)
                self.iter += 1
        self.call_hook("after_train_epoch")

    def _step(self, parts: list[Any], leg: Leg, rate: float) -> StepOutcome | None:
        """By all learners whose turn it is; None where it is nobody's, since others are ahead."""
        outcomes = []
        for trainee in self.training.trainees:
            if trainee.done == self.iter and not trainee.lost:
                with self._told(leg, trainee), self.attempting(trainee):
                    outcomes.append(trainee.learner.step(parts, step=self.iter, rate=rate))
                    trainee.done += 1
        return outcomes[0] if outcomes else None

    @contextlib.contextmanager
    def _told(self, leg: Leg, trainee: Trainee[Any]) -> Iterator[None]:
        """A failure, with the step and the checkpoint before it."""
        try:
            yield
            return
        except NonFinite as found:
            reason = f"the loss or a gradient is not finite ({found}); {self.training.advice}."
        except UserError as error:
            reason = str(error)
        except (MemoryError, RuntimeError) as error:
            if not (full := lacks_memory(error)):
                raise
            reason = f"{full}; {self.training.room}, and the same command goes on."
        last = trainee.checkpoints.last_written()
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        raise UserError(f"step {self.iter} of {leg.name}: {reason} The step was not made, and {kept}.")

    # What follows would set up processes, seeds, logs and files that all trainings of a process share.

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        self._rank, self._world_size, self._timestamp = self.training.ranks.rank, self.training.ranks.size, ""

    def build_logger(self, *_: object, **__: object) -> logging.Logger:
        return _log

    def build_model(self, model: Any) -> Any:
        return model

    def wrap_model(self, model_wrapper_cfg: object, model: Any) -> Any:
        return model

    def _nothing(self, *_: object, **__: object) -> None:
        pass

    set_randomness = build_message_hub = build_visualizer = _log_env = dump_config = _nothing


@contextlib.contextmanager
def _flagging(runner: SafeRunner) -> Iterator[None]:
    """SIGINT and SIGTERM ask the training to stop after the step; a second one ends the process as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        runner.stop_asked = True
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _generators(device: torch.device) -> dict[str, str]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return {name: state.numpy().tobytes().hex() for name, state in states.items()}


def _set_generators(states: dict[str, str], device: torch.device) -> None:
    found = {name: torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8) for name, text in states.items()}
    if "cpu" in found:
        torch.set_rng_state(found["cpu"])
    if device.type == "cuda" and "cuda" in found:
        torch.cuda.set_rng_state(found["cuda"], device)
