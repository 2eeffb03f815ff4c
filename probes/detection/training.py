"""The detector's training as a stage: cells that differ in what they judge, and how, share it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from probes.detection.annotations import read_ground_truth
from probes.detection.backend import build_detector
from probes.detection.choice import RATES_JSON, read_choice
from probes.detection.fill import keep_views, views_kept
from probes.detection.learner import DetectorLearner, trainee
from probes.detection.nouns import Detector
from probes.detection.recipe import HeadConfig, TrainingConfig, more_room, side_of
from probes.detection.shared import shared
from probes.detection.train import train
from probes.detection.truth import GroundTruth
from probes.detection.ways import cheapest
from rice_core.budget import Budget, Passes, Took
from rice_core.datasets.nouns import Dataset
from rice_core.disk.files import write_atomically
from rice_core.errors import UserError, room_for
from rice_core.features import Encoder
from rice_core.spec import EncoderSpec, Param
from rice_core.stage import Curve, Stage, StageSpec
from rice_core.train.learner import Trainee

if TYPE_CHECKING:
    from rice_core.stage import StageWork

WEIGHTS = "detector.safetensors"


@dataclass(frozen=True)
class DetectorTraining(Stage):
    """A head over a frozen encoder. Its key is the recipe, the train split and the seed, never what it is judged on."""

    head: HeadConfig
    training: TrainingConfig
    backend: str
    masks: bool
    """Whether masks are learnt."""
    dataset: Dataset
    """Its train split alone; what is true of it is read from its annotation file."""
    part: str = ""
    """Of a suite, for the progress bar."""
    share: float = 1.0
    """Of the cache that it may fill."""
    search: Stage | None = None
    """What chooses its rate, as a `choice.RateChoice`; None: the training's own."""

    instruments: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "detectron2", "mmengine")

    @property
    def spec(self) -> StageSpec:
        defaults = HeadConfig()
        learnt = self.head.model_copy(
            update={"score_threshold": defaults.score_threshold, "detections": defaults.detections}  # of judging alone
        )
        training = self.training.model_copy(update={"accumulate": 1})  # where a step's images lie in memory
        params = {
            "head": learnt.model_dump_json(),
            "training": training.model_dump_json(),
            "backend": self.backend,
            "masks": self.masks,
        }
        return StageSpec(name="detector", params=params)

    @property
    def data(self) -> tuple[Dataset, ...]:
        return (self.dataset,)

    @property
    def after(self) -> Stage | None:
        return self.search

    def shares_with(self, other: Stage) -> bool:
        """Heads and backends may differ, what they are shown may not; nor may either wait for its rate."""
        same = isinstance(other, DetectorTraining) and (other.training, other.masks) == (self.training, self.masks)
        same = same and self.search is None and other.after is None
        return same and self.training.views is not None and other.data[0].spec == self.dataset.spec

    def cost(self, encoder: EncoderSpec, budget: Budget, *, companions: int = 0) -> Passes:
        side = self.training.side if budget.patch is None else side_of(self.training.side, budget.patch)
        images, space = len(self.dataset.splits.get("train", ())), budget.shared(self.share)
        way = cheapest(self.training, images=images, heads=1 + companions, side=side, budget=space)
        steps = (1 + companions) * self.training.iterations
        seconds = seconds_a_step(self.spec, budget.trained)
        price = "" if seconds is None else f"; {steps:,} steps, about {steps * seconds / 3600:.2g} h"
        why = f"detector{f' of {self.part}' if self.part else ''}, {way.name}: {way.why}{price}"
        total = None if seconds is None else steps * seconds
        return Passes(way.images, side, why, steps, total, short="iterations=100")

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        """See `rice_core.stage.Stage`. A companion may have trained it already: then its state is in `work.folder`."""
        truth = shared(self.truth())
        detector, _ = self.built(encoder, truth, seed)
        choice = None if start is None else read_choice(start)
        scale = 1.0 if choice is None else choice.factor
        own = trainee(detector, self.training, seed=seed, folder=work.folder, ranks=work.ranks, scale=scale)
        own.resume()
        if own.done < self.training.iterations:
            self._learn(encoder, truth, own, seed, work)
        for item, reason in own.learner.skipped.items():
            work.skip(f"{self.part}/{item}" if self.part else item, reason)
        if work.ranks.leads:
            save_weights(detector, out)
            if choice is not None:
                write_atomically(out / RATES_JSON, choice.model_dump_json().encode())
        return own.learner.curve

    def truth(self) -> GroundTruth:
        """What is true of the train split.

        Raises:
            UserError: its annotation file cannot be read.
        """
        path = self.dataset.annotations["train"]
        return read_ground_truth(path, self.dataset.splits["train"], name=path.name)

    def frequencies(self, truth: GroundTruth) -> tuple[float, ...] | None:
        """Training images that show each category, where the loss asks for them: as LVIS's file says, else as they are counted."""
        if not self.head.federated:
            return None
        counted = Counter(label for image in truth.images for label in {thing.label for thing in image.things})
        return tuple(
            float(counted[label] if category.image_count is None else category.image_count)
            for label, category in enumerate(truth.categories)
        )

    def backend_for(self, truth: GroundTruth) -> str:
        """The backend, or our own where that is left to us and the other cannot learn from this truth, or not in parts.

        Raises:
            UserError: detectron2 is asked for, and cannot.
        """
        if not (beyond := truth.beyond_detectron2(masks=self.masks)):
            return "ops" if self.backend == "auto" and self.training.accumulate > 1 else self.backend
        if self.backend == "detectron2":
            raise UserError(
                f"{truth.name} has {beyond}, and detectron2 cannot leave them out of the loss; write backend=ops, or mend the file."
            )
        return "ops"

    def built(self, encoder: Encoder, truth: GroundTruth, seed: int) -> tuple[Detector, str]:
        """The detector before it has learnt, on the encoder's device, and who made it."""
        backend = self.backend_for(truth)
        torch.manual_seed(seed)
        detector, made_by = build_detector(
            self.head,
            channels=encoder.dim,
            classes=len(truth.categories),
            patch=encoder.patch,
            masks=self.masks,
            frequencies=self.frequencies(truth),
            backend=backend,
        )
        cast(nn.Module, detector).to(encoder.device)
        return detector, made_by

    def _learn(
        self, encoder: Encoder, truth: GroundTruth, own: Trainee[DetectorLearner], seed: int, work: StageWork
    ) -> None:
        """The cheapest way; with it, perhaps, the companions."""
        name = " / ".join(filter(None, (encoder.spec.title, self.part)))
        way, kept, trainees = self._way(encoder, truth, work), None, [own]
        if way == "kept":
            side = side_of(self.training.side, encoder.patch)
            workers = workers_of(encoder, work.workers)
            advice = more_room(self.training, masks=self.masks, world=None, backend=self.backend)
            with room_for(f"keeping the features of {name}'s views", advice):
                kept = keep_views(encoder, truth, self.training, side=side, what=name, work=work, workers=workers)
        for other in work.companions if way == "together" else ():
            assert isinstance(other.stage, DetectorTraining)
            # What is wrong with another is told when its turn comes.
            with contextlib.suppress(UserError):
                detector, _ = other.stage.built(encoder, truth, other.seed)
                trainees.append(
                    trainee(detector, self.training, seed=other.seed, folder=other.folder, ranks=work.ranks)
                )
        train(
            encoder,
            trainees,
            truth.images,
            self.training,
            masks=self.masks,
            seed=seed,
            progress=work.progress,
            what=f"{name}: training "
            + ("the detector" if len(trainees) == 1 else f"{len(trainees)} detectors at once"),
            kept=kept,
            workers=workers_of(encoder, work.workers),
            ranks=work.ranks,
            backend=self.backend,
        )

    def _way(self, encoder: Encoder, truth: GroundTruth, work: StageWork) -> str:
        """How the views come by their features; the same on every rank."""
        training, side = self.training, side_of(self.training.side, encoder.patch)
        if training.views is None:
            return "alone"
        found = None
        if work.ranks.leads:
            budget = replace(work.budget().shared(self.share), dim=encoder.dim, patch=encoder.patch)
            kept = views_kept(truth, training, side=side, work=work)
            heads, images, ranks = 1 + len(work.companions), len(truth.images), work.ranks.size
            way = cheapest(training, images=images, heads=heads, side=side, budget=budget, kept=kept, ranks=ranks)
            found = way.name
        return str(work.ranks.agree(found))


