"""CellWork: the `Work` that the runner hands to a probe."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image

from rice_core.changes import Change
from rice_core.datasets import Dataset, Sample
from rice_core.datasets.nouns import NOUNS
from rice_core.datasets.seen import labels_seen, target_seen
from rice_core.digest import canonical_json, json_digest
from rice_core.errors import NotApplicable
from rice_core.features import Encoder, Layered
from rice_core.images import ImageError
from rice_core.measure.training_work import AnyWork
from rice_core.pooling import MEAN, Pooling, check_poolable
from rice_core.probe import DenseBatch, DenseImage, Errand, Items, Read
from rice_core.ranks import Ranks
from rice_core.record import Artifact, Cell, Skipped, Told, UsedStage
from rice_core.stage import Ready, Stage, chain

if TYPE_CHECKING:  # handed in, and no part of what a number is made of (rice_core.measure.closure)
    from rice_core.bundle import Bundle
    from rice_core.measure.extract import Extractor
    from rice_core.measure.run import Engine
    from rice_core.measure.stages import Stages, Wanted


class CellWork(AnyWork):
    """Data, cache, progress and files of one cell; see `rice_core.probe.Work`.

    Args:
        stages: named by the probe. trainings: makes them. later: those of cells that will be measured after this one.
        made_from: what a number of the cell is made from (`Evidence.origin`); state of another origin is not gone on with.
    """

    def __init__(
        self,
        cell: Cell,
        dataset: Dataset,
        extractor: Extractor,
        engine: Engine,
        *,
        made_from: Sequence[str],
        stages: tuple[Stage, ...],
        trainings: Stages,
        later: Sequence[Wanted],
    ) -> None:
        super().__init__(engine)
        self.limit, self.stages = cell.limit, stages
        self.classes, self.parts, self.domain = dataset.classes, dataset.parts, dataset.domain
        self.used: dict[str, UsedStage] = {}
        """Trainings that the number rests on, by id."""
        self.deterministic = True
        """Whether all of them are."""
        self.exports = engine.store.exports(cell.id)
        self.folder = engine.store.unfinished(cell.id, json_digest(list(made_from)))
        self.skipped: dict[str, Skipped] = {}
        """Images and regions that were left out, by item."""
        self._cell, self._dataset, self._features, self._trainings, self._later = (
            cell,
            dataset,
            extractor,
            trainings,
            later,
        )
        self._store = engine.store

    def samples(self, split: str, kind: type[Any] = Sample) -> Sequence[Any]:
        splits = self._dataset.splits
        items = splits.get(split, ())
        if items and isinstance(items[0], kind):
            return items
        there = [f"{name} ({len(each)} {NOUNS[type(each[0])]})" for name, each in sorted(splits.items()) if each]
        raise NotApplicable(
            f"the data set {self._dataset.spec.name} has no {NOUNS[kind]} in its split {split!r}, only {', '.join(there) or 'empty ones'}"
        )

    def annotations(self, split: str) -> Path | None:
        return self._dataset.annotations.get(split)

    def skip(self, item: str, reason: str) -> None:
        self.skipped[item] = Skipped(item=item, reason=reason)

    def items(
        self, encoder: Encoder, split: str, pooling: Pooling = MEAN, *, change: str = "", layer: int | None = None
    ) -> Items:
        check_poolable(pooling, encoder, self._cell.encoder.title, self._dataset.provides)
        samples = self.samples(split)
        x, y, ids, clusters = [], [], [], []
        for start, shard in self._shards(Read(split, "items", None, pooling, change, layer), f"{split} features"):
            kept = shard.arrays["region_N"] >= 0
            x.append(shard.arrays["x_NC"][kept])
            for row, k in zip(shard.arrays["row_N"], shard.arrays["region_N"], strict=True):
                sample = samples[start + row]
                if k < 0:
                    self.skip(f"{sample.id}#{-1 - k}", "the region covers no patch")
                    continue
                regions = "regions" in self._dataset.provides
                label = sample.regions[k].label if regions else sample.label
                y.append(-1 if label is None else label)
                ids.append(f"{sample.id}#{k}" if regions else sample.id)
                clusters.append(sample.cluster)
        x_NC = np.concatenate(x) if x else np.zeros((0, encoder.dim), np.float32)
        return Items(x_NC, np.array(y, dtype=np.int64), tuple(ids), tuple(clusters), self.classes)

    def dense(
        self, encoder: Encoder, split: str, *, most: int | None = None, change: str = "", layer: int | None = None
    ) -> Iterator[DenseBatch]:
        samples = self.samples(split)
        read = Read(split, "dense", most, change=change, layer=layer)
        for start, shard in self._shards(read, f"{split} patch tokens"):
            of_image = {}
            for i, row in enumerate(shard.arrays["row_N"]):
                if start + row < (most or len(samples)):
                    of_image[i] = self._truth(read, samples[start + row], shard, i)
            chosen = [i for i, truth in of_image.items() if truth is not None]
            if not chosen:
                continue
            labels, targets, valid = zip(*(of_image[i] for i in chosen), strict=True)
            images = [samples[start + row] for row in shard.arrays["row_N"][chosen]]
            yield DenseBatch(
                tuple(sample.id for sample in images),
                shard.arrays["dense_NCHW"][chosen].astype(np.float32),
                _stacked(labels),
                shard.arrays["pixels_NHW3"][chosen],
                _stacked(targets),
                _stacked(valid),
                tuple(sample.cluster for sample in images),
            )

    def _shards(self, read: Read, what: str) -> Iterator[tuple[int, Bundle]]:
        """The shards of a read that hold anything, each with its first image."""
        if read.layer is not None and not isinstance(self._features.encoder, Layered):
            title = self._cell.encoder.title
            raise NotApplicable(f"layer={read.layer} needs an encoder that gives its blocks, and {title} does not")
        for start in self.progress(self._features.starts(read.split, read.most), f"{self._cell.encoder.title}: {what}"):
            shard = self._features.shard(read, start)
            for entry in shard.notes.get("skipped", ()):
                self.skip(**entry)
            if shard.arrays:
                yield start, shard

    def _truth(self, read: Read, sample: Sample, shard: Bundle, i: int) -> tuple[Any, Any, Any] | None:
        """Labels, target and where that is valid, of the i-th image; None where it is left out for its target."""
        height, width = (int(side) for side in shard.arrays["image_N2"][i])
        size_hw = shard.arrays["pixels_NHW3"].shape[1:3]
        box = Change.parse(read.change).box((height, width)) if read.change else None
        told = "dense-labels" in self._dataset.provides
        labels_HW = labels_seen(sample, size_hw, (height, width), box) if told else None
        if "targets" not in self._dataset.provides:
            return labels_HW, None, None
        try:
            return labels_HW, *target_seen(sample, size_hw, (height, width), box)
        except ImageError as error:
            self.skip(sample.id, str(error))
            return None

    def images(
        self, split: str, *, most: int | None = None, change: str = "", layer: int | None = None
    ) -> Iterator[DenseImage]:
        for batch in self.dense(self._features.encoder, split, most=most, change=change, layer=layer):
            yield from batch

    def stage(self, stage: Stage) -> Ready:
        if not any(stage == each for named in self.stages for each in chain(named)):
            raise ValueError(f"a probe names the stages that it asks for, and {stage.spec.name} is none of them")
        ready = self._trainings.ready(stage, self._cell.seed, self._later)
        for used in (ready.trained.used, *ready.trained.evidence.stages):
            self.used[used.id] = used
        self.deterministic &= ready.trained.evidence.deterministic
        for skip in ready.trained.skipped:
            self.skipped.setdefault(skip.item, skip)
        return ready

    def share(self, errand: Errand) -> Any:
        if self._trainings is None:
            encoder = self._features.encoder
            return errand.run(encoder, Ranks(0, 1, encoder.device), self.progress)
        return self._trainings.share(errand)

    def artifact_json(self, name: str, body: Any, **told: Unpack[Told]) -> Artifact:
        return self._store.put_artifact(self._cell.id, name, canonical_json(body).encode(), **told)

    def artifact_jsonl(self, name: str, rows: Iterable[Any], **told: Unpack[Told]) -> Artifact:
        data = "".join(canonical_json(row) + "\n" for row in rows).encode()
        return self._store.put_artifact(self._cell.id, name, data, **told)

    def artifact_png(self, name: str, pixels_HW3: npt.NDArray[np.uint8], **told: Unpack[Told]) -> Artifact:
        buffer = io.BytesIO()
        Image.fromarray(pixels_HW3).save(buffer, format="PNG", optimize=True)
        return self._store.put_artifact(self._cell.id, name, buffer.getvalue(), **told)

    def artifact_webp(self, name: str, pixels: npt.NDArray[np.uint8], **told: Unpack[Told]) -> Artifact:
        buffer = io.BytesIO()
        first, *rest = map(Image.fromarray, pixels.reshape(-1, *pixels.shape[-3:]))
        moving = {"save_all": True, "append_images": rest, "duration": 100, "loop": 0} if rest else {}
        first.save(buffer, format="WEBP", quality=90, **moving)
        return self._store.put_artifact(self._cell.id, name, buffer.getvalue(), **told)


def _stacked(maps: Sequence[Any]) -> Any:
    """N maps as one array; None where the data set has none."""
    return None if not maps or maps[0] is None else np.stack(maps)
