"""Run a plan: cells in, records out. Resume is running the same command again.

One encoder is loaded at a time and serves all its cells. A cell whose record is sound and was made from the same
weights, data and code is reused; every other is measured and its record written at once. torch is imported only when
something must be measured.

Several runs may share a store: each claims all cells of an encoder that it is going to measure, because they share the
encoder and its features, and holds each claim until that cell's record is written. What another run has claimed comes last:
this run goes on with other encoders, then waits, and finds the records.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from rice_core.datasets import Dataset, data_digest, file_digests
from rice_core.datasets.twins import with_twin_notes
from rice_core.errors import UserError, did_you_mean
from rice_core.features import Encoder
from rice_core.measure.adopt import adopt
from rice_core.measure.cache import FeatureCache
from rice_core.measure.claims import Claims
from rice_core.measure.known import Identity, KnownEncoders
from rice_core.measure.provenance import number_code
from rice_core.measure.trained import Shelf
from rice_core.probe import Probe, stages_named
from rice_core.progress import Progress
from rice_core.record import Cell, Record, Scores, UsedStage
from rice_core.spec import EncoderSpec
from rice_core.stage import chain, request_of
from rice_core.store import Store

if TYPE_CHECKING:
    from rice_core.measure.subject import Subject
    from rice_core.ranks import Ranks

Only = Literal["missing", "failed", "all"]
Pairs = list[tuple[Cell, Probe]]


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
        """The cells of one encoder, which they name without a machine's paths."""
        return [
            (
                Cell(encoder=encoder.told(), probe=probe.spec, dataset=self.dataset.spec, seed=seed, limit=self.limit),
                probe,
            )
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
    """Glob (`Cell.matches`); matching cells are measured again."""
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

    def not_loaded(self, cells: int, error: str) -> None:
        """An encoder could not be loaded, so `cells` cells have no record."""
        self.counts["failed"] += cells
        self.errors.append(error)


class Runner:
    """Runs plans into one store.

    Args:
        progress: where lines and bars go.
        ranks: the ranks of a run under torchrun, of which this is the first (rice_core.measure.follow); None is this process alone.
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
        self.cache = FeatureCache(store, max_bytes=settings.cache_bytes)
        self._known = KnownEncoders(store.root / "known")
        self._claims = Claims(store.root / "claims")
        self._shelf = Shelf(store)
        self._store = store
        self._settings = settings
        self._progress = progress
        self._ranks = ranks
        self._explain = explain
        self._own = {encoder.spec: encoder for encoder in own}

    def run(self, plan: Plan) -> Summary:
        """Measure what is missing; every record is on disk when its cell is finished.

        Raises:
            StoreError: the store cannot be written; what was finished is safe.
            UserError: `rerun` names no cell of the plan.
        """
        cells = [cell for spec in plan.encoders for cell, _ in plan.cells(spec)]
        if self._settings.rerun and not any(cell.matches(self._settings.rerun) for cell in cells):
            near = did_you_mean(self._settings.rerun, {f"{cell.encoder.title}/{cell.probe.name}" for cell in cells})
            raise UserError(
                f"--rerun {self._settings.rerun} matches no cell of this run; {near}write a pattern of encoder/probe, as in '*/knn'."
            )
        self._store.sweep()
        summary = Summary()
        files = file_digests(plan.dataset)
        data = data_digest(plan.dataset, files)
        samples = [sample for split in plan.dataset.splits.values() for sample in split]
        self._shelf = Shelf(self._store, {sample.path: files[sample.id] for sample in samples})
        plan = self._with_notes(plan, files)
        self._progress.begin(len(cells), "cells")
        waiting: list[tuple[EncoderSpec, Pairs]] = []
        for spec in plan.encoders:
            for cell, _ in plan.cells(spec):
                adopt(self._store, self._claims, spec, cell)
            if left := self._encoder(plan, spec, plan.cells(spec), files, data, summary):
                waiting.append((spec, left))
        while waiting:
            free = self._claims.first_free([[cell.id for cell, _ in pairs] for _, pairs in waiting], self._progress.say)
            spec, pairs = waiting.pop(free)
            if left := self._encoder(plan, spec, pairs, files, data, summary):
                waiting.append((spec, left))
        return summary

    def _with_notes(self, plan: Plan, files: dict[str, str]) -> Plan:
        """The plan, with what only the bytes of its images tell: that some are there twice."""
        noted = with_twin_notes(plan.dataset, files)
        for note in noted.notes[len(plan.dataset.notes) :]:
            self._progress.say(f"note: {note}")
        return replace(plan, dataset=noted)

    def _encoder(
        self, plan: Plan, spec: EncoderSpec, pairs: Pairs, files: dict[str, str], data: str, summary: Summary
    ) -> Pairs:
        """Finish these cells of an encoder, but those that another run has claimed, which are returned."""
        if self._reuse_all(plan, spec, pairs, data, summary):
            return []
        mine = [(cell, probe) for cell, probe in pairs if self._claims.take(cell.id, _called(cell))]
        try:
            if mine:
                self._measure(plan, spec, mine, files, data, summary)
        finally:
            for cell, _ in mine:
                self._claims.give_back(cell.id)
        return [pair for pair in pairs if pair not in mine]

    def _reuse_all(self, plan: Plan, spec: EncoderSpec, pairs: Pairs, data: str, summary: Summary) -> bool:
        """Finish cells of an encoder without loading it, where all stand and its files are known."""
        known = self._known.get(spec)
        if known is None:
            return False
        kept = [self._reusable(plan, cell, probe, known, data) for cell, probe in pairs]
        standing = [record for record in kept if record is not None]
        if len(standing) < len(kept):
            return False
        for record, (cell, _) in zip(standing, pairs, strict=True):
            with self._claims.taken(cell.id, _called(cell)) as mine:
                self._finish(summary, self._renamed(record, cell, mine=mine), "reused")
        return True

    def _measure(
        self, plan: Plan, spec: EncoderSpec, mine: Pairs, files: dict[str, str], data: str, summary: Summary
    ) -> None:
        """Reuse or measure cells that this run has claimed."""
        from rice_core.measure.measurer import Measurer
        from rice_core.measure.subject import Subject

        try:
            subject = Subject(self._own.get(spec, spec), self._settings.device)
        except UserError as error:
            # Nothing was measured, so nothing is recorded: a slip of the pen is no result.
            summary.not_loaded(len(mine), f"could not be loaded: {self._explain(error)}")
            self._progress.advance(f"could not be loaded: {self._explain(error)}", cells=len(mine))
            return
        self._known.put(spec, subject.identity)
        pending = self._pending(plan, spec, mine, subject, data, summary)
        if not pending:
            return
        measurer = Measurer(
            subject,
            plan.dataset,
            [probe for _, probe in pending],
            store=self._store,
            cache=self.cache,
            shelf=self._shelf,
            claims=self._claims,
            progress=self._progress,
            files=files,
            data=data,
            batch=self._settings.batch,
            workers=self._settings.workers,
            debug=self._settings.debug,
            sweep=_sweep(spec, plan.encoders),
            ranks=self._ranks,
        )
        with contextlib.closing(measurer):
            for done, (cell, probe) in enumerate(pending, start=1):
                standing = self._store.get(cell.id)
                record, scores = measurer.measure(cell, probe, pending[done:])
                self._finish(summary, self._keep(record, scores), record.status, _again(standing, record))
                if record.status == "done":
                    self._store.drop_unfinished(cell.id)
                self._claims.give_back(cell.id)

    def _pending(
        self, plan: Plan, spec: EncoderSpec, mine: Pairs, subject: Subject, data: str, summary: Summary
    ) -> Pairs:
        """The cells to measure; the others are finished here."""
        pending = []
        for cell, probe in mine:
            kept = self._reusable(plan, cell, probe, subject.identity, data)
            if kept is not None:
                self._finish(summary, self._renamed(kept, cell, mine=True), "reused")
            elif self._settings.only == "failed" and not self._has_failed(cell):
                summary.counts["left"] += 1
                self._progress.advance(f"{spec.title} / {cell.probe.name}: left, it has not failed")
            else:
                pending.append((cell, probe))
                continue
            self._claims.give_back(cell.id)
        return pending

    def _reusable(self, plan: Plan, cell: Cell, probe: Probe, encoder: Identity, data: str) -> Record | None:
        if self._settings.only == "all" or cell.matches(self._settings.rerun):
            return None
        record = self._store.get(cell.id)
        if record is None or record.status == "failed" or record.evidence is None:
            return None
        today = record.evidence.model_copy(
            update={
                "weights": encoder.weights,
                "architecture": encoder.architecture,
                "data": data,
                "code": number_code(type(probe), cell.encoder.source),
                "stages": self._stages_today(plan, cell, probe, encoder, record.evidence.stages),
            }
        )
        same = record.evidence.reuse_key() == today.reuse_key()
        return record if same and self._store.intact(record) else None

    def _stages_today(
        self, plan: Plan, cell: Cell, probe: Probe, encoder: Identity, used: tuple[UsedStage, ...]
    ) -> tuple[UsedStage, ...]:
        """What the trainings that a record rests on would be now."""
        wanted: dict[str, str] = {}
        for named in stages_named(probe, plan.dataset) if used else ():
            for stage in chain(named):
                request = request_of(stage, cell.encoder, cell.seed)
                wanted[request.id] = self._shelf.made_from(stage, encoder, request)
        return self._shelf.today(used, wanted)

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

    def _finish(self, summary: Summary, record: Record, outcome: str, again: str = "") -> None:
        summary.add(record, outcome)
        self._progress.advance(f"{_called(record.cell)}: {_headline(record, outcome)}{again}")


def _sweep(spec: EncoderSpec, encoders: Iterable[EncoderSpec]) -> list[int]:
    """Layers that other encoders of the run read of the same one."""
    alike = {"layers": spec.layers, "name": spec.name}
    return [each.layers[-1] for each in encoders if each.model_copy(update=alike) == spec and each != spec]


def _called(cell: Cell) -> str:
    return f"{cell.encoder.title} / {cell.probe.name}" + (f" / seed {cell.seed}" if cell.seed else "")


def _again(standing: Record | None, record: Record) -> str:
    """Why a number that stood was not reused; empty where none did, or all is as it was."""
    new = record.evidence.new_since(standing.evidence) if record.evidence and standing and standing.evidence else ""
    return f", measured again for new {new}" if new else ""


def _headline(record: Record, outcome: str) -> str:
    if record.status != "done":
        again = " (reused)" if outcome == "reused" else ""
        return f"{record.status.replace('_', ' ')}: {record.error}{again}"
    first = next((m for m in record.metrics if m.better != "neither"), next(iter(record.metrics), None))
    number = f"{first.name} {first.value:.{1 if first.unit else 3}f}{first.unit}" if first else record.error or ""
    return f"{number} (reused)" if outcome == "reused" else f"{number} ({record.seconds:.1f} s)"
