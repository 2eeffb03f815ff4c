"""One loaded encoder on one data set: measures its cells, one record each."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rice_core.datasets import Dataset
from rice_core.datasets.regions import ANY, CROWDS_ALONE
from rice_core.deterministic import cannot_repeat
from rice_core.errors import NotApplicable, StoreError, UserError, lacks_memory
from rice_core.joint import Joins, JointErrand
from rice_core.left_out import because
from rice_core.measure.extract import Extractor
from rice_core.measure.provenance import feature_code
from rice_core.measure.stages import Stages
from rice_core.measure.subject import Subject, seeded
from rice_core.measure.work import CellWork
from rice_core.pooling import MEAN
from rice_core.probe import Probe, Read, lessons, stages_named, untaught
from rice_core.record import Cell, Evidence, Outcome, Record, Scores, Skipped, now

if TYPE_CHECKING:  # handed in, and no part of what a number is made of (rice_core.measure.closure)
    from rice_core.measure.hashed import Hashed
    from rice_core.measure.run import Engine


class Measurer:
    """Measures cells of one subject on one data set; close it to drop what was decoded ahead.

    Args:
        probes: all that will be asked, so that one forward pass can serve several.
        sweep: layers of other encoders of the run that differ from this one in nothing else: the pass serves them too.
    """

    def __init__(
        self, subject: Subject, data: Hashed, probes: Sequence[Probe], engine: Engine, *, sweep: Sequence[int] = ()
    ) -> None:
        self._subject, self._dataset, self._data, self._engine = subject, data.dataset, data.digest, engine
        self._extractor = Extractor(
            subject.encoder,
            data.dataset,
            engine.cache,
            files=data.files,
            code=feature_code(subject.encoder.spec.source),
            batch=engine.settings.batch,
            workers=engine.settings.workers,
            reads=_reads(probes, sweep),
        )
        self._named = {id(probe): stages_named(probe, data.dataset) for probe in probes}

    def close(self) -> None:
        self._extractor.close()

    def measure(
        self, cell: Cell, probe: Probe, others: Sequence[tuple[Cell, Probe]] = ()
    ) -> tuple[Record, Scores | None]:
        """The record of a cell, whatever came of it, and its per-sample scores; artifacts are in the store already.

        Args:
            others: cells that will be measured after this one.

        Raises:
            StoreError: the store cannot be written.
        """
        evidence = self._subject.evidence(type(probe), self._data)
        if self._subject.spoilt:
            return _without_number(cell, "failed", self._subject.spoilt, evidence, ()), None
        self._engine.cache.written.clear()
        record, scores = self._attempt(cell, probe, others, evidence)
        if changed := self._subject.changed(cell.probe.name):
            self._engine.cache.drop(self._engine.cache.written)  # features of other weights than their key says
            self._subject.spoilt = f"was not measured, for {changed[0].lower()}{changed[1:]}"
            return _without_number(cell, "failed", changed, evidence, record.skipped), None
        return record, scores

    def errand(self, cell: Cell, probe: Probe, others: Sequence[tuple[Cell, Probe]]) -> JointErrand | None:
        """What a cell may share, its stages trained; None where it has nothing to share: why, measuring it says.

        Raises:
            StoreError: the store cannot be written.
        """
        if not isinstance(probe, Joins):
            return None
        work = self._work(cell, probe, others, self._subject.evidence(type(probe), self._data))
        try:
            self._check_applicable(cell, probe)
            with seeded(cell.seed):
                return probe.errand(self._subject.encoder, work)
        except StoreError:
            raise
        except (NotApplicable, UserError):
            return None
        except Exception:
            if self._engine.settings.debug:
                raise
            return None

    def _attempt(
        self, cell: Cell, probe: Probe, others: Sequence[tuple[Cell, Probe]], evidence: Evidence
    ) -> tuple[Record, Scores | None]:
        began, images, encoding = time.perf_counter(), self._extractor.images, self._extractor.seconds
        work = self._work(cell, probe, others, evidence)
        try:
            self._check_applicable(cell, probe)
            with seeded(cell.seed):
                outcome = self._run(probe, cell, work)
        except NotApplicable as reason:
            # It stands until one of the trainings that said so is another.
            evidence = evidence.resting_on(tuple(work.used.values()), work.deterministic)
            return _without_number(cell, "not_applicable", str(reason), evidence, self._skipped(work)), None
        except StoreError:
            raise
        except UserError as error:
            return _without_number(cell, "failed", str(error), evidence, self._skipped(work)), None
        except Exception as error:
            if self._engine.settings.debug:
                raise
            return _without_number(cell, "failed", _unexpected(error), evidence, self._skipped(work)), None
        fresh = self._extractor.images - images
        record = Record(
            cell=cell,
            status="done",
            metrics=outcome.metrics,
            artifacts=outcome.artifacts,
            assumptions=outcome.assumptions,
            used={name: value for name, value in outcome.used.items() if cell.probe.params.get(name) != value},
            evidence=evidence.resting_on(tuple(work.used.values()), work.deterministic),
            taints=_taints(cell, evidence),
            skipped=self._skipped(work),
            notes=self._dataset.notes,
            seconds=round(time.perf_counter() - began, 3),
            images_per_second=round(fresh / max(self._extractor.seconds - encoding, 1e-9), 2) if fresh else None,
            created=now(),
        )
        return record, outcome.scores

    def _work(self, cell: Cell, probe: Probe, others: Sequence[tuple[Cell, Probe]], evidence: Evidence) -> CellWork:
        return CellWork(
            cell,
            self._dataset,
            self._extractor,
            self._engine,
            made_from=evidence.origin(),
            stages=self._named[id(probe)],
            trainings=Stages(self._subject, cell.encoder, self._extractor, self._engine),
            later=[(stage, other.seed) for other, its in others for stage in self._named[id(its)]],
        )

    def _run(self, probe: Probe, cell: Cell, work: CellWork) -> Outcome:
        try:
            outcome = probe.run(self._subject.encoder, seed=cell.seed, work=work)
        except NotApplicable as reason:
            raise NotApplicable(f"{reason}{because(self._skipped(work))}") from reason
        if not isinstance(outcome, Outcome):
            raise UserError(f"{probe.name} returns a {type(outcome).__name__} and no Outcome; mend its run.")
        return outcome

    def _skipped(self, work: CellWork) -> tuple[Skipped, ...]:
        learnt_from = [
            skip.model_copy(update={"item": f"{each.spec.name}/{skip.item}"})
            for each in self._dataset.learnt_from
            for skip in each.skipped
        ]
        return tuple(dict.fromkeys((*self._dataset.skipped, *learnt_from, *work.skipped.values())))

    def _check_applicable(self, cell: Cell, probe: Probe) -> None:
        lacking = " and ".join(self._dataset.lacks(probe.data))
        if lacking:
            reason = f"{probe.name} needs {lacking}, which the data set {cell.dataset.name} does not have"
            raise NotApplicable(reason + (_crowds_alone(self._dataset) or because(self._dataset.skipped)))
        if untaught(probe, self._dataset):
            learnt = " and ".join(f"a{'n' * (name[0] in 'aeiou')} {name}" for name in lessons(probe))
            reason = f"{probe.name} learns from {learnt} split, which the data set {cell.dataset.name} does not have"
            raise NotApplicable(f"{reason}{because(self._dataset.skipped)}; add --data train=FOLDER to learn from that")
        lacking = " and ".join(sorted(probe.needs - self._subject.encoder.provides))
        if lacking:
            raise NotApplicable(f"{probe.name} needs {lacking}, which {cell.encoder.title} does not give")


def _crowds_alone(dataset: Dataset) -> str:
    """What to add where every region of a data set is a crowd, which is hardly ever meant."""
    samples = [sample for split in dataset.splits for sample in dataset.samples(split)]
    crowds = sum(crowd.label != ANY for sample in samples for crowd in sample.crowds)
    if not crowds or any(sample.regions for sample in samples):
        return ""
    return f": it has no object, only {crowds} crowd regions (iscrowd 1); {CROWDS_ALONE}"


def _reads(probes: Sequence[Probe], sweep: Sequence[int]) -> list[Read]:
    """What will be read of this encoder, and of those that are other layers of it."""
    own = [read for probe in probes for read in probe.reads]
    whole = [read for read in own if read.layer is None and read.pooling == MEAN]
    return own + [replace(read, layer=layer) for layer in sweep for read in whole]


def _without_number(cell: Cell, status: str, reason: str, evidence: Evidence, skipped: tuple[Skipped, ...]) -> Record:
    body = {"cell": cell, "status": status, "error": reason, "evidence": evidence, "skipped": skipped, "created": now()}
    return Record.model_validate(body)


def _unexpected(error: Exception) -> str:
    if full := lacks_memory(error):
        return f"{full}; use a smaller --batch, or settings that need less, then run again."
    if said := cannot_repeat(error):
        return f"{said}."
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{where.name} in {Path(where.filename).name}, line {where.lineno}"
    return f"{type(error).__name__}: {error} ({place}); run again with --debug for the traceback."


def _taints(cell: Cell, evidence: Evidence) -> tuple[str, ...]:
    taints = [f"limit {cell.limit}"] if cell.limit is not None else []
    return (*taints, "uncommitted code") if evidence.dirty else tuple(taints)
