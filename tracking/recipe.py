"""What a tracking number means: the tracker, how it is trained, how it follows. Named recipes at the end.

The paper (section 4.4, Table 4) names OSTrack's framework, a frozen encoder, two ViT blocks between encoder and head, 100 epochs of
GOT-10k and 300 epochs of four training sets, and nothing else: no resolution, width, embedding, rate or split. `paper@1` states ours
once, each choice an assumption in the record; what it takes from OSTrack (Ye et al. 2022) is that paper's 256-pixel variant.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rice_core.features import Norm
from rice_core.spec import Frozen
from rice_core.train.schedule import dropping

_WIDEST = 2**14
Cells = Annotated[int, Field(ge=2, le=512)]
Factor = Annotated[float, Field(ge=1, le=32)]


class TrackerConfig(Frozen):
    """The tracker between the frozen encoder and a box. Its sizes are counted in tokens, so that patches of 14 and 16 compare fairly."""

    template_grid: Cells = 8
    """Tokens along a side of the template crop; its pixels are this times the encoder's patch."""
    search_grid: Cells = 16
    template_factor: Factor = 2.0
    """Side of the template crop in sides of the object, sqrt(w h)."""
    search_factor: Factor = 4.0
    norm: Norm = "layer"
    """Of the tokens."""
    width: int | None = Field(default=None, ge=8, le=_WIDEST)
    """Channels of the blocks; None: the encoder's, without a projection."""
    heads: int | None = Field(default=None, ge=1, le=256)
    """Of attention; None: width / 64, at least 1."""
    blocks: int = Field(default=2, ge=1, le=24)
    mlp_ratio: float = Field(default=4.0, gt=0, le=16)
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    foreground: bool = True
    """Whether template tokens are told from each other by whether they show the object: frozen features do not know which one is meant."""
    head_width: int = Field(default=256, ge=8, le=_WIDEST)
    """Channels of the first convolution of each branch; halved three times."""
    prior: float | None = Field(default=None, gt=0, lt=1)
    """About the score of every cell before it has learnt, as RetinaNet's. None: as torch draws it, OSTrack's way, near 0.5, which takes
    hundreds of steps to unlearn."""
    geometry: Literal["exact", "ostrack"] = "exact"
    """exact: a box maps into the crop and back to itself. ostrack: half a search pixel is lost on the way, as there."""
    window: float = Field(default=1.0, ge=0, le=1)
    """How much of a Hann window the score is multiplied by: 1 all of it, 0 none."""
    margin: int = Field(default=10, ge=0)
    """Pixels of the frame that a followed box keeps inside it."""


