"""What happens beside the steps of RICE's training: held-out losses, exports, probes. See `rice_core.train.hooks` for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from mmengine.hooks import Hook

from rice_core.errors import UserError
from rice_core.rice.batch import Batch
from rice_core.rice.config import ProbeHook, ResolutionStage, TrainConfig
from rice_core.rice.validate import Validator
from rice_core.train.metrics import HELD_OUT, MetricsLog

if TYPE_CHECKING:
    from rice_core.train.runner import Done, SafeRunner

Export = Callable[..., None]
"""`rice_core.rice.export.export` of one training: (folder, leg=, steps=)."""


class ValidationHook(Hook):  # type: ignore[misc]
    """val/... in metrics.jsonl, every so often and at the end; first of all, so that the log's last picture shows it.

    A finished training that is run again with other held-out images is measured on them, and the old lines go.
    """

    def __init__(self, log: MetricsLog, config: TrainConfig, validator: Validator | None) -> None:
        self._log, self._config, self._validator = log, config, validator

    def before_train(self, runner: SafeRunner) -> None:
        own = self._validator
        if own is not None and runner.training.ranks.leads:
            self._log.drop(lambda row: row.get(HELD_OUT, own.digest) != own.digest)

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Batch], outputs: Done) -> None:
        wanted = self._config.validation
        if wanted is not None and wanted.every and outputs.steps % wanted.every == 0:
            self._measure(runner, outputs.steps, self._config.stages[outputs.leg.index])

    def after_train(self, runner: SafeRunner) -> None:
        own = runner.training
        measured = own.ranks.leads and any(
            HELD_OUT in row for row in self._log.rows() if row["step"] == runner.max_iters
        )
        if not own.ranks.any(measured):
            self._measure(runner, runner.max_iters, self._config.stages[-1])

    def _measure(self, runner: SafeRunner, steps: int, stage: ResolutionStage) -> None:
        own = self._validator
        if own is None:
            return
        found = own(stage)
        if runner.training.ranks.leads:
            self._log.add({"step": steps, HELD_OUT: own.digest} | {f"val/{name}": x for name, x in found.items()})
        runner.training.say(f"step {steps}: held out: loss {found['loss']:.4f}")


class ExportHook(Hook):  # type: ignore[misc]
    """exports/step-N every `export_every` steps, and encoder/ and hf/ at the end."""

    def __init__(self, config: TrainConfig, export: Export) -> None:
        self._config, self._export = config, export

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Batch], outputs: Done) -> None:
        every = self._config.export_every
        if every and outputs.steps % every == 0:
            folder = runner.training.folder / f"exports/step-{outputs.steps:08d}"
            self._export(folder, leg=outputs.leg.index, steps=outputs.steps)

    def after_train(self, runner: SafeRunner) -> None:
        self._export(runner.training.folder, leg=-1, steps=runner.max_iters)


class ProbesHook(Hook):  # type: ignore[misc]
    """Probes of the encoder as it is, every so often; their headline numbers join metrics.jsonl as probe/NAME/METRIC.

    Records go to a store in FOLDER/probes. Rank 0 measures and the others wait. A failed probe is a sentence: it ends no
    training.
    """

    def __init__(self, log: MetricsLog, config: TrainConfig, export: Export) -> None:
        self._log, self._config, self._export = log, config, export

    def after_train_iter(self, runner: SafeRunner, batch_idx: int, data_batch: Sequence[Batch], outputs: Done) -> None:
        wanted = self._config.probe
        if wanted is None or outputs.steps % wanted.every:
            return
        name = f"probes/encoders/step-{outputs.steps:08d}"
        self._export(runner.training.folder / name, leg=outputs.leg.index, steps=outputs.steps)
        if runner.training.ranks.leads:
            # Loading an encoder draws weights; the training's generators must not notice. Of GPUs its own alone: the default
            # would touch, and start, every card of the machine.
            device = runner.training.ranks.device
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                self._measure(runner, wanted, name, outputs.steps)
        runner.training.ranks.wait()

    def _measure(self, runner: SafeRunner, wanted: ProbeHook, name: str, steps: int) -> None:
        from rice_core.measure.config import RunConfig
        from rice_core.measure.plan import plan_of
        from rice_core.measure.run import Runner as ProbeRunner
        from rice_core.measure.run import Settings
        from rice_core.progress import Progress
        from rice_core.store import Store

        training = runner.training
        store = Store(training.folder / "probes")
        try:
            encoder = f"rice:{training.folder / name / 'encoder'}"
            asked = RunConfig(encoders=(encoder,), probes=wanted.probes, data=(wanted.data,), limit=wanted.limit)
            runner_ = ProbeRunner(store, Settings(device=str(training.ranks.device)), Progress(quiet=True))
            summary = runner_.run(plan_of(asked, store))
        except UserError as error:
            training.say(f"step {steps}: not probed: {error}")
            return
        # Of each the first metric that has a direction.
        headlines = [
            (record, next((m for m in record.metrics if m.better != "neither"), None)) for record in summary.records
        ]
        found = {f"probe/{record.cell.probe.name}/{first.name}": first.value for record, first in headlines if first}
        self._log.add({"step": steps} | found)
        training.say(f"step {steps}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items()))
        for error_text in summary.errors:
            training.say(f"step {steps}: a probe failed: {error_text}")
