"""CurateSettings: everything that changes what curation writes. Workers and devices are flags and change nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rice_core.spec import Frozen


class CurateSettings(Frozen):
    """Providers by name, the filters and the sizes; the filters are the paper's."""

    proposals: str = "classical"
    """classical, coco, sa1b, sam:ID, sam2:ID or none."""
    text: str = "rapidocr"
    """rapidocr, pp-ocr:DETECTOR+READER, annotations or none."""
    tokenizer: str = "clip-bpe"
    """clip-bpe, syllables or hf:NAME."""
    features: str = "hog"
    """hog, or any encoder as `ricebench list encoders` names it."""
    labels: Literal["clusters", "truth"] = "clusters"
    """truth: the categories of the annotations in the place of clusters, for a supervised ceiling."""
    captions: Literal["none", "coco", "sidecar"] = "none"
    """coco: `annotations/captions_*.json`. sidecar: `NAME.txt` beside `NAME.jpg`."""
    split: str = "train"
    """Of a COCO-format folder: train, val, or all. Other folders have no splits and are taken whole."""
    classes: int = Field(default=1000, ge=2)
    """K, the clusters of object regions (paper: 1M over 2B regions)."""
    image_classes: int = Field(default=0, ge=0)
    """Clusters of whole images, for MLCD; 0 makes none."""
    image_labels: int = Field(default=10, ge=1)
    """Nearest clusters kept for each whole image."""
    min_image: int = Field(default=336, ge=0)
    """Shorter edge of an image, in pixels of the original."""
    min_box: int = Field(default=128, ge=0)
    """Shorter edge of an object's box, in pixels of the original; text lines are thin and not filtered by size."""
    min_text_score: float = Field(default=0.7, ge=0, le=1)
    """Confidence that the text spotter must exceed."""
    min_cluster: int = Field(default=2, ge=1)
    """Clusters with fewer regions are dropped, and their regions go to the nearest one that stays."""
    iterations: int = Field(default=20, ge=1)
    """Lloyd iterations of each k-means."""
    refine: int = Field(default=5, ge=0)
    """Further full Lloyd passes over everything after the second level of two-level k-means."""
    fit_rows: int = Field(default=2_000_000, ge=1)
    """More regions than this are clustered in two levels: this many at a time, then their weighted centers."""
    shard_samples: int = Field(default=1000, ge=1)
    """Images a shard."""
    limit: int | None = Field(default=None, ge=1)
    """Images at most, the first by hashed name."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of k-means; faiss takes no larger one."""

    @model_validator(mode="after")
    def _makes_regions(self) -> CurateSettings:
        if self.proposals == "none" and self.text == "none":
            raise ValueError("proposals and text are both none, so there would be no region")
        return self
