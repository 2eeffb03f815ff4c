"""train: from a configuration to a folder.

Resume is the same call again. The folder holds:

    FOLDER/config.json      the configuration, resolved
           metrics.jsonl    one line every log_every steps             curves.png    the same, drawn
           checkpoints/     see rice_core.train.checkpoint             exports/      encoders on the way
           encoder/         for rice:FOLDER/encoder                    probes/       records of probes on the way
           hf/              for transformers
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from rice_core.digest import file_digest
from rice_core.disk.files import check_writable, held, refuse_links, write_atomically
from rice_core.disk.temporaries import sweep
from rice_core.errors import UserError
from rice_core.measure.config import build_probes
from rice_core.progress import Progress
from rice_core.ranks import Ranks, join
from rice_core.rice.batch import Batch
from rice_core.rice.config import TrainConfig
from rice_core.rice.export import export
from rice_core.rice.hooks import ExportHook, ProbesHook, ValidationHook
from rice_core.rice.learner import RegionLearner
from rice_core.rice.loader import RegionLoader
from rice_core.rice.objectives import Objective, build_objective
from rice_core.rice.regions import MANIFEST, RegionManifest, read_region_manifest
from rice_core.rice.validate import Validator
from rice_core.spec import ProbeRequest
from rice_core.train.checkpoint import Checkpoints, Position
from rice_core.train.hooks import CheckpointHook, LogHook
from rice_core.train.learner import Trainee
from rice_core.train.metrics import CURVES, METRICS, MetricsLog
from rice_core.train.runner import SafeRunner, Training
from rice_core.train.schedule import Leg, cosine, legs

CONFIG = "config.json"
_OUTPUTS = (METRICS, CURVES, "checkpoints", "encoder", "hf", "exports", "probes")
_FREE = {
    *("save_every", "export_every", "log_every", "probe", "validation"),
    *("parallel", "compile", "checkpoint_activations"),
}
"""What a resumed training may change: where, how often and how fast, but not what is learnt."""


def train(
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "auto",
    workers: int = 2,
    fresh: bool = False,
    quiet: bool = False,
    build: Callable[..., Objective] = build_objective,
    init_method: str = "env://",
) -> bool:
    """Train into a folder, or go on where an earlier call stopped. Under torchrun every rank calls it.

    Args:
        workers: processes that decode images for each rank; 0 decodes in the training's own.
        fresh: remove the training that the folder holds first.
        build: (config, manifest, group=) -> the objective.
        init_method: where ranks meet, as in torch.distributed.

    Returns:
        Whether it is finished; False: a signal stopped it, and a checkpoint was written.

    Raises:
        UserError: the configuration, the data, the device or the folder does not fit, or the training diverged.
    """
    manifest = read_region_manifest(config.data.path)
    if config.probe is not None:
        # A misspelt probe is told now, not hours later at its first step.
        build_probes(tuple(map(ProbeRequest.parse, config.probe.probes)))
    with join(device, init_method=init_method) as ranks, _alone(folder, ranks):
        _check_folder(config, folder, fresh)
        ranks.wait()  # all ranks have looked before one of them writes
        if ranks.leads:
            _prepare(config, folder, fresh)
        ranks.wait()
        torch.manual_seed(config.seed)
        with Progress(quiet=quiet or not ranks.leads) as progress:
            learner = RegionLearner(build(config, manifest, group=None), config, ranks)
            runner = _runner(config, folder, manifest, learner, ranks, workers, progress)
            progress.begin(sum(config.steps), f"{config.name}, steps")
            finished = runner.train()
            if finished:
                progress.say(f"{config.name} is trained; probe it: ricebench run -e rice:{folder / 'encoder'} ...")
            else:
                progress.say("Stopped after a checkpoint; run the same command again to go on.")
        return finished


def legs_of(config: TrainConfig) -> tuple[Leg, ...]:
    """A leg a stage."""
    return legs(config.steps, [f"stage {k} ({stage.resolution} px)" for k, stage in enumerate(config.stages, start=1)])


def rate_at(config: TrainConfig, leg: Leg, step: int) -> float:
    """The trunk's learning rate: linear warm-up at the start of the first stage, then cosine to zero over each."""
    peak, warm_up = config.optimizer.rate * config.stages[leg.index].rate, config.optimizer.warm_up
    return cosine(step - leg.first, leg.end - leg.first, peak=peak, warm_up=0 if leg.index else warm_up)


