"""What any training wants beside its steps: the log and checkpoints. mmengine hooks; give those of your own before `CheckpointHook`.

A checkpoint comes last: a kill before it loses the log lines of its step, and the resumed training makes them again; a kill
after it loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook

from rice_core.train.metrics import MetricsLog

if TYPE_CHECKING:
    from rice_core.train.runner import Done, SafeRunner

_REDRAW_SECONDS = 60.0
_SHOWN_SKIPS = 5


class LogHook(Hook):  # type: ignore[misc]
    """A line of metrics.jsonl and a line of text every so often; curves.png now and then and at the end.

    Args:
        every: steps between lines. batch: images of a step.
        about: what else a line says of each leg.
    """

    def __init__(self, log: MetricsLog, *, every: int, batch: int, about: Sequence[Mapping[str, Any]]) -> None:
        self._log, self._every, self._batch, self._about = log, every, batch, about
        self._began = self._drawn = time.monotonic()
        self._since, self._skipped = 0, 0

    def before_train(self, runner: SafeRunner) -> None:
        training = runner.training
        if training.ranks.leads:
            self._log.rewind(runner.iter)
        self._since, self._began = runner.iter, time.monotonic()
        where = f"from step {runner.iter} " if runner.iter else ""
        training.say(
            f"{training.name}: training {where}to step {runner.max_iters} on {training.ranks.device}"
            + (f" and {training.ranks.size - 1} other ranks" if training.ranks.size > 1 else "")
        )

    def before_train_epoch(self, runner: SafeRunner) -> None:
        legs = runner.training.legs
        if len(legs) > 1:
            runner.training.say(f"{legs[runner.epoch].name} of {len(legs)}")

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Any], outputs: Done) -> None:
        training = runner.training
        skips = [skip for part in data_batch for skip in part.skipped]
        for skip in skips[: max(0, _SHOWN_SKIPS - self._skipped)]:
            training.say(f"left out: {skip.item}: {skip.reason}")
        self._skipped += len(skips)
        if training.reach is not None:
            training.reach(outputs.steps)
        if outputs.steps % self._every == 0 or outputs.steps == runner.max_iters:
            self._write(runner, outputs)

    def after_train(self, runner: SafeRunner) -> None:
        if runner.training.ranks.leads:
            self._log.draw()

    def _write(self, runner: SafeRunner, done: Done) -> None:
        training, now = runner.training, time.monotonic()
        seconds = max(now - self._began, 1e-9) / (done.steps - self._since)
        self._began, self._since = now, done.steps
        skipped = sum(training.ranks.gather(self._skipped))
        if not training.ranks.leads:
            return
        row = {
            "step": done.steps,
            "stage": done.leg.index,
            **self._about[done.leg.index],
            "images": done.steps * self._batch,
            "loss": done.outcome.loss,
            "rate": done.rate,
            "grad_norm": done.outcome.grad_norm,
            "images_per_second": self._batch / seconds,
            "skipped": skipped,
        }
        self._log.add(row | {name: float(value) for name, value in done.outcome.stats.items()})
        left = _duration(seconds * (runner.max_iters - done.steps))
        training.say(
            f"step {done.steps}/{runner.max_iters}  loss {done.outcome.loss:.4f}  rate {done.rate:.2e}  "
            f"{self._batch / seconds:.0f} images/s  {left} left"
        )
        if now - self._drawn > _REDRAW_SECONDS:
            self._drawn = now
            self._log.draw()


class BarHook(Hook):  # type: ignore[misc]
    """Steps under a bar of a cell's.

    Args:
        progress: as `Work.progress`. what: how it calls the training.
    """

    def __init__(self, progress: Callable[[Sequence[int], str], Iterator[int]], what: str) -> None:
        self._progress, self._what = progress, what

    def before_train(self, runner: SafeRunner) -> None:
        self._steps = iter(self._progress(range(runner.iter, runner.max_iters), self._what))

    def before_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Any]) -> None:
        next(self._steps)

    def after_train(self, runner: SafeRunner) -> None:
        next(self._steps, None)  # the bar goes


class CheckpointHook(Hook):  # type: ignore[misc]
    """A checkpoint every so many steps, at the end of a leg, and when the training is asked to stop."""

    priority = "VERY_LOW"

    def __init__(self, every: int) -> None:
        self._every = every

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Any], outputs: Done) -> None:
        ends_leg = outputs.steps == outputs.leg.end
        if ends_leg or runner.stopping or outputs.steps % self._every == 0:
            runner.save_checkpoint(outputs.steps, ends_leg=ends_leg)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
