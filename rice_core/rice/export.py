"""What a training hands on: encoder/ for `rice:FOLDER`, and hf/ for transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from rice_core.disk.temporaries import beside
from rice_core.encoders.rice import CONFIG, WEIGHTS, save_rice
from rice_core.measure.provenance import commit
from rice_core.model.mlcd import save_hugging_face
from rice_core.model.vit import ViT
from rice_core.ranks import Ranks
from rice_core.rice.config import TrainConfig
from rice_core.rice.learner import RegionLearner

_TRAINING = "rice_core.rice.launch"
"""What it imports is what trained."""


def export(
    learner: RegionLearner, config: TrainConfig, ranks: Ranks, data: str, folder: Path, *, leg: int, steps: int
) -> None:
    """Write FOLDER/encoder and FOLDER/hf: the trunk, averaged where the configuration asks for it. Every rank calls it.

    Args:
        data: the manifest's digest. leg: index of the stage that it was trained in last. steps: optimizer steps done.
    """
    state = learner.trunk_state()
    if ranks.leads:
        folder.mkdir(parents=True, exist_ok=True)
        resolution = config.stages[leg].resolution
        with torch.device("meta"):  # drawing weights would move the generator of the training
            vit = ViT(config.model.trunk.model_copy(update={"resolution": resolution}))
        vit.load_state_dict(state, assign=True)
        tags = _tags(config, steps, data)
        draft = beside(folder / "encoder")
        regions = config.region_settings
        save_rice(draft, vit, tags=tags, mean=config.mean, std=config.std, regions=regions)
        (folder / "encoder").mkdir(exist_ok=True)
        for name in (WEIGHTS, CONFIG):  # in this order, so that the folder is complete when its configuration is there
            (draft / name).replace(folder / "encoder" / name)
        shutil.rmtree(draft)
        save_hugging_face(folder / "hf", vit, mean=config.mean, std=config.std, tags=tags, regions=regions)
    ranks.wait()


def _tags(config: TrainConfig, steps: int, data: str) -> dict[str, str]:
    head, dirty = commit((_TRAINING,))
    facts = {
        "training": config.name,
        "objective": config.objective.name,
        "data": data,
        "steps": str(steps),
        "samples": str(steps * config.batch),
        "seed": str(config.seed),
    }
    if config.ema:
        facts["weights"] = f"moving average, decay {config.ema}"
    if head:
        facts["commit"] = head + (" and uncommitted changes" if dirty else "")
    return dict(config.tags) | facts