def seconds_a_step(spec: StageSpec, trained: Sequence[Took]) -> float | None:
    """The slowest of finished trainings of such a head on such views, whatever they were of and however long; None without one.

    One that was resumed knows its last session alone, and one that another's passes served nearly nothing: both look fast.
    """

    def kind(params: Mapping[str, Param]) -> list[object]:
        training = json.loads(str(params["training"]))
        shown = {name: training[name] for name in training if name not in ("iterations", "warm_up", "drops", "rate")}
        return [params["head"], params["masks"], shown]

    like = [each for each in trained if each.stage == spec.name and kind(each.params) == kind(spec.params)]
    steps = [(each.seconds, json.loads(str(each.params["training"]))["iterations"]) for each in like]
    return max((seconds / n for seconds, n in steps if seconds), default=None)


def save_weights(detector: Detector, folder: Path) -> None:
    """For `load_weights`."""
    weights = {name: p.detach().cpu().contiguous() for name, p in cast(nn.Module, detector).named_parameters()}
    write_atomically(folder / WEIGHTS, save(weights))


def load_weights(detector: Detector, folder: Path) -> None:
    """The weights that a training left, into a detector that was built alike."""
    with safe_open(folder / WEIGHTS, "pt") as file, torch.no_grad():
        for name, parameter in cast(nn.Module, detector).named_parameters():
            parameter.copy_(file.get_tensor(name))


def workers_of(encoder: Encoder, workers: int) -> int:
    """On a CPU the head takes all cores, and processes that decode would only wait for them."""
    return 0 if encoder.device.type == "cpu" else workers
