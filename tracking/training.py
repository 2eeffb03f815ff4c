"""The tracker's training as a stage: cells that differ in what they judge share it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from safetensors.torch import load_file, save

from rice_core.budget import Budget, Passes, Took
from rice_core.datasets.nouns import Dataset
from rice_core.disk.files import write_atomically
from rice_core.errors import UserError
from rice_core.features import Encoder, Informed
from rice_core.ranks import Ranks
from rice_core.spec import EncoderSpec, Param
from rice_core.stage import Curve, Stage, StageSpec
from rice_core.train.checkpoint import Position
from rice_core.train.hooks import BarHook, CheckpointHook
from rice_core.train.learner import Trainee
from rice_core.train.runner import SafeRunner, Training
from rice_core.train.schedule import Leg, legs
from tracking.learner import EncodedPairs, TrackerLearner, trainee
from tracking.loader import Crops, pair_batches, parts_of
from tracking.model import TrackerHead
from tracking.pairs import PairSequence, sources_of
from tracking.recipe import LearningConfig, TrackerConfig, more_room, rate_at
from tracking.tokens import check_encoder, tokens_of
from tracking.views import PairViews

if TYPE_CHECKING:
    from rice_core.stage import StageWork

WEIGHTS = "tracker.safetensors"
_SAVES = 20
"""Checkpoints over a training: at most a twentieth of it is lost."""
_PATCH = 16
"""Of an encoder that was never loaded, for what `plan` says."""
_SHOWN = ("template_grid", "search_grid", "template_factor", "search_factor", "norm", "geometry")
"""Settings of a tracker that crops and tokens depend on."""
_say = logging.getLogger("ricebench.train").warning


@dataclass(frozen=True)
class TrackerTraining(Stage):
    """A tracker over a frozen encoder. Its key is the recipe, the training sets and the seed, never what it is judged on."""

    tracker: TrackerConfig
    learning: LearningConfig
    datasets: tuple[Dataset, ...]
    """Their train splits alone (`rice_core.datasets.only`); each has the same share of the pairs."""

    instruments: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "mmengine", "pillow")

    @property
    def spec(self) -> StageSpec:
        tracker = learnt(self.tracker).model_dump_json()
        return StageSpec(name="tracker", params={"tracker": tracker, "learning": self.learning.model_dump_json()})

    @property
    def data(self) -> tuple[Dataset, ...]:
        return self.datasets

    def shares_with(self, other: Stage) -> bool:
        """Where all seeds are shown the same: blocks and heads may differ, what they are shown may not."""
        if not isinstance(other, TrackerTraining) or self.learning != other.learning or self.learning.shown == "own":
            return False
        alike = [getattr(self.tracker, name) == getattr(other.tracker, name) for name in _SHOWN]
        return all(alike) and [each.spec for each in self.datasets] == [each.spec for each in other.datasets]

    def cost(self, encoder: EncoderSpec, budget: Budget, *, companions: int = 0) -> Passes:
        """In search crops: a template counts by its pixels. Companions make steps of their own on the same crops."""
        seconds, pairs = seconds_a_step(self.spec, budget.trained), self.learning.steps * self.learning.batch
        steps = (1 + companions) * self.learning.steps
        share = 1 + (self.tracker.template_grid / self.tracker.search_grid) ** 2
        price = "" if seconds is None else f"; about {steps * seconds / 3600:.2g} h"
        why = f"tracker: {pairs:,} pairs of template and search crop in {steps:,} steps{price}"
        side = self.tracker.search_grid * (budget.patch or _PATCH)
        total = None if seconds is None else steps * seconds
        short = f"epochs=1,pairs={100 * self.learning.batch}"
        return Passes(round(pairs * share), side, why, steps, total, short)

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        """See `rice_core.stage.Stage`."""
        check_encoder(encoder, self.tracker)
        head = built(self.tracker, channels=encoder.dim, seed=seed).to(encoder.device)
        own = trainee(head, self.learning, seed=seed, folder=work.folder, ranks=work.ranks)
        own.resume()
        if own.done < self.learning.steps:
            self._learn(encoder, own, seed, work)
        for item, reason in own.learner.counts()["skipped"].items():
            work.skip(item, reason)
        if work.ranks.leads:
            weights = {name: each.detach().cpu().contiguous() for name, each in head.state_dict().items()}
            write_atomically(out / WEIGHTS, save(weights))
        return own.learner.curve

    def _learn(self, encoder: Encoder, own: Trainee[TrackerLearner], seed: int, work: StageWork) -> None:
        """
        Raises:
            UserError: a loss is no number, the features are not finite, memory is full, a data set gives no pair, or the batch does
                not divide.
            KeyboardInterrupt: SIGINT or SIGTERM came; the step was finished and kept.
        """
        config, ranks, what = self.learning, work.ranks, f"{encoder.spec.title}: training the tracker"
        parts = parts_of(config.batch, config.part, ranks.size)
        pairs = PairSequence(sources_of(self.datasets), seed if config.shown == "own" else 0, config.gap)
        views = PairViews(pairs, self.tracker, config, encoder.patch, told=isinstance(encoder, Informed))
        if ranks.leads:
            _say(f"{what}: rate {config.rate:g} for a batch of {config.batch} pairs over all ranks ({ranks.size})")
        trainees = [own]
        for other in work.companions:
            assert isinstance(other.stage, TrackerTraining)
            # What is wrong with another is told when its turn comes.
            with contextlib.suppress(UserError):
                head = built(other.stage.tracker, channels=encoder.dim, seed=other.seed).to(encoder.device)
                trainees.append(trainee(head, config, seed=other.seed, folder=other.folder, ranks=ranks))
        training = Training(
            name=what,
            folder=own.checkpoints.folder,
            ranks=ranks,
            trainees=trainees,
            legs=legs([config.steps], ["the tracker's training"]),
            rate=lambda leg, step: rate_at(config, step),
            open_loader=partial(encoded_batches, encoder, views, ranks, work.workers),
            accumulate=parts,
            advice="try a smaller rate=",
            room=more_room(config),
        )
        hooks = [BarHook(work.progress, what), CheckpointHook(max(1, config.steps // _SAVES))]
        if not SafeRunner(training, hooks).train():
            raise KeyboardInterrupt


def encoded_batches(
    encoder: Encoder,
    views: PairViews,
    ranks: Ranks,
    workers: int,
    leg: Leg,
    step: int,
    positions: Mapping[int, Position] | None,
) -> Generator[EncodedPairs]:
    """The rest of the training's pairs from this step on, with what the encoder makes of them."""
    config, gpu = views.learning, encoder.device.type == "cuda"
    # On a CPU the encoder takes all cores, and processes that decode would only wait for them.
    workers = 0 if encoder.device.type == "cpu" else workers

    def tokens(crops: Crops) -> torch.Tensor:
        return tokens_of(
            encoder,
            crops.pixels_BSS3,
            views.tracker,
            precision=config.precision,
            names=crops.items,
            truths=crops.truths,
        )

    for batch in pair_batches(views, config, first=step, rank=ranks.rank, world=ranks.size, workers=workers, pin=gpu):
        yield EncodedPairs(batch, tokens)


