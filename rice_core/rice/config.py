"""TrainConfig: everything that fixes a training, in one YAML or JSON file. The defaults are the paper's.

    ricebench train CONFIG --out FOLDER

Where and how much (device, ranks, loader workers) are flags of the command and fix nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rice_core.measure.config import read_settings
from rice_core.model.regions import RegionMode, RegionSettings, usual_layers
from rice_core.model.vit import PRESETS, ViTConfig
from rice_core.rice.loss.config import LossConfig
from rice_core.spec import SEED_MAX, Frozen

ObjectiveName = Literal["rice", "mlcd", "siglip"]
Share = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class ModelConfig(Frozen):
    """The trunk, its region layers, and what training alone needs of it."""

    vit: ViTConfig | Literal["Ti/16", "S/16", "B/16", "L/14"] = "B/16"
    region_layers: int | None = Field(default=None, ge=1)
    """R: the last R blocks also serve as region layers. None: 4 for L/14, 2 for the smaller (the paper states no number)."""
    region_mode: RegionMode = "shared"
    """shared: no new parameters. head: R extra cross-attention blocks on the last tokens, dropped at export."""
    projection: int | None = Field(default=None, ge=1)
    """Width of a linear layer between the embedding and the loss, used in training only; None: no such layer."""
    start: Literal["plain", "whitened"] = "plain"
    """How weights are drawn. plain: as ViTs are. whitened: for short trainings from scratch; the patch convolution whitens
    the training images' patches, other weights have unit gain, and blocks begin as the identity (rice_core.rice.start)."""
    init_from: str | None = None
    """Encoder shorthand (rice:FOLDER or hf:FOLDER_OR_ID of MLCD's class) whose weights are the start."""

    @property
    def trunk(self) -> ViTConfig:
        """The trunk's shape; the resolution is the stage's business."""
        return self.vit if isinstance(self.vit, ViTConfig) else PRESETS[self.vit]

    @property
    def layers(self) -> int:
        """R."""
        return self.region_layers or usual_layers(self.trunk.depth)


class ObjectiveConfig(Frozen):
    """What is learnt. The settings of the others are ignored."""

    name: ObjectiveName = "rice"
    loss: LossConfig = LossConfig()
    regions: int = Field(default=10, ge=1)
    """N: regions an image (Table 5a)."""
    ocr_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the N places kept for OCR regions where an image has both types; each type fills what the other leaves."""
    ocr_labels: int = Field(default=10, ge=1)
    """M: token labels of an OCR region; more are sampled down to M (Table 5d)."""
    type_weights: dict[Literal["object", "ocr"], Annotated[float, Field(ge=0)]] = {"object": 1.0, "ocr": 1.0}
    image_region: bool = False
    """rice: add the whole image, with the labels of all its regions, as one more region (RICE then contains MLCD)."""
    image_labels: Literal["regions", "clusters"] = "regions"
    """mlcd: the union of the image's region labels, or the nearest clusters of the whole image."""
    tokenizer: str = "clip-bpe"
    """siglip: clip-bpe (open_clip's), words (hashed, for the miniature world), or hf:NAME."""
    text_width: int = Field(default=512, ge=8)
    text_depth: int = Field(default=12, ge=1)
    text_heads: int = Field(default=8, ge=1)
    text_tokens: int = Field(default=64, ge=4)
    """siglip: length of a caption."""

    @model_validator(mode="after")
    def _divides(self) -> ObjectiveConfig:
        if self.name == "siglip" and self.text_width % self.text_heads:
            raise ValueError("text_width must be a multiple of text_heads")
        return self


class DataConfig(Frozen):
    """Which shards, and how an image becomes a crop."""

    path: Path
    """The folder that `ricebench curate` wrote; relative to the configuration's file."""
    streams: int = Field(default=8, ge=1)
    """Shards read side by side; the order of samples depends on it and on nothing else (ranks, workers)."""
    crop_scale: tuple[Share, Share] = (0.4, 1.0)
    """Share of the image's area that a random crop keeps; (1, 1) squashes the whole image."""
    flip: bool = False
    """Mirror half of the images; mirrored text no longer reads as its labels say."""
    overlap: float = Field(default=0.5, gt=0, le=1)
    """Share of a patch that a region must cover to see it; text lines see any patch they touch."""

    @model_validator(mode="after")
    def _rises(self) -> DataConfig:
        if self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError("crop_scale must go from the smallest share to the largest")
        return self


