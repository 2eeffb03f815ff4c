"""The search for an encoder's rate as a stage: heads of several rates on one pass of the encoder, judged on a held-out part of train."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from probes.detection.choice import RATES_JSON, RateChoice
from probes.detection.detect import Detecting
from probes.detection.evaluate import score
from probes.detection.learner import DetectorLearner, trainee
from probes.detection.nouns import Detector
from probes.detection.shared import shared
from probes.detection.train import train
from probes.detection.training import DetectorTraining, save_weights, workers_of
from probes.detection.truth import GroundTruth, TruthImage
from rice_core.budget import Budget, Passes
from rice_core.datasets.nouns import Dataset
from rice_core.datasets.scenes import scenes_of
from rice_core.disk.files import write_atomically
from rice_core.errors import UserError
from rice_core.features import Encoder
from rice_core.spec import EncoderSpec
from rice_core.stage import Curve, Stage, StageSpec
from rice_core.train.learner import Trainee

if TYPE_CHECKING:
    from rice_core.stage import StageWork

SHARE, MOST = 5, 5000
"""Every fifth scene of train is held out, until there are as many images as COCO's val has."""


@dataclass(frozen=True)
class RateSearch(Stage):
    """As many trainings of a head as there are factors of the recipe's rate, on what is not held out."""

    training: DetectorTraining
    """At the recipe's own rate."""
    factors: tuple[float, ...]
    """Ascending: of the trainings the first must not diverge."""

    instruments: ClassVar[tuple[str, ...]] = (*DetectorTraining.instruments, "pycocotools")

    @property
    def spec(self) -> StageSpec:
        factors = ",".join(f"{factor:.6g}" for factor in self.factors)
        return StageSpec(name="detector-rate", params=self.training.spec.params | {"factors": factors})

    @property
    def data(self) -> tuple[Dataset, ...]:
        return self.training.data

    def cost(self, encoder: EncoderSpec, budget: Budget, *, companions: int = 0) -> Passes:
        config, alone = self.training.training, self.training.cost(encoder, budget)
        held = min(len(self.training.dataset.splits.get("train", ())) // SHARE, MOST)
        images = config.iterations * config.batch + held * len(self.factors)
        why = (
            f"the rate of the detector: {len(self.factors)} heads on one pass, judged on about {held:,} held-out images"
        )
        seconds = None if alone.seconds is None else len(self.factors) * alone.seconds
        return Passes(images, alone.side, why, len(self.factors) * config.iterations, seconds)

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        """See `rice_core.stage.Stage`: each head goes on from its own checkpoint."""
        learnt, held, scenes = divided(self.training.truth())
        learnt = shared(learnt)
        heads = [self.training.built(encoder, learnt, seed)[0] for _ in self.factors]
        trainees = [
            trainee(head, self.training.training, seed=seed, folder=folder, ranks=work.ranks, scale=factor)
            for head, factor in zip(heads, self.factors, strict=True)
            for folder in [work.folder / f"rate-{factor:.6g}"]
        ]
        self._learn(encoder, learnt, trainees, seed, work)
        ap = [
            None if each.lost else self._judged(encoder, head, each.checkpoints.folder.parent, held, learnt, work)
            for head, each in zip(heads, trainees, strict=True)
        ]
        if work.ranks.leads:
            choice = RateChoice(
                factors=self.factors,
                rate=self.training.training.rate,
                ap=tuple(ap),
                held_out=len(held.images),
                scenes=scenes,
                learnt=len(learnt.images),
            )
            write_atomically(out / RATES_JSON, choice.model_dump_json().encode())
        return [
            {**point, "factor": factor}
            for factor, each in zip(self.factors, trainees, strict=True)
            for point in each.learner.curve
        ]

    def _learn(
        self,
        encoder: Encoder,
        truth: GroundTruth,
        trainees: Sequence[Trainee[DetectorLearner]],
        seed: int,
        work: StageWork,
    ) -> None:
        for each in trainees:
            each.resume()
        if all(each.done == self.training.training.iterations for each in trainees):
            return
        train(
            encoder,
            trainees,
            truth.images,
            self.training.training,
            masks=self.training.masks,
            seed=seed,
            progress=work.progress,
            what=f"{self._name(encoder)}: {len(trainees)} rates at once",
            workers=workers_of(encoder, work.workers),
            ranks=work.ranks,
            backend=self.training.backend,
        )

    def _judged(
        self, encoder: Encoder, head: Detector, folder: Path, held: GroundTruth, learnt: GroundTruth, work: StageWork
    ) -> float | None:
        """Box AP, percent; all ranks detect, and the first one judges.

        Args:
            folder: for the head's weights.
        """
        if work.ranks.leads:
            save_weights(head, folder)
        work.ranks.wait()
        detecting = Detecting(
            head=self.training.head,
            backend=self.training.backend,
            masks=False,
            frequencies=self.training.frequencies(learnt),
            folder=folder,
            categories=learnt.categories,
            images=tuple(held.images),
            training=self.training.training,
            what=f"{self._name(encoder)}: judging a rate",
            workers=workers_of(encoder, work.workers),
        )
        found = detecting.run(encoder, work.ranks, work.progress)
        return score(held, found.results, masks=False, resamples=0).box.ap["AP"] if work.ranks.leads else None

    def _name(self, encoder: Encoder) -> str:
        return " / ".join(filter(None, (encoder.spec.title, self.training.part)))


def divided(truth: GroundTruth) -> tuple[GroundTruth, GroundTruth, int]:
    """What is learnt from, what is held out, and the number of scenes of that; by the order of the scenes' hashed names.

    Raises:
        UserError: one of the two has no object.
    """
    scene_of = scenes_of([image.sample for image in truth.images], [kind.name for kind in truth.categories]).of
    scenes: dict[str, list[TruthImage]] = defaultdict(list)
    for image in truth.images:
        scenes[scene_of[image.sample.id]].append(image)
    wanted, chosen, held = min(len(truth.images) / SHARE, MOST), set[str](), 0
    for name in sorted(scenes, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        # While they bring it nearer to what is wanted: one large scene does not take half of train.
        if len(scenes[name]) < 2 * (wanted - held):
            chosen.add(name)
            held += len(scenes[name])
    learnt, judged = (
        _only(truth, [image for image in truth.images if (scene_of[image.sample.id] in chosen) == side])
        for side in (False, True)
    )
    if not learnt.objects or not judged.objects:
        raise UserError(
            f"{truth.name} has too few scenes with objects ({len(scenes)}) to hold some out and choose a rate on them; "
            "leave out rate=chosen, or give the rate."
        )
    return learnt, judged, len(chosen)


def _only(truth: GroundTruth, images: Sequence[TruthImage]) -> GroundTruth:
    keys = {image.key for image in images}
    body = {
        **truth.body,
        "images": [entry for entry in truth.body["images"] if entry["id"] in keys],
        "annotations": [entry for entry in truth.body["annotations"] if entry["image_id"] in keys],
    }
    return replace(truth, images=tuple(images), body=body)
