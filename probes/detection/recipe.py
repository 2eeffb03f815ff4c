"""What a detection number means: the detector, how it is trained, how it is judged. Named recipes at the end.

The paper names the detector (Cascade Mask R-CNN on a frozen encoder, a pyramid without parameters) and a "Res" of each row, and
nothing else: no schedule, rate, augmentation or head. `paper@2` states ours once; each choice stands in the record's assumptions.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rice_core.features import Norm
from rice_core.spec import Frozen
from rice_core.train.schedule import dropping

RATES = (1 / 3, 1.0, 3.0)
"""What `rate=chosen` chooses from, in rates of the recipe."""
_WIDEST = 2**14
"""Channels, and pixels of a side; with the other limits a slip of the finger is told at once, and not by the machine's memory."""


WHOLE = (
    "detectron2 draws and averages within each part of a step, so with accumulate= it would be another training; write backend=ops, or leave "
    "out accumulate= and use more ranks."
)
"""Why detectron2's own modules make a step in one part alone."""

Side = Annotated[float, Field(gt=0, le=_WIDEST)]


class HeadConfig(Frozen):
    """The detector. Defaults are detectron2's Cascade Mask R-CNN with the paper's pyramid."""

    anchors: tuple[Side, Side, Side, Side, Side] = (32, 64, 128, 256, 512)
    """Square root of an anchor's area in canvas pixels, of each level, the finest first: detectron2's are for views of 1024."""

    unpool: Literal["nearest", "bilinear", "zeros"] = "nearest"
    """How the finer levels are made of the last map; the paper says "unpooling" alone. zeros: each token in the top left of its block."""
    # A projection needs a gradient through RoIAlign's backward into the pyramid: 40 % of a miniature step (docs/log.md).
    projection: int | None = Field(default=None, ge=1, le=_WIDEST)
    """Width of a 1x1 convolution before the pyramid; None: the encoder's channels as they are [paper]."""
    rpn_width: int | None = Field(default=None, ge=1, le=_WIDEST)
    """Channels of the region proposal network's convolution; None: as many as the pyramid has."""
    rpn_convs: int = Field(default=1, ge=1)
    box_head: Literal["2fc", "4conv1fc"] = "2fc"
    """Of each stage: two fully connected layers, or ViTDet's four convolutions with layer norm and one."""
    conv_width: int = Field(default=256, ge=1, le=_WIDEST)
    fc_width: int = Field(default=1024, ge=1, le=_WIDEST)
    mask_convs: int = Field(default=4, ge=1)
    regions: int = Field(default=512, ge=1)
    """Proposals of an image that the stages learn from, a quarter of them positive at most."""
    proposals: int = Field(default=1000, ge=1)
    """After suppression, in training and in test; twice as many go into it in training."""
    federated: bool = False
    """LVIS: sigmoid in place of softmax, and only some absent categories count as negative (Zhou et al. 2021)."""
    score_threshold: float = Field(default=0.05, ge=0, lt=1)
    detections: int = Field(default=100, ge=1)
    """Of an image."""


class TrainingConfig(Frozen):
    """The optimisation of the head. The encoder is frozen."""

    side: int = Field(default=1024, ge=16, le=_WIDEST)
    """Pixels, square, that the encoder sees; rounded to the nearest multiple of its patch."""
    iterations: int = Field(default=90_000, ge=1, le=10**8)
    batch: int = Field(default=16, ge=1, le=10**5)
    """Images a step, over all ranks."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a rank's share of the batch is cut into, where it does not fit into memory at once. The step learns what it would in one,
    from the same draws and means over the whole share; for that all parts are seen once before, which makes it 1.2 times as long."""
    rate: float = Field(default=1e-4, gt=0, le=1e3)
    weight_decay: float = Field(default=0.1, ge=0)
    warm_up: int = Field(default=1000, ge=0)
    drops: tuple[float, ...] = (8 / 9, 26 / 27)
    """Shares of the schedule at which the rate falls to a tenth."""
    clip: float | None = Field(default=1.0, gt=0)
    jitter: tuple[float, float] = (0.1, 2.0)
    """Large-scale jitter: the image is resized by this much of `side`, then cropped or padded to it."""
    flip: bool = True
    views: int | None = Field(default=None, ge=1, le=10**6)
    """Views of an image, drawn once, the same and in the same order for every seed and head, so that features can be kept and
    shared; None: each view is drawn anew by the seed."""
    repeat_threshold: float | None = Field(default=None, gt=0, lt=1)
    """LVIS: images of categories rarer than this share are shown more often (Gupta et al. 2019)."""
    precision: Literal["bf16", "fp32"] = "bf16"
    norm: Norm = "none"
    """Of the tokens before the pyramid: none (as the model gives them, behind its final norm or not), final or layer."""

    @model_validator(mode="after")
    def _divides(self) -> TrainingConfig:
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} images does not divide into accumulate={self.accumulate} parts")
        return self


