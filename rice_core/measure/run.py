"""Run a plan: cells in, records out. Resume is running the same command again.

One encoder is loaded at a time and serves all its cells, whatever data sets they are on. A cell whose record is sound and was
made from the same weights, data and code is reused; every other is measured and its record written at once. torch is imported
only when something must be measured.

Several runs may share a store: each claims all cells of an encoder that it is going to measure, because they share the
encoder and its features, and holds each claim until that cell's record is written. What another run has claimed comes last:
this run goes on with other encoders, then waits, and finds the records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rice_core.datasets.known_files import KnownFiles
from rice_core.deterministic import deterministic
from rice_core.digest import json_digest
from rice_core.errors import UserError, did_you_mean
from rice_core.features import Encoder
from rice_core.measure.adopt import adopt
from rice_core.measure.cache import GIB, FeatureCache
from rice_core.measure.claims import Claims
from rice_core.measure.hashed import Hashed, all_hashed
from rice_core.measure.known import Identity, KnownEncoders
from rice_core.measure.plan import Plan
from rice_core.measure.provenance import number_code
from rice_core.measure.summary import Summary, headline
from rice_core.measure.trained import Shelf
from rice_core.probe import Equipped, Probe, stages_named
from rice_core.progress import Progress
from rice_core.record import Cell, Record, Scores, UsedStage
from rice_core.spec import DatasetSpec, EncoderSpec
from rice_core.stage import chain, request_of
from rice_core.store import Store

if TYPE_CHECKING:
    from rice_core.datasets import Dataset
    from rice_core.measure.subject import Subject
    from rice_core.ranks import Ranks

Only = Literal["missing", "failed", "all"]
Cells = list[tuple[Cell, Probe]]


@dataclass(frozen=True)
class Settings:
    """Where and how fast; none of it changes what a number means."""

    device: str = "auto"
    batch: int = 32
    workers: int = 2
    only: Only = "missing"
    rerun: str = ""
    """Glob (`Cell.matches`); matching cells are measured again."""
    cache_gb: float = 50.0
    """Of features that are kept, in GiB."""
    together: bool = False
    """Load all encoders at once for what their cells can share (rice_core.measure.together)."""
    deterministic: bool = False
    """Repeat to the bit on the same machine, or refuse (rice_core.deterministic)."""
    debug: bool = False
    """Let an unexpected error escape with its traceback instead of recording it."""


@dataclass(frozen=True)
class Engine:
    """What every part of a run works with."""

    store: Store
    settings: Settings
    progress: Progress
    cache: FeatureCache
    claims: Claims
    shelf: Shelf
    ranks: Ranks | None = None
    """Those of a run under torchrun, of which this is one (rice_core.measure.follow); None is this process alone."""

    @classmethod
    def of(cls, store: Store, settings: Settings, progress: Progress, ranks: Ranks | None = None) -> Engine:
        """With the cache, the claims and the trainings of the store."""
        cache = FeatureCache(store, max_bytes=int(settings.cache_gb * GIB))
        return cls(store, settings, progress, cache, Claims(store.root / "claims"), Shelf(store), ranks)


@dataclass(frozen=True)
class _Job:
    """One call of `Runner.run`."""

    plan: Plan
    data: dict[DatasetSpec, Hashed]
    summary: Summary


class Runner:
    """Runs plans into one store.

    Args:
        progress: where lines and bars go.
        ranks: those of a run under torchrun, of which this is the first.
        explain: what is said of an encoder that cannot be loaded.
        own: encoders of the plan that are at hand, and not to be loaded (rice_core.encoders.own).
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        progress: Progress,
        *,
        ranks: Ranks | None = None,
        explain: Callable[[UserError], str] = str,
        own: Sequence[Encoder] = (),
    ) -> None:
        self._engine = Engine.of(store, settings, progress, ranks)
        self.cache, self._claims = self._engine.cache, self._engine.claims
        self._store, self._settings, self._progress, self._explain = store, settings, progress, explain
        self._known = KnownEncoders(store.root / "known")
        self._own = {encoder.spec: encoder for encoder in own}

    def run(self, plan: Plan) -> Summary:
        """Measure what is missing; every record is on disk when its cell is finished.

        Raises:
            StoreError: the store cannot be written; what was finished is safe.
            UserError: `rerun` names no cell of the plan, or this cannot be deterministic.
        """
        with deterministic(self._settings.device, wanted=self._settings.deterministic):
            return self._run(plan)

    def _run(self, plan: Plan) -> Summary:
        cells = [cell for spec in plan.encoders for cell, _ in plan.cells(spec)]
        if self._settings.rerun and not any(cell.matches(self._settings.rerun) for cell in cells):
            near = did_you_mean(self._settings.rerun, {f"{cell.encoder.title}/{cell.probe.name}" for cell in cells})
            raise UserError(
                f"--rerun {self._settings.rerun} matches no cell of this run; {near}write a pattern of encoder/probe, as in '*/knn'."
            )
        self._store.sweep()
        data = all_hashed(plan.datasets.values(), self._known_files, self._progress.say)
        files = {key: digest for each in data.values() for key, digest in each.by_files.items()}
        self._engine = replace(self._engine, shelf=Shelf(self._store, files))
        job = _Job(plan, data, Summary())
        if self._settings.together:
            self._beforehand(job)
        self._progress.begin(len(cells), "cells")
        waiting: list[tuple[EncoderSpec, Cells]] = []
        for spec in plan.encoders:
            for cell, _ in plan.cells(spec):
                adopt(self._store, self._claims, spec, cell)
            if left := self._encoder(job, spec, plan.cells(spec)):
                waiting.append((spec, left))
        while waiting:
            free = self._claims.first_free([[cell.id for cell, _ in left] for _, left in waiting], self._progress.say)
            spec, left = waiting.pop(free)
            if left := self._encoder(job, spec, left):
                waiting.append((spec, left))
        return job.summary

    def _beforehand(self, job: _Job) -> None:
        """What cells of all encoders can do together."""
        from rice_core.measure.together import Beforehand

        def asked(cell: Cell, probe: Probe, encoder: Identity) -> bool:
            if self._settings.only == "failed" and not self._has_failed(cell):
                return False
            return self._reusable(job, cell, probe, encoder) is None

        Beforehand(self._engine, job.plan, job.data, self._own, self._known.get, asked).run()

    def _known_files(self, dataset: DatasetSpec) -> KnownFiles:
        return KnownFiles(self._store.place("digests", f"{json_digest(dataset.model_dump())}.json"))

    def _encoder(self, job: _Job, spec: EncoderSpec, cells: Cells) -> Cells:
        """Finish these cells of an encoder, but those that another run has claimed, which are returned."""
        if self._reuse_all(job, spec, cells):
            return []
        mine = [(cell, probe) for cell, probe in cells if self._claims.take(cell.id, job.plan.called(cell))]
        try:
            if mine:
                self._measure(job, spec, mine)
        finally:
            for cell, _ in mine:
                self._claims.give_back(cell.id)
        return [pair for pair in cells if pair not in mine]

    def _reuse_all(self, job: _Job, spec: EncoderSpec, cells: Cells) -> bool:
        """Finish cells of an encoder without loading it, where all stand and its files are known."""
        known = self._known.get(spec)
        if known is None:
            return False
        kept = [self._reusable(job, cell, probe, known) for cell, probe in cells]
        standing = [record for record in kept if record is not None]
        if len(standing) < len(kept):
            return False
        for record, (cell, _) in zip(standing, cells, strict=True):
            with self._claims.taken(cell.id, job.plan.called(cell)) as mine:
                self._finish(job, self._renamed(record, cell, mine=mine), "reused")
        return True

    def _measure(self, job: _Job, spec: EncoderSpec, mine: Cells) -> None:
        """Reuse or measure cells that this run has claimed."""
        from rice_core.measure.subject import Subject

        try:
            subject = Subject(self._own.get(spec, spec), self._settings.device)
        except UserError as error:
            # Nothing was measured, so nothing is recorded: a slip of the pen is no result.
            job.summary.not_loaded(len(mine), f"could not be loaded: {self._explain(error)}")
            self._progress.advance(f"could not be loaded: {self._explain(error)}", cells=len(mine))
            return
        self._known.put(spec, subject.identity)
        pending = self._pending(job, mine, subject)
        # A cell that fails for it may have its turn after the trainings of the others.
        lacking = {said: probe.name for _, probe in pending if isinstance(probe, Equipped) and (said := probe.lacks())}
        for said, name in lacking.items():
            self._progress.say(f"{name} is going to fail: {said}")
        for dataset in dict.fromkeys(cell.dataset for cell, _ in pending):
            self._measure_on(job, spec, subject, [pair for pair in pending if pair[0].dataset == dataset])

    def _measure_on(self, job: _Job, spec: EncoderSpec, subject: Subject, pending: Cells) -> None:
        """Measure cells of one data set."""
        from rice_core.measure.measurer import Measurer

        data, probes = job.data[pending[0][0].dataset], [probe for _, probe in pending]
        measurer = Measurer(subject, data, probes, self._engine, sweep=_sweep(spec, job.plan.encoders))
        with contextlib.closing(measurer):
            for done, (cell, probe) in enumerate(pending, start=1):
                standing = self._store.get(cell.id)
                record, scores = measurer.measure(cell, probe, pending[done:])
                self._finish(job, self._keep(record, scores), record.status, standing)
                if record.status != "failed":  # what gave no number for a reason is finished too
                    self._store.drop_unfinished(cell.id)
                self._claims.give_back(cell.id)

    def _pending(self, job: _Job, mine: Cells, subject: Subject) -> Cells:
        """The cells to measure; the others are finished here."""
        pending = []
        for cell, probe in mine:
            kept = self._reusable(job, cell, probe, subject.identity)
            if kept is not None:
                self._finish(job, self._renamed(kept, cell, mine=True), "reused")
            elif self._settings.only == "failed" and not self._has_failed(cell):
                job.summary.counts["left"] += 1
                self._progress.advance(f"{job.plan.called(cell)}: left, it has not failed")
            else:
                pending.append((cell, probe))
                continue
            self._claims.give_back(cell.id)
        return pending

    def _reusable(self, job: _Job, cell: Cell, probe: Probe, encoder: Identity) -> Record | None:
        if self._settings.only == "all" or cell.matches(self._settings.rerun):
            return None
        record = self._store.get(cell.id)
        if record is None or record.status == "failed" or record.evidence is None:
            return None
        data = job.data[cell.dataset]
        today = record.evidence.model_copy(
            update={
                "weights": encoder.weights,
                "architecture": encoder.architecture,
                "data": data.digest,
                "code": number_code(type(probe), cell.encoder.source),
                "stages": self._stages_today(data.dataset, cell, probe, encoder, record.evidence.stages),
            }
        )
        same = record.evidence.reuse_key() == today.reuse_key()
        return record if same and self._store.intact(record) else None

    def _stages_today(
        self, dataset: Dataset, cell: Cell, probe: Probe, encoder: Identity, used: tuple[UsedStage, ...]
    ) -> tuple[UsedStage, ...]:
        """What the trainings that a record rests on would be now."""
        wanted: dict[str, str] = {}
        for named in stages_named(probe, dataset) if used else ():
            for stage in chain(named):
                request = request_of(stage, cell.encoder, cell.seed)
                wanted[request.id] = self._engine.shelf.made_from(stage, encoder, request)
        return self._engine.shelf.today(used, wanted)

    def _renamed(self, record: Record, cell: Cell, *, mine: bool) -> Record:
        """The record under the display name of today; written where the cell is claimed and the record still stands."""
        if record.cell == cell:
            return record
        renamed = record.model_copy(update={"cell": cell})
        return self._store.put(renamed) if mine and self._store.get(cell.id) == record else renamed

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

    def _finish(self, job: _Job, record: Record, outcome: str, standing: Record | None = None) -> None:
        called = job.plan.called(record.cell)
        job.summary.add(record, outcome, called)
        said = headline(record, outcome, standing, deterministic=self._settings.deterministic)
        self._progress.advance(f"{called}: {said}")


def _sweep(spec: EncoderSpec, encoders: Iterable[EncoderSpec]) -> list[int]:
    """Layers that other encoders of the run read of the same one."""
    alike = {"layers": spec.layers, "name": spec.name}
    return [each.layers[-1] for each in encoders if each.model_copy(update=alike) == spec and each != spec]
