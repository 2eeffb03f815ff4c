"""Train detectors over a frozen encoder. Stopped at any moment, the same call goes on and ends with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import torch

from probes.detection.learner import DetectorLearner
from probes.detection.loader import ViewBatch, training_batches
from probes.detection.recipe import TrainingConfig, more_room, rate_at, side_of
from probes.detection.tokens import Encoded, tokens_of
from probes.detection.truth import TruthImage
from probes.detection.views import SEED, KeptViews, rounded
from rice_core.features import Encoder, Informed
from rice_core.ranks import Ranks
from rice_core.train.checkpoint import Position
from rice_core.train.hooks import BarHook, CheckpointHook
from rice_core.train.learner import Trainee
from rice_core.train.runner import SafeRunner, Training
from rice_core.train.schedule import Leg, legs

_SAVES = 20
"""Checkpoints over a training: at most a twentieth of it is lost."""


def train(
    encoder: Encoder,
    trainees: Sequence[Trainee[DetectorLearner]],
    images: Sequence[TruthImage],
    config: TrainingConfig,
    *,
    masks: bool,
    seed: int,
    progress: Callable[[Sequence[int], str], Iterator[int]],
    what: str,
    kept: KeptViews | None = None,
    workers: int = 0,
    ranks: Ranks | None = None,
    backend: str = "auto",
) -> None:
    """Train in place; one pass of the encoder serves all heads, as `rice_core.train.runner.Training` says.

    Args:
        masks: whether masks are learnt.
        seed: draws the views and their order, where the recipe has no `views`.
        progress: as `Work.progress`. what: how it calls the training.
        kept: features of the views, where they are kept.
        ranks: the ranks of the training; None is this process alone.
        backend: of the heads, as it was asked for.

    Raises:
        UserError: a loss is no number, the features are not finite, memory is full, no image can be read, or the batch
            does not divide.
        StoreError: a checkpoint cannot be written.
        KeyboardInterrupt: SIGINT or SIGTERM came; the step was finished and kept.
    """
    ranks = ranks or Ranks(0, 1, encoder.device)

    def open_loader(leg: Leg, step: int, positions: Mapping[int, Position] | None) -> Generator[Encoded]:
        batches = training_batches(
            images,
            config,
            side=side_of(config.side, encoder.patch),
            masks=masks,
            told=isinstance(encoder, Informed),
            seed=seed if config.views is None else SEED,
            first=step,
            rank=ranks.rank,
            world=ranks.size,
            kept=kept,
            workers=workers,
            pin=encoder.device.type == "cuda",
        )
        return _encoded(batches, encoder, config, keeps=kept is not None)

    training = Training(
        name=what,
        folder=trainees[0].checkpoints.folder,
        ranks=ranks,
        trainees=trainees,
        legs=legs([config.iterations], ["the detector's training"]),
        rate=lambda leg, step: rate_at(config, step),
        open_loader=open_loader,
        accumulate=config.accumulate,
        advice="try a smaller rate=",
        room=more_room(config, masks=masks, world=ranks.size, backend=backend),
    )
    hooks = [BarHook(progress, what), CheckpointHook(max(1, config.iterations // _SAVES))]
    if not SafeRunner(training, hooks).train():
        raise KeyboardInterrupt


def _encoded(
    batches: Iterator[ViewBatch], encoder: Encoder, config: TrainingConfig, *, keeps: bool
) -> Generator[Encoded]:
    def tokens(batch: ViewBatch) -> torch.Tensor:
        tokens_BCTU = tokens_of(encoder, batch, config.precision, config.norm)
        # As views that are kept are read back, so that keeping them changes no number.
        return rounded(tokens_BCTU) if config.views is not None and not keeps else tokens_BCTU

    for batch in batches:
        yield Encoded(batch, tokens)
