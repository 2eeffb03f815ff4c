"""What happens beside the steps: the log, exports, probes, checkpoints. mmengine hooks, run in the order of this file.

A checkpoint comes last: a kill before it loses the log lines, exports and probes of its step, and the resumed training makes
them again; a kill after it loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmengine.hooks import Hook

from rice_core.errors import UserError
from rice_core.record import Record
from rice_core.rice.batch import Batch
from rice_core.rice.config import Stage
from rice_core.rice.export import export
from rice_core.rice.validate import Validator
from rice_core.train.metrics import HELD_OUT, MetricsLog

if TYPE_CHECKING:
    from rice_core.rice.runner import Done, SafeRunner

_REDRAW_SECONDS = 60.0
_SHOWN_SKIPS = 5


class ValidationHook(Hook):  # type: ignore[misc]
    """val/... in metrics.jsonl, every so often and at the end; first of all, so that the log's last picture shows it.

    A finished training that is run again with other held-out images is measured on them, and the old lines go.
    """

    def __init__(self, log: MetricsLog, validator: Validator | None) -> None:
        self._log, self._validator = log, validator

    def before_train(self, runner: SafeRunner) -> None:
        own = self._validator
        if own is not None and runner.training.ranks.leads:
            self._log.drop(lambda row: row.get(HELD_OUT, own.digest) != own.digest)

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Batch], outputs: Done) -> None:
        wanted = runner.training.config.validation
        if wanted is not None and wanted.every and outputs.steps % wanted.every == 0:
            self._measure(runner, outputs.steps, outputs.leg.stage)

    def after_train(self, runner: SafeRunner) -> None:
        own = runner.training
        measured = own.ranks.leads and any(
            HELD_OUT in row for row in self._log.rows() if row["step"] == runner.max_iters
        )
        if not own.ranks.any(measured):
            self._measure(runner, runner.max_iters, own.config.stages[-1])

    def _measure(self, runner: SafeRunner, steps: int, stage: Stage) -> None:
        own = self._validator
        if own is None:
            return
        found = own(stage)
        if runner.training.ranks.leads:
            self._log.add({"step": steps, HELD_OUT: own.digest} | {f"val/{name}": x for name, x in found.items()})
        runner.training.say(f"step {steps}: held out: loss {found['loss']:.4f}")


class LogHook(Hook):  # type: ignore[misc]
    """A line of metrics.jsonl and a line of text every `log_every` steps; curves.png now and then and at the end."""

    def __init__(self, log: MetricsLog) -> None:
        self._log = log
        self._began = self._drawn = time.monotonic()
        self._since, self._skipped = 0, 0

    def before_train(self, runner: SafeRunner) -> None:
        training = runner.training
        if training.ranks.leads:
            self._log.rewind(runner.iter)
        self._since, self._began = runner.iter, time.monotonic()
        where = f"from step {runner.iter} " if runner.iter else ""
        training.say(
            f"{training.config.name}: training {where}to step {runner.max_iters} on {training.ranks.device}"
            + (f" and {training.ranks.size - 1} other ranks" if training.ranks.size > 1 else "")
        )

    def before_train_epoch(self, runner: SafeRunner) -> None:
        config = runner.training.config
        if len(config.stages) > 1:
            stage = config.stages[runner.epoch]
            runner.training.say(f"stage {runner.epoch + 1} of {len(config.stages)}: {stage.resolution} px")

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Batch], outputs: Done) -> None:
        training = runner.training
        skips = [skip for part in data_batch for skip in part.skipped]
        for skip in skips[: max(0, _SHOWN_SKIPS - self._skipped)]:
            training.say(f"left out: {skip.item}: {skip.reason}")
        self._skipped += len(skips)
        if training.reach is not None:
            training.reach(outputs.steps)
        if outputs.steps % training.config.log_every == 0 or outputs.steps == runner.max_iters:
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
        stats = {name: float(value) for name, value in done.outcome.stats.items()}
        row = {
            "step": done.steps,
            "stage": done.leg.index,
            "resolution": done.leg.stage.resolution,
            "images": done.steps * training.config.batch,
            "loss": done.outcome.loss,
            "rate": done.rate,
            "grad_norm": done.outcome.grad_norm,
            "images_per_second": training.config.batch / seconds,
            "skipped": skipped,
        }
        self._log.add(row | stats)
        left = _duration(seconds * (runner.max_iters - done.steps))
        training.say(
            f"step {done.steps}/{runner.max_iters}  loss {done.outcome.loss:.4f}  rate {done.rate:.2e}  "
            f"{training.config.batch / seconds:.0f} images/s  {left} left"
        )
        if now - self._drawn > _REDRAW_SECONDS:
            self._drawn = now
            self._log.draw()


class ExportHook(Hook):  # type: ignore[misc]
    """exports/step-N every `export_every` steps, and encoder/ and hf/ at the end."""

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Batch], outputs: Done) -> None:
        every = runner.training.config.export_every
        if every and outputs.steps % every == 0:
            _export(runner, f"exports/step-{outputs.steps:08d}", outputs.steps, outputs.leg.stage.resolution)

    def after_train(self, runner: SafeRunner) -> None:
        _export(runner, ".", runner.max_iters, runner.training.config.stages[-1].resolution)


class ProbesHook(Hook):  # type: ignore[misc]
    """Probes of the encoder as it is, every so often; their headline numbers join metrics.jsonl as probe/NAME/METRIC.

    Records go to a store in FOLDER/probes. Rank 0 measures and the others wait. A failed probe is a sentence: it ends no
    training.
    """

    def __init__(self, log: MetricsLog) -> None:
        self._log = log

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Batch], outputs: Done) -> None:
        wanted = runner.training.config.probe
        if wanted is None or outputs.steps % wanted.every:
            return
        name = f"probes/encoders/step-{outputs.steps:08d}"
        _export(runner, name, outputs.steps, outputs.leg.stage.resolution)
        if runner.training.ranks.leads:
            # Loading an encoder draws weights; the training's generator must not notice.
            with torch.random.fork_rng():
                self._measure(runner, name, outputs.steps)
        runner.training.ranks.wait()

    def _measure(self, runner: SafeRunner, name: str, steps: int) -> None:
        from rice_core.catalogue import resolve
        from rice_core.datasets import limit as limited
        from rice_core.measure.config import build_probes
        from rice_core.measure.run import Plan, Settings
        from rice_core.measure.run import Runner as ProbeRunner
        from rice_core.progress import Progress
        from rice_core.spec import ProbeRequest
        from rice_core.store import Store
        from rice_core.world.mini import open_data

        training, wanted = runner.training, runner.training.config.probe
        if wanted is None:
            return
        store = Store(training.folder / "probes")
        try:
            dataset = open_data(wanted.data, store.place("worlds"))
            plan = Plan(
                (resolve(f"rice:{training.folder / name / 'encoder'}"),),
                build_probes(tuple(map(ProbeRequest.parse, wanted.probes))),
                dataset if wanted.limit is None else limited(dataset, wanted.limit),
                limit=wanted.limit,
            )
            summary = ProbeRunner(store, Settings(device=str(training.ranks.device)), Progress(quiet=True)).run(plan)
        except UserError as error:
            training.say(f"step {steps}: not probed: {error}")
            return
        found = {key: value for record in summary.records for key, value in _headlines(record).items()}
        self._log.add({"step": steps} | found)
        training.say(f"step {steps}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items()))
        for error_text in summary.errors:
            training.say(f"step {steps}: a probe failed: {error_text}")


class CheckpointHook(Hook):  # type: ignore[misc]
    """A checkpoint every `save_every` steps, at the end of a stage, and when the training is asked to stop."""

    priority = "VERY_LOW"

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Batch], outputs: Done) -> None:
        ends_stage = outputs.steps == outputs.leg.end
        if ends_stage or runner.stopping or outputs.steps % runner.training.config.save_every == 0:
            runner.save_checkpoint(outputs.steps, ends_stage=ends_stage)


def _export(runner: SafeRunner, name: str, steps: int, resolution: int) -> None:
    own = runner.training
    folder = own.folder / name
    if own.ranks.leads:
        folder.mkdir(parents=True, exist_ok=True)
    export(folder, own.learner, own.config, own.ranks, resolution=resolution, steps=steps, data=own.data)


def _headlines(record: Record) -> dict[str, float]:
    """The first metric of a record that has a direction."""
    first = next((metric for metric in record.metrics if metric.better != "neither"), None)
    return {f"probe/{record.cell.probe.name}/{first.name}": first.value} if first else {}


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
