"""CellWork: the `Work` that the runner hands to a probe."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image

from rice_core.budget import Budget, budget_of
from rice_core.datasets import Dataset, Sample, label_map
from rice_core.digest import canonical_json, json_digest
from rice_core.encoders.private import private
from rice_core.errors import NotApplicable
from rice_core.features import Encoder
from rice_core.measure.child import run_child
from rice_core.pooling import MEAN, Pooling, check_poolable
from rice_core.probe import DenseBatch, DenseImage, Items, SplitName
from rice_core.record import Artifact, Cell, Record, Skipped, Told, UsedStage
from rice_core.stage import E, Ready, Stage, chain

if TYPE_CHECKING:  # handed in, and no part of what a number is made of (rice_core.measure.closure)
    from rice_core.bundle import Bundle
    from rice_core.measure.extract import Extractor
    from rice_core.measure.stages import Stages, Wanted
    from rice_core.progress import Progress
    from rice_core.store import Store


class CellWork:
    """Data, cache, progress and files of one cell; see `rice_core.probe.Work`.

    Args:
        stages: named by the probe. trainings: makes them. later: those of cells that will be measured after this one.
        made_from: what a number of the cell is made from (`Evidence.reuse_key`); state of another origin is not gone on with.
    """

    def __init__(
        self,
        cell: Cell,
        dataset: Dataset,
        extractor: Extractor,
        store: Store,
        progress: Progress,
        *,
        made_from: Sequence[str] = (),
        workers: int = 0,
        stages: tuple[Stage, ...] = (),
        trainings: Stages | None = None,
        later: Sequence[Wanted] = (),
    ) -> None:
        self.classes = dataset.classes
        self.limit = cell.limit
        self.parts, self.domain = dataset.parts, dataset.domain
        self.workers = workers
        self.stages = stages
        self.used: dict[str, UsedStage] = {}
        """Trainings that the number rests on, by id."""
        self.exports = store.exports(cell.id)
        self.folder = store.unfinished(cell.id, json_digest(list(made_from)))
        self.skipped: dict[str, Skipped] = {}
        """Images and regions that were left out, by item."""
        self._made_from = list(made_from)
        self._cell = cell
        self._dataset = dataset
        self._features = extractor
        self._trainings, self._later = trainings, later
        self._store = store
        self._progress = progress

    def samples(self, split: SplitName) -> tuple[Sample, ...]:
        samples = self._dataset.splits.get(split, ())
        if not samples:
            raise NotApplicable(f"the data set {self._dataset.spec.name} has no images in its split {split!r}")
        return samples

    def annotations(self, split: SplitName) -> Path | None:
        return self._dataset.annotations.get(split)

    def skip(self, item: str, reason: str) -> None:
        self.skipped[item] = Skipped(item=item, reason=reason)

    def items(self, encoder: Encoder, split: SplitName, pooling: Pooling = MEAN) -> Items:
        check_poolable(pooling, encoder, self._cell.encoder.title, self._dataset.provides)
        samples = self.samples(split)
        x, y, ids, clusters = [], [], [], []
        for start in self.progress(self._features.starts(split), f"{self._cell.encoder.title}: {split} features"):
            shard = self._features.shard(split, "items", start, pooling)
            self._note(shard.notes)
            if not shard.arrays:
                continue
            kept = shard.arrays["region_N"] >= 0
            x.append(shard.arrays["x_NC"][kept])
            for row, k in zip(shard.arrays["row_N"], shard.arrays["region_N"], strict=True):
                sample = samples[start + row]
                if k < 0:
                    item = f"{sample.id}#{-1 - k}"
                    self.skipped[item] = Skipped(item=item, reason="the region covers no patch")
                    continue
                regions = "regions" in self._dataset.provides
                label = sample.regions[k].label if regions else sample.label
                y.append(-1 if label is None else label)
                ids.append(f"{sample.id}#{k}" if regions else sample.id)
                clusters.append(sample.id)
        x_NC = np.concatenate(x) if x else np.zeros((0, encoder.dim), np.float32)
        return Items(x_NC, np.array(y, dtype=np.int64), tuple(ids), tuple(clusters), self.classes)

    def dense(self, encoder: Encoder, split: SplitName, *, most: int | None = None) -> Iterator[DenseBatch]:
        samples = self.samples(split)
        starts = self._features.starts(split, most)
        for start in self.progress(starts, f"{self._cell.encoder.title}: {split} patch tokens"):
            shard = self._features.shard(split, "dense", start)
            self._note(shard.notes)
            if not shard.arrays:
                continue
            chosen = shard.arrays["row_N"] < (most or len(samples)) - start
            rows = shard.arrays["row_N"][chosen]
            batch = [samples[start + row] for row in rows]
            pixels = shard.arrays["pixels_NHW3"][chosen]
            labels = None
            if "regions" in self._dataset.provides:
                sizes = shard.arrays["image_N2"][chosen]
                size_hw = (pixels.shape[1], pixels.shape[2])
                labels = np.stack(
                    [label_map(s, size_hw, (int(h), int(w))) for s, (h, w) in zip(batch, sizes, strict=True)]
                )
            dense = shard.arrays["dense_NCHW"][chosen].astype(np.float32)
            yield DenseBatch(tuple(s.id for s in batch), dense, labels, pixels)

    def images(self, split: str, *, most: int | None = None) -> Iterator[DenseImage]:
        for batch in self.dense(self._features.encoder, split, most=most):  # type: ignore[arg-type]
            yield from batch

    def stage(self, stage: Stage) -> Ready:
        if self._trainings is None or not any(stage == each for named in self.stages for each in chain(named)):
            raise ValueError(f"a probe names the stages that it asks for, and {stage.spec.name} is none of them")
        ready = self._trainings.ready(stage, self._cell.seed, self._later)
        for used in (ready.trained.used, *ready.trained.evidence.stages):
            self.used[used.id] = used
        return ready

    def private(self, encoder: E) -> E:
        return private(encoder)

    def child(self, module: ModuleType, request: Any, *, cwd: Path | None = None, timeout: float | None = None) -> Any:
        return run_child(module, request, cwd=cwd or self.folder / "child", timeout=timeout, say=self._progress.say)

    def budget(self) -> Budget:
        return budget_of(self._cell.encoder, self._records, self._features.space())

    def has(self, about: Mapping[str, Any]) -> bool:
        return self._features.has(self._about(about))

    def find(self, about: Mapping[str, Any]) -> Path | None:
        return self._features.find(self._about(about))

    def keep(self, about: Mapping[str, Any], shard: Bundle) -> Path:
        return self._features.keep(self._about(about), shard)

    def progress(self, sequence: Sequence[Any], what: str) -> Iterator[Any]:
        return self._progress.track(sequence, what)

    def artifact_json(self, name: str, body: Any, **told: Unpack[Told]) -> Artifact:
        return self._store.put_artifact(self._cell.id, name, canonical_json(body).encode(), **told)

    def artifact_jsonl(self, name: str, rows: Iterable[Any], **told: Unpack[Told]) -> Artifact:
        data = "".join(canonical_json(row) + "\n" for row in rows).encode()
        return self._store.put_artifact(self._cell.id, name, data, **told)

    def artifact_png(self, name: str, pixels_HW3: npt.NDArray[np.uint8], **told: Unpack[Told]) -> Artifact:
        buffer = io.BytesIO()
        Image.fromarray(pixels_HW3).save(buffer, format="PNG", optimize=True)
        return self._store.put_artifact(self._cell.id, name, buffer.getvalue(), **told)

    def artifact_webp(self, name: str, pixels_HW3: npt.NDArray[np.uint8], **told: Unpack[Told]) -> Artifact:
        buffer = io.BytesIO()
        Image.fromarray(pixels_HW3).save(buffer, format="WEBP", quality=90)
        return self._store.put_artifact(self._cell.id, name, buffer.getvalue(), **told)

    @cached_property
    def _records(self) -> list[Record]:
        """Read once: a suite asks for its budget a hundred times."""
        return self._store.records()

    def _about(self, about: Mapping[str, Any]) -> dict[str, Any]:
        # What a probe makes depends on its own code, and on as much of the data as it pleases.
        return {"about": dict(about), "made_from": self._made_from}

    def _note(self, notes: dict[str, Any]) -> None:
        for entry in notes.get("skipped", ()):
            self.skipped[entry["item"]] = Skipped(**entry)
