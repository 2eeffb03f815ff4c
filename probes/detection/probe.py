"""The detection probes: train Cascade Mask R-CNN on the frozen encoder's last map, judge it on the val split (Table 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from probes.detection.recipe import RATES, RECIPES, WHOLE, HeadConfig, Recipe, TrainingConfig, scheduled, side_of
from rice_core.budget import Budget, Passes
from rice_core.errors import NotApplicable, UserError, did_you_mean
from rice_core.record import Outcome
from rice_core.spec import Param, ProbeSpec

if TYPE_CHECKING:
    from pathlib import Path

    from probes.detection.training import DetectorTraining
    from probes.detection.truth import GroundTruth
    from rice_core.datasets import Dataset
    from rice_core.features import Encoder
    from rice_core.probe import Read, Work
    from rice_core.stage import Stage


@dataclass(frozen=True)
class CocoFormatDetection:
    """Detection on any set in COCO's format. What is left at None is the recipe's."""

    recipe: str = "paper@2"
    backend: str = "auto"
    """ops, detectron2, or auto: detectron2 where it imports."""
    masks: str = "auto"
    """on, off, or auto: where the training annotations have them."""
    side: int | None = None
    iterations: int | None = None
    epochs: int | None = None
    """Passes over the train images, of which `iterations` of the recipe are the most; not beside `iterations=`."""
    batch: int | None = None
    accumulate: int | None = None
    views: int | None = None
    rate: float | Literal["chosen"] | None = None
    """A number, or chosen: for each encoder, of a third of the recipe's, that and three times that, on a held-out part of train."""
    precision: str | None = None
    norm: str | None = None
    unpool: str | None = None
    projection: int | None = None
    box_head: str | None = None

    name: ClassVar[str] = "coco-format-det"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Cascade Mask R-CNN on a frozen encoder, your own COCO-format set (AP)"
    needs: ClassVar[frozenset[str]] = frozenset({"dense", "multires"})
    data: ClassVar[frozenset[str]] = frozenset({"regions"})
    instruments: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "pycocotools", "detectron2")
    role: ClassVar[str] = "detection"
    style: ClassVar[str] = "coco"

    def __post_init__(self) -> None:
        self.settings()  # what is misspelt is told before anything is loaded

    @property
    def spec(self) -> ProbeSpec:
        # `accumulate` is how a step fits into memory; a number of another is compared with it, and gone on from.
        given = {name: getattr(self, name) for name in (*_TRAINING, *_HEAD, "epochs") if name != "accumulate"}
        params: dict[str, Param] = {"backend": self.backend, "masks": self.masks}
        params |= {name: value for name, value in given.items() if value is not None and not self._is_own(name, value)}
        return ProbeSpec(name=self.name, version=self.version, recipe=self.recipe, params=params)

    def _is_own(self, name: str, value: object) -> bool:
        """Whether it is what the recipe has: asked for or not, it is one measurement, and may stand beside the paper."""
        base = RECIPES[self.recipe]
        own = {**base.head.model_dump(), **base.training.model_dump(), "epochs": base.epochs}
        # Steps that are asked for are meant whatever the set's size; a recipe's may be cut by its epochs.
        return own[name] == value and (name != "iterations" or base.epochs is None)

    @property
    def reads(self) -> tuple[Read, ...]:
        """Nothing: its views are its own, and go through the encoder here."""
        return ()

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        """See `rice_core.probe.Staged`: the detector, which does not know what it will be judged on."""
        return (self.training_on(dataset, masks=self._learns_masks(dataset)),)

    def training_on(self, dataset: Dataset, *, masks: bool, part: str = "", share: float = 1.0) -> DetectorTraining:
        """The training on a data set's train split; see `DetectorTraining`."""
        from probes.detection.training import DetectorTraining
        from rice_core.datasets import only

        recipe, train = self.settings(), only(dataset, "train", labelled=False)
        training = scheduled(recipe, len(train.splits.get("train", ())))
        made = DetectorTraining(recipe.head, training, self.backend, masks, train, part, share)
        if not recipe.rates:
            return made
        from probes.detection.rates import RateSearch

        return replace(made, search=RateSearch(made, recipe.rates))

    def _learns_masks(self, dataset: Dataset) -> bool:
        from probes.detection.annotations import has_masks

        if self.masks != "auto":
            return self.masks == "on"
        return all(has_masks(_annotations(dataset.annotations.get(s)), dataset.splits[s]) for s in ("train", "val"))

    def passes(self, dataset: Dataset, budget: Budget) -> Passes:
        """See `rice_core.probe.Live`: the images that are judged."""
        return Passes(len(dataset.splits.get("val", ())), self._side(budget), "")

    def _side(self, budget: Budget) -> int:
        side = self.settings().training.side
        return side if budget.patch is None else side_of(side, budget.patch)

    def settings(self) -> Recipe:
        """The recipe with what was given in its place.

        Raises:
            UserError: no such recipe, or a setting that it cannot have.
        """
        from pydantic import ValidationError

        if self.recipe not in RECIPES:
            raise UserError(
                f"{self.name}: there is no recipe {self.recipe!r}; {did_you_mean(self.recipe, RECIPES)}write one of {', '.join(RECIPES)}."
            )
        if self.backend not in ("auto", "ops", "detectron2") or self.masks not in ("auto", "on", "off"):
            raise UserError(f"{self.name}: write backend=auto, ops or detectron2, and masks=auto, on or off.")
        if self.backend == "detectron2" and (self.accumulate or 1) > 1:
            raise UserError(f"{self.name}: {WHOLE}")
        if self.epochs is not None and self.iterations is not None:
            raise UserError(f"{self.name}: epochs= and iterations= both say how long it is trained; give one of them.")
        base = RECIPES[self.recipe]
        # Who asks for so many steps means them, whatever the set's size.
        given = base.epochs if self.epochs is None else self.epochs
        epochs = None if self.iterations is not None else given
        try:
            head = HeadConfig.model_validate(base.head.model_dump() | self._given(_HEAD) | self.judged())
            training = TrainingConfig.model_validate(base.training.model_dump() | self._given(_TRAINING) | self.shown())
            # Of another side it would say what is not so.
            reading = base.reading if training.side == base.training.side else ""
            rates = RATES if self.rate == "chosen" else ()
            return Recipe(name=base.name, reading=reading, head=head, training=training, epochs=epochs, rates=rates)
        except ValidationError as error:
            problem = error.errors()[0]
            said = problem["msg"].removeprefix("Value error, ")
            raise UserError(f"{': '.join([self.name, *map(str, problem['loc']), said])}.") from None

    def judged(self) -> dict[str, Any]:
        """What a data set's protocol asks of the head."""
        return {}

    def shown(self) -> dict[str, Any]:
        """What a data set's protocol asks of the training."""
        return {}

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """See `rice_core.probe.Probe`. The seed draws the head's weights, the order of images, jitter and samples."""
        from probes.detection.outcome import outcome_of
        from probes.detection.trained import check_splits, found_in

        train, val = (self._truth(work, split) for split in ("train", "val"))
        check_splits(train, val, self.masks)
        (stage,) = cast("tuple[DetectorTraining]", work.stages)
        learnt = found_in(encoder, train, val, stage, work.stage(stage), self.settings(), work=work)
        return outcome_of(work, encoder, val, learnt, self.settings(), name=self.name, seed=seed)

    def _truth(self, work: Work, split: str) -> GroundTruth:
        from probes.detection.annotations import read_ground_truth

        path = _annotations(work.annotations(split))
        truth = read_ground_truth(path, work.samples(split), name=path.name)
        if self.style == "lvis" and truth.style != "lvis":
            raise NotApplicable(
                f"{self.name} needs LVIS annotations (frequency, neg_category_ids); use coco-format-det"
            )
        return truth

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) not in (None, "chosen")}


