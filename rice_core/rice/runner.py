"""mmengine's Runner for its hooks and its loop, without what is unsafe or global in it.

Of mmengine stay: Runner, BaseLoop, Hook, the order of hooks by priority, and its words (an epoch is a stage here, an iteration
an optimizer step). Replaced, since version 0.10.7 is the last one: checkpoints (its own are pickles, and its resume fails on
torch >= 2.6), the set-up of processes (it crashes on hosts without a GPU), optimizer wrappers and schedulers (the learner and
`rate_at` do both, under FSDP2 too), and loggers, message hubs and visualizers, which are one for all trainings of a process.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from rice_core.errors import UserError
from rice_core.ranks import Ranks
from rice_core.rice.batch import Batch
from rice_core.rice.config import Stage, TrainConfig
from rice_core.rice.learner import Learner, NonFinite, Outcome
from rice_core.rice.schedule import Leg, legs, rate_at
from rice_core.train.checkpoint import Checkpoints, Position, State

Positions = dict[int, Position]
OpenLoader = Callable[[Stage, Positions | None], Iterator[Batch]]


@dataclass(frozen=True)
class Training:
    """All parts of one training on one rank."""

    config: TrainConfig
    folder: Path
    ranks: Ranks
    learner: Learner
    checkpoints: Checkpoints
    data: str
    """Digest of the curated folder's manifest."""
    open_loader: OpenLoader
    """(stage, where each stream goes on; None for the beginning) -> micro-batches without end."""
    say: Callable[[str], None]
    reach: Callable[[int], None] | None = None
    """Told the steps done after each: a bar."""


@dataclass(frozen=True)
class Done:
    """A finished step, as hooks get it."""

    steps: int
    """Optimizer steps done, this one included."""
    leg: Leg
    rate: float
    outcome: Outcome


class SafeRunner(Runner):  # type: ignore[misc]
    """Runs one training from its last sound checkpoint.

    Args:
        hooks: called in the order of their priorities, then as listed.
    """

    def __init__(self, training: Training, hooks: Sequence[Hook]) -> None:
        self.training = training
        self.positions: Positions | None = None
        self.stopping = False
        """Whether the ranks agreed to stop after this step."""
        self.stop_asked = False
        none = dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"))
        super().__init__(
            training.learner,
            str(training.folder),
            default_hooks=none,
            custom_hooks=list(hooks),
            default_scope=None,
            experiment_name=training.config.name,
        )

    def train(self) -> bool:
        """Train to the end, or to the end of the step in which SIGINT or SIGTERM came; returns whether it is finished.

        Raises:
            UserError: a loss or a gradient is not finite, or no checkpoint can be read or written.
        """
        self._train_loop = StageLoop(self)
        with _flagging(self):
            self.call_hook("before_run")
            self.load_or_resume()
            self._train_loop.run()
            self.call_hook("after_run")
        return not self.stopping

    def load_or_resume(self) -> None:
        """Go on from the last sound checkpoint, where there is one."""
        own = self.training
        state = own.checkpoints.newest()
        if state is None:
            return
        if state.data != own.data:
            raise UserError(
                f"{own.config.data.path} was curated anew since {own.folder} was begun; train into another folder, "
                "or start again with --fresh."
            )
        own.learner.recount(state.counts)
        own.checkpoints.load(state, own.learner.tensors())
        self.positions = dict(state.positions)
        self._train_loop.goto(state.step)
        if len(state.generators) == own.ranks.size:
            _set_generators(state.generators[own.ranks.rank], own.ranks.device)
        self.call_hook("after_load_checkpoint", checkpoint={"step": state.step})

    def save_checkpoint(self, steps: int, *, ends_stage: bool) -> None:
        """Everything that the next step depends on."""
        own = self.training
        # Each rank knows how far its own streams are; the rest of its positions are from the last resume.
        mine = {s: p for s, p in (self.positions or {}).items() if s % own.ranks.size == own.ranks.rank}
        state = State(
            step=steps,
            ends_stage=ends_stage,
            data=own.data,
            positions={s: p for part in own.ranks.gather(mine) for s, p in part.items()},
            counts=own.learner.counts(),
            generators=tuple(own.ranks.gather(_generators(own.ranks.device))),
        )
        own.checkpoints.save(own.learner.tensors(), state)

    # What follows would set up processes, seeds, logs and files that all trainings of a process share.

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        self._rank, self._world_size, self._timestamp = self.training.ranks.rank, self.training.ranks.size, ""

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        self._seed, self._deterministic = self.training.config.seed, deterministic

    def build_logger(self, *_: object, **__: object) -> logging.Logger:
        return logging.getLogger("ricebench.train")

    def build_message_hub(self, *_: object, **__: object) -> None:
        return None

    def build_visualizer(self, *_: object, **__: object) -> None:
        return None

    def wrap_model(self, model_wrapper_cfg: object, model: Learner) -> Learner:
        return model

    def _log_env(self, env_cfg: object) -> None:
        pass

    def dump_config(self) -> None:
        pass


class StageLoop(BaseLoop):  # type: ignore[misc]
    """Stage after stage, step after step. As in mmengine, `iter` is the step being made and rises after its hooks."""

    def __init__(self, runner: SafeRunner) -> None:
        super().__init__(runner, ())
        self._legs = legs(runner.training.config)
        self._iter = 0

    @property
    def iter(self) -> int:
        """The step being made, from 0; after a stage, the steps done."""
        return self._iter

    @property
    def max_iters(self) -> int:
        """Steps of all stages."""
        return self._legs[-1].end

    @property
    def epoch(self) -> int:
        """The stage being made, from 0."""
        return next((leg.index for leg in self._legs if self._iter < leg.end), len(self._legs))

    def goto(self, steps: int) -> None:
        """So many steps are done already."""
        self._iter = steps

    def run(self) -> None:
        """All that is left; `after_train` hooks run when everything is done."""
        self.runner.call_hook("before_train")
        for leg in self._legs:
            if self._iter < leg.end and not self.runner.stopping:
                self._run_stage(leg)
        if not self.runner.stopping:
            self.runner.call_hook("after_train")

    def _run_stage(self, leg: Leg) -> None:
        runner, training = self.runner, self.runner.training
        self.runner.call_hook("before_train_epoch")
        with contextlib.closing(training.open_loader(leg.stage, runner.positions)) as batches:
            while self._iter < leg.end and not runner.stopping:
                parts = [next(batches) for _ in range(training.config.accumulate)]
                runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=parts)
                rate = rate_at(training.config, leg, self._iter)
                outcome = self._step(parts, leg, rate)
                runner.positions = (runner.positions or {}) | (parts[-1].positions or {})
                runner.stopping = training.ranks.any(runner.stop_asked)
                done = Done(self._iter + 1, leg, rate, outcome)
                runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=parts, outputs=done)
                self._iter += 1
        self.runner.call_hook("after_train_epoch")

    def _step(self, parts: list[Batch], leg: Leg, rate: float) -> Outcome:
        training: Training = self.runner.training
        try:
            return training.learner.step(parts, step=self._iter, rate=rate)
        except NonFinite as found:
            reason = (
                f"the loss or a gradient is not finite ({found}); lower optimizer.rate, raise optimizer.warm_up or lower "
                "optimizer.clip, and train into another folder."
            )
        except UserError as error:
            reason = str(error)
        last = training.checkpoints.last_written()
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        where = f"step {self._iter} of stage {leg.index + 1} ({leg.stage.resolution} px)"
        raise UserError(f"{where}: {reason} The step was not made, and {kept}.")


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