def learnt(config: TrackerConfig) -> TrackerConfig:
    """Without what is of following alone."""
    defaults = TrackerConfig()
    return config.model_copy(update={"window": defaults.window, "margin": defaults.margin})


def built(config: TrackerConfig, *, channels: int, seed: int) -> TrackerHead:
    """The tracker before it has learnt, on the CPU.

    Args:
        channels: of the encoder's tokens.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TrackerHead(config, channels)


def load_tracker(folder: Path, config: TrackerConfig, *, channels: int, device: torch.device | str) -> TrackerHead:
    """The tracker that a training left in a folder, ready to follow.

    Args:
        config: as it was trained with, but for what is of following alone.
    """
    head = built(config, channels=channels, seed=0)
    head.load_state_dict(load_file(folder / WEIGHTS))
    return head.to(device).eval()


def seconds_a_step(spec: StageSpec, trained: Sequence[Took]) -> float | None:
    """The slowest of finished trainings of such a tracker on such crops, however long; None without one.

    One that was resumed knows its last session alone, and looks fast.
    """

    def told(params: Mapping[str, Param]) -> tuple[list[object], int]:
        """What makes a step dear, and how many there are."""
        learning = json.loads(str(params["learning"]))
        steps = learning["epochs"] * max(1, learning["pairs"] // learning["batch"])
        return [params["tracker"], learning["batch"], learning["part"], learning["precision"]], steps

    kind, _ = told(spec.params)
    like = [(each.seconds, *told(each.params)) for each in trained if each.stage == spec.name]
    return max((seconds / steps for seconds, made, steps in like if seconds and made == kind), default=None)