def _annotations(path: Path | None) -> Path:
    if path is None:
        raise NotApplicable("detection needs an annotation file in COCO's format, and this data set has none")
    return path


_TRAINING = ("side", "iterations", "batch", "accumulate", "views", "rate", "precision", "norm")
_HEAD = ("unpool", "projection", "box_head")


@dataclass(frozen=True)
class CocoDetection(CocoFormatDetection):
    """COCO: 80 categories, 118,000 training images. Any set in its format runs; the name says which column it fills."""

    name: ClassVar[str] = "coco-det"
    summary: ClassVar[str] = "Cascade Mask R-CNN on a frozen encoder, COCO (box and mask AP)"


@dataclass(frozen=True)
class LvisDetection(CocoFormatDetection):
    """LVIS v1: federated loss, repeat-factor sampling, 300 detections an image above .02."""

    name: ClassVar[str] = "lvis-det"
    summary: ClassVar[str] = "Cascade Mask R-CNN on a frozen encoder, LVIS v1 (box and mask AP; rare, common, frequent)"
    style: ClassVar[str] = "lvis"

    def judged(self) -> dict[str, Any]:
        return {"federated": True, "score_threshold": 0.02, "detections": 300}

    def shown(self) -> dict[str, Any]:
        return {"repeat_threshold": 0.001}