class LearningConfig(Frozen):
    """The optimisation of the tracker. The encoder is frozen."""

    epochs: int = Field(default=300, ge=1, le=10**5)
    pairs: int = Field(default=60_000, ge=1, le=10**9)
    """Of template and search crop, an epoch."""
    batch: int = Field(default=128, ge=1, le=10**5)
    """Pairs a step, over all ranks; the rate belongs to it."""
    part: int = Field(default=32, ge=1)
    """Pairs of the batch that go through the network at once, and that its batch norm is over: OSTrack's share of one GPU of four.
    So neither memory nor the number of ranks makes it another training."""
    rate: float = Field(default=4e-4, gt=0, le=1e3)
    weight_decay: float = Field(default=1e-4, ge=0)
    warm_up: int = Field(default=0, ge=0)
    """Steps."""
    drops: tuple[float, ...] = (0.8,)
    """Shares of the schedule at which the rate falls to a tenth."""
    clip: float | None = Field(default=0.1, gt=0)
    gap: int = Field(default=200, ge=1)
    """Frames between template and search frame at most."""
    template_jitter: tuple[float, float] = (0.0, 0.0)
    """Of centre (in sides of the object) and of scale (log)."""
    search_jitter: tuple[float, float] = (3.0, 0.25)
    gray: float = Field(default=0.05, ge=0, le=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    """How often both crops are mirrored."""
    flip_each: float = Field(default=0.5, ge=0, le=1)
    """How often each is mirrored for itself besides: OSTrack does both, though its paper speaks of one."""
    brightness: float = Field(default=0.2, ge=0, lt=1)
    focal_weight: float = Field(default=1.0, ge=0)
    giou_weight: float = Field(default=2.0, ge=0)
    l1_weight: float = Field(default=5.0, ge=0)
    got10k: Literal["all", "vottrain", "vottrain-corrected"] = "all"
    """Which of GOT-10k's 9,335 training videos: all, OSTrack's 7,086 as published, or those without the off-by-one."""
    shown: Literal["own", "shared"] = "own"
    """own: each seed is shown pairs of its own. shared: all are shown those of seed 0, and one pass of the encoder trains the trackers of
    all seeds side by side; their spread is then without that of the pairs."""
    precision: Literal["bf16", "fp32"] = "bf16"

    @model_validator(mode="after")
    def _divides(self) -> LearningConfig:
        if self.batch % self.part:
            raise ValueError(
                f"a batch of {self.batch} pairs does not divide into parts of {self.part}; choose part={math.gcd(self.batch, self.part)}"
            )
        return self

    @property
    def steps(self) -> int:
        """Of the whole training; OSTrack drops the last, smaller batch of an epoch."""
        return self.epochs * max(1, self.pairs // self.batch)


class TrackingRecipe(Frozen):
    """All that fixes a tracking number beside the encoder, the data and the seed."""

    name: str
    reading: str = ""
    """How it reads what the paper leaves open, one sentence; empty where it stands for nothing of the paper."""
    tracker: TrackerConfig = TrackerConfig()
    learning: LearningConfig = LearningConfig()
    alone: LearningConfig | None = None
    """Of the probe that is trained on GOT-10k alone, where that is another (100 epochs, all its videos); None: the same."""


def rate_at(config: LearningConfig, step: int) -> float:
    """Linear warm-up, then a tenth at each drop."""
    return dropping(step, config.steps, peak=config.rate, warm_up=config.warm_up, drops=config.drops)


def more_room(config: LearningConfig) -> str:
    """What to do where a step does not fit into memory."""
    smaller = next((n for n in range(config.part - 1, 0, -1) if config.batch % n == 0), None)
    return "use a GPU with more memory" + (
        "" if smaller is None else f", or give part={smaller}, which is another training"
    )


_READING = (
    "Table 4 names no crop: the search region is 16 x 16 tokens of 4 sides of the object and the template 8 x 8 tokens of 2, as in OSTrack "
    "at 256 pixels, whatever the encoder's patch."
)
_FOUR = LearningConfig(got10k="vottrain")
_ALONE = LearningConfig(epochs=100)

RECIPES: dict[str, TrackingRecipe] = {
    recipe.name: recipe
    for recipe in (
        TrackingRecipe(
            name="smoke",
            tracker=TrackerConfig(template_grid=4, search_grid=8, blocks=1, head_width=16, prior=0.02),
            learning=LearningConfig(epochs=1, pairs=12, batch=4, part=4, rate=1e-3, gap=10, precision="fp32"),
        ),
        TrackingRecipe(
            name="mini",
            tracker=TrackerConfig(template_grid=6, search_grid=12, head_width=64, prior=0.02),
            learning=LearningConfig(
                epochs=10, pairs=640, batch=16, part=16, rate=2e-3, warm_up=20, gap=20, flip_each=0, precision="fp32"
            ),
        ),
        # The paper's probe as far as it says what it is.
        TrackingRecipe(name="paper@1", reading=_READING, learning=_FOUR, alone=_ALONE),
        # OSTrack's own arithmetic around the same frozen encoder: for whoever compares with its code.
        TrackingRecipe(
            name="ostrack@1", tracker=TrackerConfig(geometry="ostrack", norm="final"), learning=_FOUR, alone=_ALONE
        ),
    )
}
