"""StudyPlan: several ways of training an encoder, each with several seeds, and the probes that judge them.

A replicate of an arm is one seed: its own training scenes, its own initial weights and batches, its own probe seed. What is
measured are ordinary cells of ordinary encoders; their place in the study stands in the facts that the encoder carries.

Folders below the store:

    worlds/             scenes drawn for training, by seed
    curated/DIGEST      their regions and labels, by scenes and settings
    trained/DIGEST      one training, by its configuration: arms of two studies that agree share it
    studies/NAME/...    an arm's encoder with its facts; what `rice:` reads
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rice_core.digest import json_digest
from rice_core.rice.config import TrainConfig, Validation
from rice_core.rice.curate.settings import CurateSettings

NO_DATA = Path("unset")
"""Of a configuration whose data folder is known only once its replicate is curated."""


@dataclass(frozen=True)
class TrainingArm:
    """One row of the study's table."""

    label: str
    config: TrainConfig
    """Its data path is set for each replicate, where there is something to curate."""
    curation: CurateSettings | None
    """None: the data path is a curated folder, the same for every seed."""
    trained: bool = True
    """False: the trunk as it is drawn, before the first step."""
    value: float | None = None
    """Its place on the study's axis."""
    reference: bool = False
    """What the others are compared with."""
    yardstick: bool = False
    """A floor or ceiling, no rival: it is told more, or has learnt nothing."""


@dataclass(frozen=True)
class StudyPlan:
    """A table to be."""

    name: str
    """As in "mini:encoders" or "table:5a"."""
    arms: tuple[TrainingArm, ...]
    seeds: tuple[int, ...]
    scenes: int
    """Training images of a replicate."""
    probes: dict[str, tuple[str, ...]]
    """Data set -> the probes that run on it."""
    axis: str = ""
    """What `TrainingArm.value` is: N, K, rho, M."""
    control: str = ""
    """What is held equal between the arms: "equal compute", "converged on 2,500 scenes"."""
    scale: str = "mini"

    def facts(self, arm: TrainingArm, seed: int) -> dict[str, str]:
        """What an arm's encoder of one seed says of its place."""
        facts = {
            "study": self.name,
            "arm": arm.label,
            "arm_order": str(self.arms.index(arm)),
            "train_seed": str(seed),
            "scale": self.scale,
            "control": self.control,
            "axis": self.axis if arm.value is not None else "",
            "value": "" if arm.value is None else f"{arm.value:g}",
            "reference": "1" if arm.reference else "",
            "yardstick": "1" if arm.yardstick else "",
        }
        return {key: value for key, value in facts.items() if value}

    def folder(self, arm: TrainingArm, seed: int) -> Path:
        """Of an arm's encoder, below the store."""
        scale = "" if self.scale == "mini" else f"-{self.scale}"
        return Path("studies", _slug(f"{self.name}-{self.control}{scale}"), f"{_slug(arm.label)}-seed{seed}")


def replicate(config: TrainConfig, seed: int, data: Path, held_out: Path | None = None) -> TrainConfig:
    """The configuration of one seed on its own data, measured on held-out images where there are some."""
    validation = None if held_out is None else Validation(path=held_out)
    data_config = config.data.model_copy(update={"path": data})
    return config.model_copy(update={"seed": seed, "data": data_config, "validation": validation})


def training_digest(config: TrainConfig, data_digest: str) -> str:
    """What fixes the weights: the configuration without names, places and probes, and the data."""
    body: dict[str, Any] = config.model_dump(
        mode="json", exclude={"name", "tags", "probe", "validation", "log_every", "save_every", "export_every"}
    )
    body["data"].pop("path")
    return json_digest([body, data_digest])[:20]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")