class Recipe(Frozen):
    """All that fixes a detection number beside the encoder, the data and the seed."""

    name: str
    reading: str = ""
    """How it reads what the paper leaves open, one sentence; empty where it stands for nothing of the paper."""
    head: HeadConfig = HeadConfig()
    training: TrainingConfig = TrainingConfig()
    epochs: int | None = Field(default=None, ge=1, le=10**5)
    """Passes over the train images. A set of which they are fewer steps than `training.iterations` is trained for them; None: every
    set is trained for `iterations` steps, whatever its size."""
    rates: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Of `training.rate`, ascending, from which each encoder's is chosen on a held-out part of train; none: it is the rate."""


def scheduled(recipe: Recipe, images: int) -> TrainingConfig:
    """The training on a set of so many train images; the warm-up keeps its share of the steps, as the drops do.

    RF100's own baselines train every set for 100 epochs: YOLOv7 (roboflow/roboflow-100-benchmark at 4522642, yolov7-benchmark/train.sh),
    and mmdetection's Faster R-CNN, TOOD and DINO (projects/RF100-Benchmark: 25 epochs of a set that is repeated four times).
    """
    training = recipe.training
    steps = training.iterations if recipe.epochs is None else math.ceil(recipe.epochs * images / training.batch)
    if steps >= training.iterations:
        return training
    # Nothing can be trained on no image, which is told where it is read.
    steps = max(1, steps)
    warm_up = round(training.warm_up * steps / training.iterations)
    return training.model_copy(update={"iterations": steps, "warm_up": warm_up})


def side_of(side: int, patch: int) -> int:
    """The multiple of the patch that is nearest to `side` pixels, at least one patch."""
    return max(1, round(side / patch)) * patch


def more_room(config: TrainingConfig, *, masks: bool, world: int | None, backend: str) -> str:
    """What to do where a step does not fit into memory: first what changes no number, then what makes another recipe.

    Args:
        world: ranks that share a step; None where each has as many images at once, whatever their number.
    """
    own = config.batch // (world or 1)
    finer = () if backend == "detectron2" else range(config.accumulate + 1, own + 1)
    parts = next((n for n in finer if own % n == 0 and config.batch % n == 0), None)
    other = f"a smaller side= or {'masks=off' if masks else 'projection='}, which is another training"
    if world is None:
        return (
            f"give {other}"
            if parts is None
            else f"give accumulate={parts}, which goes on with this training, or {other}"
        )
    same = "use more ranks" if parts is None else f"give accumulate={parts} or more ranks"
    return f"{same}, which go on with this training, or {other}"


def rate_at(config: TrainingConfig, step: int) -> float:
    """Linear warm-up, then a tenth at each drop."""
    return dropping(step, config.iterations, peak=config.rate, warm_up=config.warm_up, drops=config.drops)


_INPUT = (
    "Table 3's Res (512, and 518 for a patch of 14) is read as printed, as what the detector sees; another reading is the size that the "
    "encoder was trained at, with a detector of its own size: recipe paper-1024@2."
)
_PRETRAINING = (
    "Table 3's Res (512, and 518 for a patch of 14) is read as the size that the encoder was trained at, and the detector sees 1024 pixels, "
    "as is usual; this is not the reading as printed, which is recipe paper@2."
)

_HALVED = (16, 32, 64, 128, 256)
"""Anchors for views of 512 pixels: detectron2's by the same share of the view (docs/detection.md)."""

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="smoke",
            head=HeadConfig(
                projection=16, rpn_width=16, conv_width=16, fc_width=32, mask_convs=1, regions=16, proposals=50
            ),
            training=TrainingConfig(
                side=96, iterations=6, batch=2, rate=1e-3, warm_up=2, jitter=(0.8, 1.25), flip=False, precision="fp32"
            ),
        ),
        Recipe(
            name="mini",
            head=HeadConfig(rpn_width=48, conv_width=48, fc_width=128, mask_convs=2, regions=64, proposals=200),
            training=TrainingConfig(
                side=96,
                iterations=300,
                batch=4,
                rate=1e-3,
                warm_up=30,
                jitter=(0.8, 1.25),
                flip=False,
                precision="fp32",
            ),
        ),
        Recipe(
            name="quick",
            head=HeadConfig(projection=256, rpn_width=256),
            training=TrainingConfig(side=512, iterations=4000, batch=16, rate=2e-4, warm_up=200),
        ),
        # A first look on one GPU; neither its time nor its agreement with paper@2 has been measured.
        Recipe(
            name="quick@2",
            head=HeadConfig(projection=256, rpn_width=256, anchors=_HALVED),
            training=TrainingConfig(side=512, iterations=4000, batch=16, rate=2e-4, warm_up=200, norm="layer"),
        ),
        # Why this norm: benchmarks/detection_norm.py.
        Recipe(
            name="paper@2",
            reading=_INPUT,
            head=HeadConfig(anchors=_HALVED),
            training=TrainingConfig(side=512, norm="layer"),
            epochs=100,
        ),
        Recipe(name="paper-1024@2", reading=_PRETRAINING, training=TrainingConfig(norm="layer"), epochs=100),
        # As it was before there were two readings: a name of its own, so that its records are never taken for others.
        Recipe(name="paper@1", reading=_PRETRAINING),
    )
}
