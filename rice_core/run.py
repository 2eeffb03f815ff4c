"""Run a plan: cells in, records out. Resume is running the same command again.

One encoder is loaded at a time and serves all its cells. A cell whose record is sound and was made from the same
weights, data and code is reused; every other is measured and its record written at once.
"""

from __future__ import annotations

import contextlib
import random
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import Literal

import numpy as np
import torch

from rice_core.cache import FeatureCache
from rice_core.datasets import Dataset, data_digest, file_digests
from rice_core.encoders import load_encoder
from rice_core.errors import NotApplicable, StoreError, UserError
from rice_core.extract import Extractor
from rice_core.features import Encoder
from rice_core.probe import Probe
from rice_core.progress import Progress
from rice_core.provenance import commit, feature_code, libraries, number_code
from rice_core.record import Cell, Evidence, Record
from rice_core.spec import EncoderSpec
from rice_core.store import Store
from rice_core.work import CellWork

Only = Literal["missing", "failed", "all"]


@dataclass(frozen=True)
class Plan:
    """What is to be measured: every encoder under every probe and seed on one data set."""

    encoders: tuple[EncoderSpec, ...]
    probes: tuple[Probe, ...]
    dataset: Dataset
    """Already limited."""
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None

    def cells(self, encoder: EncoderSpec) -> list[tuple[Cell, Probe]]:
        """The cells of one encoder."""
        return [
            (Cell(encoder=encoder, probe=probe.spec, dataset=self.dataset.spec, seed=seed, limit=self.limit), probe)
            for probe in self.probes
            for seed in self.seeds
        ]


@dataclass(frozen=True)
class Settings:
    """Where and how fast; none of it changes what a number means."""

    device: str = "cpu"
    batch: int = 32
    workers: int = 2
    only: Only = "missing"
    rerun: str = ""
    """Glob over "encoder/probe"; matching cells are measured again."""
    cache_bytes: int = 50 << 30
    debug: bool = False
    """Let an unexpected error escape with its traceback instead of recording it."""


@dataclass
class Summary:
    """How a run came out."""

    records: list[Record] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """By outcome: done, reused, failed, not_applicable, left (not asked for by --only)."""
    errors: list[str] = field(default_factory=list)

    def add(self, record: Record, outcome: str) -> None:
        self.records.append(record)
        self.counts[outcome] += 1
        if outcome == "failed":
            self.errors.append(f"{record.cell.encoder.title} / {record.cell.probe.name}: {record.error}")


