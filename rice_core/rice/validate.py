"""Validator: what the objective makes of curated images that are not trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rice_core.digest import file_digest
from rice_core.errors import UserError
from rice_core.ranks import Ranks
from rice_core.rice.batch import Batch
from rice_core.rice.config import ResolutionStage, TrainConfig
from rice_core.rice.learner import RegionLearner
from rice_core.rice.loader import RegionLoader
from rice_core.rice.regions import CENTERS, IMAGE_CENTERS, MANIFEST, RegionManifest, read_region_manifest

_CENTERS = {"object": CENTERS, "image": IMAGE_CENTERS}


class Validator:
    """Measures a learner on a curated folder: one pass, the same images, regions and negatives at every call.

    Args:
        folder: its labels are the training's classes.
        workers: processes that decode images while it measures, for each rank.

    Raises:
        UserError: no such folder, a shard is missing, nothing in it can be used, it has fewer shards or images than there are
            ranks, or its labels are other classes.
    """

    def __init__(
        self,
        config: TrainConfig,
        training: RegionManifest,
        learner: RegionLearner,
        folder: Path,
        ranks: Ranks,
        workers: int,
    ) -> None:
        self._manifest = read_region_manifest(folder)
        self.digest = file_digest(folder / MANIFEST)
        self._config, self._learner = _whole_images(config, folder, self._manifest, ranks), learner
        self._ranks, self._workers = ranks, workers
        for name in learner.banks:
            if name not in self._manifest.banks:
                raise UserError(f"{folder} has no {name} labels, which are trained; curate it with what is missing.")
            if self._manifest.banks[name] != training.banks[name] or not _same(config.data.path, folder, name):
                raise UserError(
                    f"the {name} labels of {folder} are not the classes that are trained; "
                    f"curate it with --centers {config.data.path}."
                )
        # What cannot be read is said now, not hours later.
        with self._open(config.stages[0], workers=0) as parts:
            next(parts)

    def __call__(self, stage: ResolutionStage) -> dict[str, float]:
        """Loss and statistics by name, averaged over batches, at the stage's resolution. Every rank has to call it."""
        batches = self._manifest.samples // self._config.batch
        with self._open(stage, self._workers) as parts:
            return self._learner.measure(islice(parts, batches * self._config.accumulate))

    @contextlib.contextmanager
    def _open(self, stage: ResolutionStage, workers: int) -> Iterator[Iterator[Batch]]:
        loader = RegionLoader(self._config, self._manifest, stage=stage, ranks=self._ranks, workers=workers)
        with contextlib.closing(iter(loader)) as parts:
            yield parts


def _same(training: Path, folder: Path, bank: str) -> bool:
    """Whether the centers behind a bank's labels are the same file; true where neither has one, as for tokens."""
    paths = [each / _CENTERS[bank] for each in (training, folder) if bank in _CENTERS]
    return len({file_digest(path) if path.is_file() else None for path in paths}) <= 1


def _whole_images(config: TrainConfig, folder: Path, manifest: RegionManifest, ranks: Ranks) -> TrainConfig:
    """The training's batches of another folder: uncropped, a stream a rank, and none larger than the folder."""
    parts = ranks.size * config.accumulate
    if len(manifest.shards) < ranks.size or manifest.samples < parts:
        raise UserError(
            f"{folder} has {manifest.samples} images in {len(manifest.shards)} shards, too few for {ranks.size} ranks and "
            f"{config.accumulate} parts of a batch; curate more images, or with a smaller --shard-samples."
        )
    batch = min(config.batch, manifest.samples // parts * parts)
    data = config.data.model_copy(
        update={"path": folder, "streams": ranks.size, "crop_scale": (1.0, 1.0), "flip": False}
    )
    return config.model_copy(update={"data": data, "batch": batch})