class OptimizerConfig(Frozen):
    """AdamW for the trunk; row-lazy AdamW for class centers."""

    rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.2, ge=0)
    betas: tuple[Decay, Decay] = (0.9, 0.98)
    eps: float = Field(default=1e-6, gt=0)
    warm_up: int = Field(default=2000, ge=0)
    """Optimizer steps of linear warm-up at the start of the first stage; then cosine to zero over each stage."""
    clip: float | None = Field(default=1.0, gt=0)
    """Norm to which the trunk's gradient is clipped."""
    centers_rate: float = Field(default=1.0, gt=0)
    """Rate of the centers over that of the trunk."""
    centers_decay: float = Field(default=0.0, ge=0)
    centers_moments: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 halves the moments of the centers, which from 10M classes on is what fits 80 GB; rounded stochastically."""


class ResolutionStage(Frozen):
    """One resolution."""

    resolution: int = Field(ge=1)
    samples: int = Field(ge=1)
    """Images seen in this stage, a multiple of the batch up to rounding down."""
    rate: float = Field(default=1.0, gt=0)
    """Peak learning rate over the optimizer's (paper: 0.1 for the stages after the first)."""


class ProbeHook(Frozen):
    """Probes of the exported encoder while it trains."""

    every: int = Field(ge=1)
    data: str = "mini"
    probes: tuple[str, ...] = Field(default=("knn?recipe=mini", "linear-seg?grid=12&recipe=mini"), min_length=1)
    limit: int | None = Field(default=None, ge=1)


class Validation(Frozen):
    """The objective's own loss and statistics on images that are not trained on: `val/...` in the metrics log.

    One pass over the folder, in whole batches, the same at every call: whole images, regions drawn alike, and negatives of a sample of
    their own. It is the weights as they stand, not their average. At the end of a training it is measured in any case.
    """

    path: Path
    """A folder of `ricebench curate --centers` with the training's; relative to the configuration's file."""
    every: int | None = Field(default=None, ge=1)
    """Steps between measurements."""


class TrainConfig(Frozen):
    """A whole training."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    data: DataConfig
    stages: tuple[ResolutionStage, ...] = Field(min_length=1)
    batch: int = Field(default=32_768, ge=1)
    """Images an optimizer step, over all ranks and accumulation."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a rank's share of the batch is cut into. rice and mlcd learn the same; siglip's negatives are those of a part."""
    optimizer: OptimizerConfig = OptimizerConfig()
    seed: int = Field(default=0, ge=0, le=SEED_MAX)
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[Positive, Positive, Positive] = (0.26862954, 0.26130258, 0.27577711)
    precision: Literal["fp32", "bf16"] = "bf16"
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    """How the trunk is spread under torchrun; class centers are always sharded."""
    compile: bool = False
    checkpoint_activations: bool = False
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights; where it is set, the exported encoder is the average."""
    save_every: int = Field(default=1000, ge=1)
    """Steps between checkpoints; the last two are kept, and the end of every stage."""
    export_every: int | None = Field(default=None, ge=1)
    """Steps between exports beside the one at the end."""
    log_every: int = Field(default=20, ge=1)
    probe: ProbeHook | None = None
    validation: Validation | None = None
    tags: dict[str, str] = {}
    """Carried into the exported encoder's facts, and so into every record."""

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        for stage in self.stages:
            if stage.resolution % self.model.trunk.patch:
                raise ValueError(f"stage {stage.resolution} is no multiple of the {self.model.trunk.patch}-pixel patch")
            if stage.samples < self.batch:
                raise ValueError(
                    f"stage {stage.resolution} has {stage.samples} samples, fewer than one batch of {self.batch}"
                )
        if self.model.layers > self.model.trunk.depth:
            raise ValueError("more region layers than the trunk has blocks")
        if self.batch % self.accumulate:
            raise ValueError("the batch is no multiple of accumulate")
        if self.batch % self.data.streams:
            raise ValueError(f"the batch of {self.batch} is no multiple of the {self.data.streams} data streams")
        return self

    def placed(self, folder: Path) -> TrainConfig:
        """The same with its relative paths below `folder`."""
        data = self.data.model_copy(update={"path": folder / self.data.path})
        update: dict[str, object] = {"data": data}
        if self.validation is not None:
            update["validation"] = self.validation.model_copy(update={"path": folder / self.validation.path})
        return self.model_copy(update=update)

    @property
    def region_settings(self) -> RegionSettings | None:
        """What the exported encoder says of its regions; None where the objective trains none."""
        if self.objective.name != "rice":
            return None
        return RegionSettings(layers=self.model.layers, mode=self.model.region_mode, overlap=self.data.overlap)

    @property
    def steps(self) -> tuple[int, ...]:
        """Optimizer steps of each stage."""
        return tuple(stage.samples // self.batch for stage in self.stages)


def load_train_config(path: Path) -> TrainConfig:
    """Read a training's file.

    Raises:
        UserError: no such file, not YAML or JSON, or a key or value that does not belong.
    """
    config = read_settings(path, TrainConfig, "docs/training.md says where every setting is described")
    return config.placed(path.parent)
