"""Validator: what the objective makes of curated images that are not trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import cast

from rice_core.digest import file_digest
from rice_core.errors import UserError
from rice_core.regions import CENTERS, IMAGE_CENTERS, RegionManifest, read_region_manifest
from rice_core.train.batch import Batch
from rice_core.train.config import Stage, TrainConfig
from rice_core.train.learner import Learner
from rice_core.train.loader import RegionLoader
from rice_core.train.parallel import World

_CENTERS = {"object": CENTERS, "image": IMAGE_CENTERS}


class Validator:
    """Measures a learner on a curated folder: about one pass, the same images, regions and negatives at every call.

    Args:
        folder: its labels are the training's classes.
        workers: processes that decode images while it measures, for each rank.

    Raises:
        UserError: no such folder, it cannot be divided among the ranks, or its labels are other classes.
    """

    def __init__(
        self, config: TrainConfig, training: RegionManifest, learner: Learner, folder: Path, world: World, workers: int
    ) -> None:
        self._manifest = read_region_manifest(folder)
        for name in learner.banks:
            if self._manifest.banks.get(name) != training.banks[name] or not _same(config.data.path, folder, name):
                raise UserError(
                    f"the {name} labels of {folder} are not the classes that are trained; "
                    f"curate it with --centers {config.data.path}."
                )
        self._config, self._learner = _whole_images(config, folder, len(self._manifest.shards), world), learner
        self._world, self._workers = world, workers

    def __call__(self, stage: Stage) -> dict[str, float]:
        """Loss and statistics by name, averaged over batches, at the stage's resolution. Every rank has to call it."""
        loader = RegionLoader(
            self._config,
            self._manifest,
            stage=stage,
            rank=self._world.rank,
            world=self._world.size,
            workers=self._workers,
            device_kind=self._world.device.type,
        )
        batches = max(1, self._manifest.samples // self._config.batch)
        with contextlib.closing(cast(Generator[Batch], iter(loader))) as parts:
            return self._learner.measure(islice(parts, batches * self._config.accumulate))


def _same(training: Path, folder: Path, bank: str) -> bool:
    """Whether the centers behind a bank's labels are the same file; true where there is none, as for tokens."""
    paths = [each / _CENTERS[bank] for each in (training, folder) if bank in _CENTERS]
    if not all(path.is_file() for path in paths):
        return True
    return len({file_digest(path) for path in paths}) <= 1


def _whole_images(config: TrainConfig, folder: Path, shards: int, world: World) -> TrainConfig:
    """The training's batches of another folder: uncropped, in as many streams as its shards allow."""
    most = min(shards, config.data.streams)
    fitting = [n for n in range(most, 0, -1) if n % world.size == 0 and config.batch % (n * config.accumulate) == 0]
    if not fitting:
        raise UserError(
            f"{folder} has {shards} shards, which cannot be divided among {world.size} ranks and "
            f"{config.accumulate} parts of a batch of {config.batch}; curate it with a smaller --shard-samples."
        )
    data = config.data.model_copy(
        update={"path": folder, "streams": fitting[0], "crop_scale": (1.0, 1.0), "flip": False}
    )
    return config.model_copy(update={"data": data})