class Runner:
    """Runs plans into one store.

    Args:
        progress: where lines and bars go.
    """

    def __init__(self, store: Store, settings: Settings, progress: Progress) -> None:
        self._store = store
        self._settings = settings
        self._progress = progress
        self.cache = FeatureCache(store, max_bytes=settings.cache_bytes)

    def run(self, plan: Plan) -> Summary:
        """Measure what is missing; every record is on disk when its cell is finished.

        Raises:
            StoreError: the store cannot be written; what was finished is safe.
        """
        self._store.sweep()
        summary = Summary()
        files = file_digests(plan.dataset)
        data = data_digest(plan.dataset)
        self._progress.begin(sum(len(plan.cells(encoder)) for encoder in plan.encoders), "cells")
        for spec in plan.encoders:
            try:
                encoder = load_encoder(spec).to(self._settings.device)
            except UserError as error:
                for cell, _ in plan.cells(spec):
                    self._finish(summary, self._failed(cell, str(error), None), "failed")
                continue
            self._run_encoder(plan, spec, encoder, files, data, summary)
        return summary

    def _run_encoder(
        self, plan: Plan, spec: EncoderSpec, encoder: Encoder, files: dict[str, str], data: str, summary: Summary
    ) -> None:
        pending: list[tuple[Cell, Probe, Evidence]] = []
        for cell, probe in plan.cells(spec):
            evidence = self._evidence(encoder, probe, data)
            kept = self._reusable(cell, evidence)
            if kept is not None:
                self._finish(summary, kept, "reused")
            elif self._settings.only == "failed" and not self._has_failed(cell):
                summary.counts["left"] += 1
                self._progress.advance(f"{spec.title} / {cell.probe.name}: left, it has not failed")
            else:
                pending.append((cell, probe, evidence))
        if not pending:
            return
        reads = [read for _, probe, _ in pending for read in probe.reads]
        wanted: dict[str, int] = {}
        for read in reads:
            if read.view == "dense":
                wanted[read.split] = max(wanted.get(read.split, 0), read.most or 1 << 62)
        extractor = Extractor(
            encoder,
            plan.dataset,
            self.cache,
            files=files,
            code=feature_code(),
            batch=self._settings.batch,
            workers=self._settings.workers,
            dense_too=wanted,
        )
        with contextlib.closing(extractor):
            for cell, probe, evidence in pending:
                record, outcome = self._measure(cell, probe, encoder, plan.dataset, extractor, evidence)
                self._finish(summary, record, outcome)

    def _measure(
        self, cell: Cell, probe: Probe, encoder: Encoder, dataset: Dataset, extractor: Extractor, evidence: Evidence
    ) -> tuple[Record, str]:
        began, images, encoding = time.perf_counter(), extractor.images, extractor.seconds
        work = CellWork(cell, dataset, extractor, self._store, self._progress)
        try:
            _check_applicable(probe, encoder, dataset)
            with _seeded(cell.seed):
                outcome = probe.run(encoder, seed=cell.seed, work=work)
        except NotApplicable as reason:
            record = Record(cell=cell, status="not_applicable", error=str(reason), evidence=evidence, created=_now())
            return self._store.put(record), "not_applicable"
        except StoreError:
            raise
        except UserError as error:
            return self._failed(cell, str(error), evidence), "failed"
        except Exception as error:
            if self._settings.debug:
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno}); run again with --debug for the traceback."
            return self._failed(cell, text, evidence), "failed"
        fresh = extractor.images - images
        record = Record(
            cell=cell,
            status="done",
            metrics=outcome.metrics,
            artifacts=outcome.artifacts,
            assumptions=outcome.assumptions,
            evidence=evidence,
            taints=_taints(cell, evidence),
            skipped=tuple({(s.item, s.reason): s for s in (*dataset.skipped, *work.skipped.values())}.values()),
            seconds=round(time.perf_counter() - began, 3),
            images_per_second=round(fresh / max(extractor.seconds - encoding, 1e-9), 2) if fresh else None,
            created=_now(),
        )
        return self._store.put(record, outcome.scores), "done"

    def _evidence(self, encoder: Encoder, probe: Probe, data: str) -> Evidence:
        head, dirty = commit()
        resolution = encoder.spec.resolution or (0, 0)
        return Evidence(
            weights=encoder.weights_digest(),
            architecture=encoder.architecture_digest(),
            data=data,
            code=number_code(type(probe)),
            commit=head,
            dirty=dirty,
            libraries=libraries(),
            device=_device_name(encoder.device),
            n_params=encoder.n_params,
            dim=encoder.dim,
            patch=encoder.patch,
            resolution=resolution,
            encoder_facts=dict(getattr(encoder, "facts", {})),
        )

    def _reusable(self, cell: Cell, evidence: Evidence) -> Record | None:
        if self._settings.only == "all" or (
            self._settings.rerun and fnmatch(f"{cell.encoder.title}/{cell.probe.name}", self._settings.rerun)
        ):
            return None
        record = self._store.get(cell.id)
        if record is None or record.status == "failed" or record.evidence is None:
            return None
        if record.evidence.reuse_key() != evidence.reuse_key() or not self._store.intact(record):
            return None
        if record.cell != cell:  # the same request under another display name
            record = self._store.put(record.model_copy(update={"cell": cell}))
        return record

    def _has_failed(self, cell: Cell) -> bool:
        record = self._store.get(cell.id)
        return record is not None and record.status == "failed"

    def _failed(self, cell: Cell, error: str, evidence: Evidence | None) -> Record:
        record = Record(cell=cell, status="failed", error=error, evidence=evidence, created=_now())
        # A finished record is worth more than the news that today's attempt failed.
        standing = self._store.get(cell.id)
        if standing is None or standing.status != "done":
            self._store.put(record)
        return record

    def _finish(self, summary: Summary, record: Record, outcome: str) -> None:
        summary.add(record, outcome)
        self._progress.advance(f"{record.cell.encoder.title} / {record.cell.probe.name}: {_headline(record, outcome)}")


def _check_applicable(probe: Probe, encoder: Encoder, dataset: Dataset) -> None:
    lacking = sorted(probe.data - dataset.provides)
    if lacking:
        raise NotApplicable(
            f"{probe.name} needs {' and '.join(lacking)}, which the data set {dataset.spec.name} does not have"
        )
    lacking = sorted(probe.needs - encoder.provides)
    if lacking:
        raise NotApplicable(
            f"{probe.name} needs {' and '.join(lacking)} of the encoder, which {encoder.spec.title} does not give"
        )


def _headline(record: Record, outcome: str) -> str:
    if outcome in ("failed", "not_applicable"):
        return f"{outcome.replace('_', ' ')}: {record.error}"
    first = record.metrics[0] if record.metrics else None
    number = f"{first.name} {first.value:.1f}{first.unit}" if first else record.error or ""
    return f"{number} (reused)" if outcome == "reused" else f"{number} ({record.seconds:.1f} s)"


def _taints(cell: Cell, evidence: Evidence) -> tuple[str, ...]:
    taints = [f"limit {cell.limit}"] if cell.limit is not None else []
    return (*taints, "uncommitted code") if evidence.dirty else tuple(taints)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Global generators seeded after the encoder was built (building one consumes them), and put back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pick_device(wanted: str) -> str:
    """`auto` becomes cuda, mps or cpu.

    Raises:
        UserError: the device asked for is not there.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"There is no device {wanted!r} here ({str(error).splitlines()[0]}); use --device cpu."
        ) from None
    return wanted
