"""The two trainings of LLaVA-NeXT as stages: thirteen tasks that are asked of one model share them.

AlignTraining       captions, one tile: the projector alone, between a frozen encoder and a frozen language model
InstructTraining    conversations, tiles: everything, from the projector on that the first one left
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from mllm.llava.cost import cost_of
from mllm.llava.croc import Croc
from mllm.llava.language_model import identity, load_language_model
from mllm.llava.learner import LlavaLearner
from mllm.llava.loader import LlavaPart, open_batches
from mllm.llava.model import Llava
from mllm.llava.packing import Anyres, Square
from mllm.llava.recipe import CrocLearning, LlavaConfig, LlavaLearning, LlavaRecipe
from mllm.llava.samples import by_reason
from mllm.llava.text import Captions, ChatML
from mllm.llava.vision import VisionTower
from mllm.llava.weights import (
    LANGUAGE_MODEL,
    TOWER,
    LlavaCard,
    fill,
    pictures_of,
    read_kept,
    read_language_model,
    save_llava,
)
from rice_core.budget import Budget, Passes
from rice_core.datasets import only
from rice_core.datasets.nouns import Conversation, Dataset
from rice_core.encoders.preprocess import PixelRecipe
from rice_core.features import Encoder
from rice_core.spec import EncoderSpec
from rice_core.stage import Curve, Stage, StageSpec
from rice_core.train.checkpoint import Position, checkpoints_below
from rice_core.train.hooks import BarHook, CheckpointHook
from rice_core.train.learner import Trainee
from rice_core.train.runner import SafeRunner, Training
from rice_core.train.schedule import Leg, cosine

if TYPE_CHECKING:
    from rice_core.stage import StageWork

_SAVES = 20
"""Checkpoints over a training: at most a twentieth of it is lost."""
_say = logging.getLogger("ricebench.train").warning


@dataclass(frozen=True)
class LlavaTraining(Stage):
    """What the trainings have in common. The key is model, learning, data and seed, never what is asked afterwards."""

    model: LlavaConfig
    learning: LlavaLearning
    dataset: Dataset
    """The split that it learns from, alone (`rice_core.datasets.only`)."""

    name: ClassVar[str]
    split: ClassVar[str]
    called: ClassVar[str]
    """In sentences."""
    speaks: ClassVar[bool] = False
    """Whether it leaves the language model even where that was not trained."""
    instruments: ClassVar[tuple[str, ...]] = (
        "torch",
        "torchvision",
        "transformers",
        "tokenizers",
        "mmengine",
        "pillow",
    )

    @property
    def spec(self) -> StageSpec:
        model = self.model.model_copy(update={"lm": identity(self.model.lm)})
        params = {"model": model.model_dump_json(), "learning": self.learning.model_dump_json()}
        return StageSpec(name=self.name, params={**params, "samples": len(self.samples)})

    @property
    def data(self) -> tuple[Dataset, ...]:
        return (self.dataset,)

    @property
    def samples(self) -> Sequence[Conversation]:
        return cast(Sequence[Conversation], self.dataset.splits[self.split])

    def pictures(self, side: int, patch: int) -> Anyres | Square:
        """How they are cut."""
        return pictures_of(self.model, side, patch)

    def format(self, tokenizer: Any) -> ChatML | Captions:
        """How conversations become tokens and labels."""
        return ChatML(tokenizer, labels=self.learning.labels)

    def network(self, tower: VisionTower, language_model: Any) -> Llava:
        """What is trained, with new weights where it has any of its own."""
        return Llava(tower, language_model)

    def cost(self, encoder: EncoderSpec, budget: Budget, *, companions: int = 0) -> Passes:
        """By what a like training took; else by arithmetic, in the sentence alone."""
        return cost_of(self.spec, self.model, self.learning, len(self.samples), self.pictures, encoder, budget)

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        """See `rice_core.stage.Stage`."""
        model, tokenizer, commit = self._begun(encoder, start, seed)
        steps = self.learning.steps(len(self.samples))
        learner = LlavaLearner(model, self.learning, steps=steps, ranks=work.ranks)
        own = Trainee(learner, checkpoints_below(work.folder, work.ranks))
        own.resume()
        if own.done < steps:
            self._learn(encoder.spec.title, own, tokenizer, Leg(0, self.called, 0, steps), seed, work)
        for skip in by_reason(learner.counts()["skipped"]):
            work.skip(skip.item, skip.reason, skip.times)
        told = self.model.model_copy(update={"lm": identity(self.model.lm)})
        side, patch, precision = model.tower.side, model.tower.patch, self.learning.precision
        kept = LlavaCard(model=told, side=side, patch=patch, precision=precision, commit=commit)
        save_llava(
            model,
            tokenizer,
            kept,
            out,
            # What an earlier training changed is handed on.
            tower=self.learning.tower_rate is not None or has(start, TOWER),
            language_model=self.speaks or self.learning.lm_rate is not None or has(start, LANGUAGE_MODEL),
            ranks=work.ranks,
        )
        return learner.curve

    def _begun(self, encoder: Encoder, start: Path | None, seed: int) -> tuple[Llava, Any, str]:
        """The model as it begins, its tokenizer, and the language model's commit on the hub."""
        kept = None if start is None else read_kept(start)
        # Small steps are lost in half precision; what is frozen is read in it.
        precision = self.learning.precision if self.learning.lm_rate is None else "fp32"
        if start is not None and has(start, LANGUAGE_MODEL):
            words, tokenizer = read_language_model(start, precision)
        else:
            # What the training before it read: under its name the hub may have another by now.
            name = f"{self.model.lm.partition('@')[0]}@{kept.commit}" if kept and kept.commit else self.model.lm
            words, tokenizer = load_language_model(name, seed=seed, precision=precision)
        commit = getattr(words.config, "_commit_hash", None) or ("" if kept is None else kept.commit)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.network(VisionTower(encoder, self.model.layer), words)
        if start is not None:
            fill(model, start)
        return model, tokenizer, commit

    def _learn(
        self, title: str, own: Trainee[LlavaLearner], tokenizer: Any, leg: Leg, seed: int, work: StageWork
    ) -> None:
        """
        Raises:
            UserError: a loss is no number, memory is full, or no sample can be learnt from.
            KeyboardInterrupt: SIGINT or SIGTERM came; the step was finished and kept.
        """
        config, ranks, tower = self.learning, work.ranks, own.learner.model.tower
        what = f"{title}: {self.called}"
        if ranks.leads:
            _say(
                f"{what}: {_rates(config)} for a batch of {config.batch} samples over all ranks ({ranks.size}), in parts of {config.part}"
            )
        training = Training(
            name=what,
            folder=own.checkpoints.folder,
            ranks=ranks,
            trainees=[own],
            legs=[leg],
            rate=lambda leg, step: rate_at(config, step, leg.end),
            open_loader=partial(
                self._batches, self.pictures(tower.side, tower.patch), tower.recipe, tokenizer, seed, work
            ),
            accumulate=config.parts(ranks.size),
            advice="try smaller rates",
            room="use a GPU with more memory or more of them" + (", or a smaller part=" if config.part > 1 else ""),
        )
        hooks = [BarHook(work.progress, what), CheckpointHook(max(1, leg.end // _SAVES))]
        if not SafeRunner(training, hooks).train():
            raise KeyboardInterrupt

    def _batches(
        self,
        pictures: Anyres | Square,
        recipe: PixelRecipe,
        tokenizer: Any,
        seed: int,
        work: StageWork,
        leg: Leg,
        step: int,
        positions: Mapping[int, Position] | None,
    ) -> Generator[LlavaPart]:
        """The rest of the training's parts from this step on."""
        # On a CPU the model takes all cores, and processes that decode would only wait for them.
        workers = 0 if work.ranks.device.type == "cpu" else work.workers
        return open_batches(
            self.samples,
            self.learning,
            seed=seed,
            ranks=work.ranks,
            workers=workers,
            first=step,
            pictures=pictures,
            recipe=recipe,
            format=self.format(tokenizer),
            kept=work.folder,
        )


@dataclass(frozen=True)
class AlignTraining(LlavaTraining):
    """Stage 1."""

    name: ClassVar[str] = "llava-align"
    split: ClassVar[str] = "align"
    called: ClassVar[str] = "aligning the projector"

    def pictures(self, side: int, patch: int) -> Anyres | Square:
        return Square(side, patch, self.model.square)

    def format(self, tokenizer: Any) -> ChatML | Captions:
        return Captions(tokenizer)


@dataclass(frozen=True)
class CrocTraining(AlignTraining):
    """Croc's, between the two, on the same captions: projector and language model."""

    learning: CrocLearning
    before: Stage

    name: ClassVar[str] = "llava-croc"
    called: ClassVar[str] = "Croc's stage"

    @property
    def after(self) -> Stage:
        return self.before

    def network(self, tower: VisionTower, language_model: Any) -> Llava:
        return Croc(tower, language_model, self.learning)


@dataclass(frozen=True)
class InstructTraining(LlavaTraining):
    """Stage 2, which leaves all that answers need."""

    before: Stage
    """What leaves the projector that it begins with."""

    name: ClassVar[str] = "llava-instruct"
    split: ClassVar[str] = "instruct"
    called: ClassVar[str] = "training the language model"
    speaks: ClassVar[bool] = True

    @property
    def after(self) -> Stage:
        return self.before


def stages_of(recipe: LlavaRecipe, dataset: Dataset) -> InstructTraining:
    """The trainings of a recipe, the last of which goes on from the others.

    Args:
        dataset: with the splits `align` and `instruct`.
    """
    captions = only(dataset, AlignTraining.split)
    before = AlignTraining(recipe.model, recipe.align, captions)
    if recipe.croc is not None:
        before = CrocTraining(recipe.model, recipe.croc, captions, before)
    return InstructTraining(recipe.model, recipe.instruct, only(dataset, InstructTraining.split), before)


def rate_at(config: LlavaLearning, step: int, steps: int) -> float:
    """Of the projector: linear warm-up, then a cosine to zero. As in the published trainer, warm-up is rounded up to whole steps."""
    return cosine(step, steps, peak=config.projector_rate, warm_up=math.ceil(config.warm_up * steps))


def has(start: Path | None, name: str) -> bool:
    """Whether an earlier training left this."""
    return start is not None and (start / name).exists()


def _rates(config: LlavaLearning) -> str:
    named = {"projector": config.projector_rate, "encoder": config.tower_rate, "language model": config.lm_rate}
    return ", ".join(f"{name} {'frozen' if rate is None else f'rate {rate:g}'}" for name, rate in named.items())
