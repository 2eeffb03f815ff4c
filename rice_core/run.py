"""Run a plan: cells in, records out. Resume is running the same command again.

One encoder is loaded at a time and serves all its cells. A cell whose record is sound and was made from the same
weights, data and code is reused; every other is measured and its record written at once. torch is imported only when
something must be measured.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Literal

from rice_core.cache import FeatureCache
from rice_core.datasets import Dataset, data_digest, file_digests
from rice_core.errors import UserError
from rice_core.known import Identity, KnownEncoders
from rice_core.probe import Probe
from rice_core.progress import Progress
from rice_core.provenance import number_code
from rice_core.record import Cell, Record, Scores
from rice_core.spec import EncoderSpec
from rice_core.store import Store

if TYPE_CHECKING:
    from rice_core.measure import Subject
    from rice_core.train.parallel import World

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

    device: str = "auto"
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
        world: the ranks of a run under torchrun, of which this is the first (rice_core.follow); None is this process alone.
    """

    def __init__(self, store: Store, settings: Settings, progress: Progress, *, world: World | None = None) -> None:
        self.cache = FeatureCache(store, max_bytes=settings.cache_bytes)
        self._known = KnownEncoders(store.root / "known")
        self._store = store
        self._settings = settings
        self._progress = progress
        self._world = world

    def run(self, plan: Plan) -> Summary:
        """Measure what is missing; every record is on disk when its cell is finished.

        Raises:
            StoreError: the store cannot be written; what was finished is safe.
            UserError: `rerun` names no cell of the plan.
        """
        cells = [cell for spec in plan.encoders for cell, _ in plan.cells(spec)]
        if self._settings.rerun and not any(map(self._to_rerun, cells)):
            raise UserError(
                f"--rerun {self._settings.rerun} matches no cell of this run; write a pattern of encoder/probe, as in '*/knn'."
            )
        self._store.sweep()
        summary = Summary()
        files = file_digests(plan.dataset)
        data = data_digest(plan.dataset, files)
        self._progress.begin(len(cells), "cells")
        for spec in plan.encoders:
            if not self._reuse_all(plan, spec, data, summary):
                self._run_encoder(plan, spec, files, data, summary)
        return summary

    def _reuse_all(self, plan: Plan, spec: EncoderSpec, data: str, summary: Summary) -> bool:
        """Finish an encoder without loading it, where all its cells stand and its files are known."""
        known = self._known.get(spec)
        if known is None:
            return False
        kept = [self._reusable(cell, probe, known, data) for cell, probe in plan.cells(spec)]
        standing = [record for record in kept if record is not None]
        if len(standing) < len(kept):
            return False
        for record in standing:
            self._finish(summary, record, "reused")
        return True

    def _run_encoder(self, plan: Plan, spec: EncoderSpec, files: dict[str, str], data: str, summary: Summary) -> None:
        from rice_core.measure import Measurer, Subject, now

        try:
            subject = Subject(spec, self._settings.device)
        except UserError as error:
            for cell, _ in plan.cells(spec):
                failed = Record(cell=cell, status="failed", error=str(error), created=now())
                self._finish(summary, self._keep(failed), "failed")
            return
        self._known.put(spec, subject.identity)
        pending = self._pending(plan, spec, subject, data, summary)
        if not pending:
            return
        measurer = Measurer(
            subject,
            plan.dataset,
            [probe for _, probe in pending],
            store=self._store,
            cache=self.cache,
            progress=self._progress,
            files=files,
            data=data,
            batch=self._settings.batch,
            workers=self._settings.workers,
            debug=self._settings.debug,
            world=self._world,
        )
        with contextlib.closing(measurer):
            for done, (cell, probe) in enumerate(pending, start=1):
                record, scores = measurer.measure(cell, probe, pending[done:])
                self._finish(summary, self._keep(record, scores), record.status)
                if record.status == "done":
                    self._store.drop_unfinished(cell.id)

    def _pending(
        self, plan: Plan, spec: EncoderSpec, subject: Subject, data: str, summary: Summary
    ) -> list[tuple[Cell, Probe]]:
        """The cells to measure; the others are finished here."""
        pending = []
        for cell, probe in plan.cells(spec):
            kept = self._reusable(cell, probe, subject.identity, data)
            if kept is not None:
                self._finish(summary, kept, "reused")
            elif self._settings.only == "failed" and not self._has_failed(cell):
                summary.counts["left"] += 1
                self._progress.advance(f"{spec.title} / {cell.probe.name}: left, it has not failed")
            else:
                pending.append((cell, probe))
        return pending

    def _reusable(self, cell: Cell, probe: Probe, encoder: Identity, data: str) -> Record | None:
        if self._settings.only == "all" or self._to_rerun(cell):
            return None
        record = self._store.get(cell.id)
        if record is None or record.status == "failed" or record.evidence is None:
            return None
        now = (encoder.weights, encoder.architecture, data, number_code(type(probe), cell.encoder.source))
        if record.evidence.reuse_key() != now or not self._store.intact(record):
            return None
        if record.cell != cell:  # the same request under another display name
            record = self._store.put(record.model_copy(update={"cell": cell}))
        return record

    def _to_rerun(self, cell: Cell) -> bool:
        return fnmatch(f"{cell.encoder.title}/{cell.probe.name}", self._settings.rerun)

    def _has_failed(self, cell: Cell) -> bool:
        record = self._store.get(cell.id)
        return record is not None and record.status == "failed"

    def _keep(self, record: Record, scores: Scores | None = None) -> Record:
        """Write a record, unless it is a failure and a finished one stands: that is worth more than today's news."""
        if record.status == "failed":
            standing = self._store.get(record.cell.id)
            if standing is not None and standing.status == "done":
                return record
        return self._store.put(record, scores)

    def _finish(self, summary: Summary, record: Record, outcome: str) -> None:
        summary.add(record, outcome)
        cell = record.cell
        which = f"{cell.encoder.title} / {cell.probe.name}" + (f" / seed {cell.seed}" if cell.seed else "")
        self._progress.advance(f"{which}: {_headline(record, outcome)}")


def _headline(record: Record, outcome: str) -> str:
    if outcome in ("failed", "not_applicable"):
        return f"{outcome.replace('_', ' ')}: {record.error}"
    first = next((m for m in record.metrics if m.better != "neither"), next(iter(record.metrics), None))
    number = f"{first.name} {first.value:.{1 if first.unit else 3}f}{first.unit}" if first else record.error or ""
    return f"{number} (reused)" if outcome == "reused" else f"{number} ({record.seconds:.1f} s)"
