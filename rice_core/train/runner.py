"""mmengine's Runner for its hooks and its loop, without what is unsafe or global in it.

Of mmengine stay: Runner, BaseLoop, Hook, the order of hooks by priority, and its words (an epoch is a leg here, an iteration
an optimizer step). Replaced, since version 0.10.7 is the last one: checkpoints (its own are pickles, and its resume fails on
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
from mmengine.runner.base_loop import BaseLoop

from rice_core.disk.files import check_writable
from rice_core.errors import UserError
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
        hooks: called in the order of their priorities, then as listed.

    Raises:
        StoreError: the folder cannot be written into.
    """

    def __init__(self, training: Training[Any], hooks: Sequence[Hook]) -> None:
        self.training = training
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
            UserError: a loss or a gradient is not finite, or no checkpoint can be read or written.
        """
        self._train_loop = LegLoop(self)
        with _flagging(self):
            self.call_hook("before_run")
            self.load_or_resume()
            self._train_loop.run()
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
        self._train_loop.goto(state.step)
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

    # What follows would set up processes, seeds, logs and files that all trainings of a process share.

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        self._rank, self._world_size, self._timestamp = self.training.ranks.rank, self.training.ranks.size, ""

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        self._seed, self._deterministic = seed, deterministic

    def build_logger(self, *_: object, **__: object) -> logging.Logger:
        return _log

    def build_message_hub(self, *_: object, **__: object) -> None:
        return None

    def build_visualizer(self, *_: object, **__: object) -> None:
        return None

    def build_model(self, model: Any) -> Any:
        return model

    def wrap_model(self, model_wrapper_cfg: object, model: Any) -> Any:
        return model

    def _log_env(self, env_cfg: object) -> None:
        pass

    def dump_config(self) -> None:
        pass


class LegLoop(BaseLoop):  # type: ignore[misc]
    """Leg after leg, step after step. As in mmengine, `iter` is the step being made and rises after its hooks."""

    def __init__(self, runner: SafeRunner) -> None:
        super().__init__(runner, ())
        self._legs = runner.training.legs
        self._iter = 0

    @property
    def iter(self) -> int:
        """The step being made, from 0; after a leg, the steps done."""
        return self._iter

    @property
    def max_iters(self) -> int:
        """Steps of all legs."""
        return self._legs[-1].end

    @property
    def epoch(self) -> int:
        """The leg being made, from 0."""
        return next((leg.index for leg in self._legs if self._iter < leg.end), len(self._legs))

    def goto(self, steps: int) -> None:
        """So many steps are done already."""
        self._iter = steps

    def run(self) -> None:
        """All that is left; `after_train` hooks run when everything is done."""
        self.runner.call_hook("before_train")
        for leg in self._legs:
            if self._iter < leg.end and not self.runner.stopping:
                self._run_leg(leg)
        if not self.runner.stopping:
            self.runner.call_hook("after_train")

    def _run_leg(self, leg: Leg) -> None:
        runner, training = self.runner, self.runner.training
        self.runner.call_hook("before_train_epoch")
        with contextlib.closing(training.open_loader(leg, self._iter, runner.positions)) as batches:
            while self._iter < leg.end and not runner.stopping:
                parts = [next(batches) for _ in range(training.accumulate)]
                runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=parts)
                rate = training.rate(leg, self._iter)
                made = self._step(parts, leg, rate)
                runner.positions = (runner.positions or {}) | (parts[-1].positions or {})
                runner.stopping = training.ranks.any(runner.stop_asked)
                if made is not None:
                    done = Done(self._iter + 1, leg, rate, made)
                    runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=parts, outputs=done)
                self._iter += 1
        self.runner.call_hook("after_train_epoch")

    def _step(self, parts: list[Any], leg: Leg, rate: float) -> StepOutcome | None:
        """By all learners whose turn it is; None where it is nobody's, since others are ahead."""
        training: Training[Any] = self.runner.training
        outcomes = []
        for trainee in training.trainees:
            if trainee.done == self._iter and not trainee.lost:
                with self._told(leg, trainee), self.runner.attempting(trainee):
                    outcomes.append(trainee.learner.step(parts, step=self._iter, rate=rate))
                    trainee.done += 1
        return outcomes[0] if outcomes else None

    @contextlib.contextmanager
    def _told(self, leg: Leg, trainee: Trainee[Any]) -> Iterator[None]:
        """A failure, with the step and the checkpoint before it."""
        try:
            yield
            return
        except NonFinite as found:
            reason = f"the loss or a gradient is not finite ({found}); {self.runner.training.advice}."
        except UserError as error:
            reason = str(error)
        last = trainee.checkpoints.last_written()
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        raise UserError(f"step {self._iter} of {leg.name}: {reason} The step was not made, and {kept}.")


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