def _runner(
    config: TrainConfig,
    folder: Path,
    manifest: RegionManifest,
    learner: RegionLearner,
    ranks: Ranks,
    workers: int,
    progress: Progress,
) -> SafeRunner:
    def open_loader(leg: Leg, step: int, positions: Mapping[int, Position] | None) -> Generator[Batch]:
        stage = config.stages[leg.index]
        return iter(RegionLoader(config, manifest, stage=stage, ranks=ranks, workers=workers, start=positions))

    data = file_digest(config.data.path / MANIFEST)
    foreign = f"{config.data.path} was curated anew since {folder} was begun"
    advice = "train into another folder, or start again with --fresh"
    kept = Checkpoints(folder / "checkpoints", ranks, progress.say, data=data, foreign=foreign, advice=advice)
    training = Training(
        name=config.name,
        folder=folder,
        ranks=ranks,
        trainees=(Trainee(learner, kept),),
        legs=legs_of(config),
        rate=partial(rate_at, config),
        open_loader=open_loader,
        accumulate=config.accumulate,
        advice="lower optimizer.rate, raise optimizer.warm_up or lower optimizer.clip, and train into another folder",
        room="raise accumulate, set checkpoint_activations or parallel: fsdp2, or use more ranks",
        say=progress.say,
        # A pipe has the log's own lines.
        reach=progress.reach if progress.live else None,
    )
    held_out = None if config.validation is None else config.validation.path
    validator = None if held_out is None else Validator(config, manifest, learner, held_out, ranks, workers)
    log, exporting = MetricsLog(folder), partial(export, learner, config, ranks, data)
    resolutions = [{"resolution": stage.resolution} for stage in config.stages]
    hooks = (
        ValidationHook(log, config, validator),
        LogHook(log, every=config.log_every, batch=config.batch, about=resolutions),
        ExportHook(config, exporting),
        ProbesHook(log, config, exporting),
        CheckpointHook(config.save_every),
    )
    return SafeRunner(training, hooks)


@contextlib.contextmanager
def _alone(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Two trainings in one folder would mix their logs and checkpoints; the rank that writes keeps others out."""
    if not ranks.leads:
        yield
        return
    check_writable(folder)
    with held(folder / ".lock") as alone:
        if not alone:
            raise UserError(f"another process trains into {folder}; wait for its end, or train into another folder.")
        yield


def _check_folder(config: TrainConfig, folder: Path, fresh: bool) -> None:
    """Refuse a folder that holds another training, or the config.json of something else, such as a model."""
    path = folder / CONFIG
    if not path.is_file():
        if any((folder / "checkpoints").glob("step-*")):
            raise UserError(
                f"{folder} holds checkpoints and no {CONFIG}, so whose they are is not known; train into another folder."
            )
        return
    try:
        standing = TrainConfig.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is no training's configuration; train into another folder.") from None
    differing = [] if fresh else _differences(_fixed(standing), _fixed(config))
    if differing:
        raise UserError(
            f"{folder} holds a training of another configuration: {'; '.join(differing[:4])}. "
            "Train into another folder, or replace it with --fresh."
        )


def _prepare(config: TrainConfig, folder: Path, fresh: bool) -> None:
    sweep(folder)
    if fresh and (folder / CONFIG).is_file():
        for path in [refuse_links(folder, folder / name) for name in _OUTPUTS]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    write_atomically(folder / CONFIG, (config.model_dump_json(indent=2) + "\n").encode())


def _fixed(config: TrainConfig) -> dict[str, Any]:
    """What fixes the result. The manifest's digest stands for the data, wherever its folder is."""
    body = config.model_dump(mode="json", exclude=_FREE)
    body["data"].pop("path")
    if config.objective.name != "siglip":  # whose negatives are those of a part
        body.pop("accumulate")
    return body


def _differences(standing: Any, wanted: Any, where: str = "") -> list[str]:
    """The leaves that differ, as in "optimizer.rate is 0.001 there and 0.01 here"."""
    if isinstance(standing, dict) and isinstance(wanted, dict):
        keys = sorted(standing.keys() | wanted.keys())
        return [
            line
            for key in keys
            for line in _differences(standing.get(key), wanted.get(key), f"{where}.{key}" if where else key)
        ]
    return [] if standing == wanted else [f"{where} is {json.dumps(standing)} there and {json.dumps(wanted)} here"]
