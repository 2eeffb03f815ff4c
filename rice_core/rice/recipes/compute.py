"""What a training image costs, so that objectives can be compared at equal compute."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from rice_core.rice.batch import Batch
from rice_core.rice.config import TrainConfig
from rice_core.rice.curate.settings import CurateSettings
from rice_core.rice.objectives import build_objective
from rice_core.rice.regions import Bank, RegionManifest


def training_flops(config: TrainConfig, curation: CurateSettings) -> int:
    """FLOPs of forward and backward of one image at the first stage's resolution, with its regions or its caption.

    The class centers are left out: a bank's logits are a few rows an image, next to nothing here.
    """
    banks = {name: Bank(classes=curation.classes, what="") for name in ("object", "ocr", "image")}
    # Counted before there is any data to whiten.
    config = config.model_copy(update={"model": config.model.model_copy(update={"start": "plain"})})
    network = build_objective(config, RegionManifest(banks=banks, shards=())).network
    with FlopCounterMode(display=False) as counter:
        found = network(_batch(config))
        parts = found if isinstance(found, torch.Tensor) else torch.cat([found.image_BD, found.text_BD])
        parts.float().sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def _batch(config: TrainConfig) -> Batch:
    side, objective = config.stages[0].resolution, config.objective
    patches, N = (side // config.model.trunk.patch) ** 2, objective.regions
    none = torch.zeros(1, 0, dtype=torch.long)
    return Batch(
        pixels_B3HW=torch.zeros(1, 3, side, side, dtype=torch.uint8),
        visible_BNP=torch.ones(1, N, patches, dtype=torch.bool),
        type_BN=torch.zeros(1, N, dtype=torch.long),
        labels_BNM=torch.zeros(1, N, 1, dtype=torch.long),
        weight_BN=torch.ones(1, N),
        image_objects_BL=none,
        image_tokens_BL=none,
        image_clusters_BL=none,
        caption_BL=torch.ones(1, objective.text_tokens, dtype=torch.long),
        keys=("",),
    )
