"""Stages: trains what cells ask for, or finds that it has been trained. One subject, one data set, one run.

A training is claimed as a cell is, so that of two runs one trains and the other waits; it goes on from its checkpoints after a
kill; and what it leaves is moved to its place as a whole, with its `stage.json`. What is there is verified before it is used.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rice_core.digest import file_digest, json_digest
from rice_core.errors import StoreError, TrainingLost, UserError, one_line
from rice_core.measure.subject import Subject, seeded
from rice_core.measure.training_work import TrainingWork
from rice_core.ranks import Ranks
from rice_core.record import Evidence, now
from rice_core.stage import STAGE_JSON, Companion, Curve, Ready, Stage, StageRequest, Trained, request_of

if TYPE_CHECKING:  # handed in, and no part of what weights are made of (rice_core.measure.closure)
    from rice_core.measure.extract import Extractor
    from rice_core.measure.run import Engine
    from rice_core.probe import Errand
    from rice_core.spec import EncoderSpec

Wanted = tuple[Stage, int]
"""A stage and its seed."""


@dataclass(frozen=True)
class Sent:
    """An errand on its way to the other ranks."""

    encoder: EncoderSpec
    errand: Errand


class Stages:
    """The trainings of one subject, and what else the ranks do together with it.

    Args:
        encoder: the subject's, as cells name it. extractor: whose cache a training may use.
    """

    def __init__(self, subject: Subject, encoder: EncoderSpec, extractor: Extractor, engine: Engine) -> None:
        self._subject, self._encoder, self._extractor = subject, encoder, extractor
        self._engine, self._store, self._shelf, self._claims = engine, engine.store, engine.shelf, engine.claims
        self._ranks = engine.ranks or Ranks(0, 1, subject.encoder.device)

    def ready(self, stage: Stage, seed: int, later: Sequence[Wanted] = ()) -> Ready:
        """The training of a stage, made now where it does not stand.

        Args:
            later: stages that this run is going to ask for.

        Raises:
            UserError: it fails. TrainingLost: it fails while other ranks are in the middle of it.
            StoreError: the store cannot be written.
        """
        request = request_of(stage, self._encoder, seed)
        made_from = self._shelf.made_from(stage, self._subject.identity, request)
        with self._claims.waited_for(request.id, f"training {request.title}", self._engine.progress.say):
            trained = self._shelf.current(request.id, made_from)
            if trained is None and (before := self._shelf.failed.get(request.id)) is not None:
                raise before
            if trained is None:
                trained = self._train(stage, request, made_from, later)
            elif self._engine.settings.deterministic and not trained.evidence.deterministic:
                self._engine.progress.say(
                    f"{request.title}: taken as it was trained, without --deterministic; `ricebench cache clear --stages` lets it be trained anew"
                )
        return Ready(self._store.stage(request.id), trained)

    def share(self, errand: Errand) -> Any:
        """See `rice_core.probe.Work.share`."""
        if self._ranks.size > 1:
            self._ranks.agree(Sent(self._encoder, errand))
        try:
            return errand.run(self._subject.encoder, self._ranks, self._engine.progress.track)
        except UserError:
            raise
        except Exception as error:
            if self._ranks.size == 1:
                raise
            raise _lost(error) from error

    def _train(self, stage: Stage, request: StageRequest, made_from: str, later: Sequence[Wanted]) -> Trained:
        before = None if stage.after is None else self.ready(stage.after, request.seed, later)
        evidence = self._subject.evidence(type(stage), self._shelf.data(stage), training=True)
        if before is not None:
            goes_on = (before.trained.used, *before.trained.evidence.stages)
            evidence = evidence.resting_on(goes_on, before.trained.evidence.deterministic)
        folder, origin = self._unfinished(request.id, evidence)
        out, began = folder / "out", time.perf_counter()
        # What a killed attempt was about to leave; its checkpoints lie beside it.
        shutil.rmtree(out, ignore_errors=True)
        try:
            out.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"{out} cannot be written ({error.strerror}); choose another --store.") from error
        with self._companions(stage, request, evidence, later) as (companions, ids):
            ranks = Ranks(0, 1, self._ranks.device) if stage.alone else self._ranks
            work = TrainingWork(
                self._encoder, folder, origin, self._engine, ranks, companions, extractor=self._extractor
            )
            self._engine.progress.say(f"{request.title}: trained once for all cells that need it")
            if ranks.size > 1:
                ranks.agree((request.id, origin, ids))
            start = None if before is None else before.folder
            curve = self._run(stage, start, out, request.seed, work)
        if said := self._subject.changed(f"the training of {request.stage.name}"):
            raise UserError(said)
        trained = Trained(
            request=request,
            evidence=evidence,
            made_from=made_from,
            files=_files(out),
            curve=tuple({name: float(value) for name, value in point.items()} for point in curve),
            # With what was left out of the training that it goes on from, so that every cell counts both.
            skipped=tuple(dict.fromkeys((*(before.trained.skipped if before else ()), *work.skipped.values()))),
            seconds=round(time.perf_counter() - began, 3),
            created=now(),
        )
        self._shelf.put(trained, out)
        self._store.drop_unfinished(request.id)
        return trained

    def _run(self, stage: Stage, start: Path | None, out: Path, seed: int, work: TrainingWork) -> Curve:
        try:
            with seeded(seed):
                return stage.train(self._subject.encoder, start, out, seed=seed, work=work)
        except Exception as error:
            self._shelf.failed[request_of(stage, self._encoder, seed).id] = error
            if work.ranks.size == 1:
                raise
            # The others may be in the middle of a step that only we have left: nobody could go on.
            raise _lost(error) from error

    @contextlib.contextmanager
    def _companions(
        self, stage: Stage, mine: StageRequest, evidence: Evidence, later: Sequence[Wanted]
    ) -> Iterator[tuple[tuple[Companion, ...], list[tuple[str, str]]]]:
        """Those that can share the passes, are not trained yet, and are claimed for this while; and the ids of their folders."""
        found: dict[str, Companion] = {}
        ids: list[tuple[str, str]] = []
        try:
            for other, seed in later:
                if type(other) is not type(stage) or not stage.shares_with(other):
                    continue
                request = request_of(other, self._encoder, seed)
                if request.after != mine.after:  # that of another seed: other weights
                    continue
                made_from = self._shelf.made_from(other, self._subject.identity, request)
                free = request.id not in found and self._claims.take(request.id, f"training {request.title}")
                if not free:
                    continue
                if self._shelf.current(request.id, made_from) is not None:
                    self._claims.give_back(request.id)
                    continue
                # What can share is of one class, so made by the same code, and goes on from the same training.
                own = evidence.model_copy(update={"data": self._shelf.data(other)})
                folder, origin = self._unfinished(request.id, own)
                found[request.id] = Companion(other, seed, folder)
                ids.append((request.id, origin))
            yield tuple(found.values()), ids
        finally:
            for stage_id in found:
                self._claims.give_back(stage_id)

    def _unfinished(self, stage_id: str, evidence: Evidence) -> tuple[Path, str]:
        """Where its checkpoints are, and the digest of what they are made from."""
        origin = json_digest(list(evidence.origin()))
        return self._store.unfinished(stage_id, origin), origin


def _files(out: Path) -> dict[str, str]:
    """sha256 by name of what a training left."""
    found: dict[str, Any] = {
        path.relative_to(out).as_posix(): file_digest(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != STAGE_JSON
    }
    if not found:
        raise ValueError("a stage left no file in `out`")
    return found


def _lost(error: Exception) -> TrainingLost:
    if isinstance(error, UserError):
        return TrainingLost(str(error))
    # Where a rank ends, the others say in their library's words that it is gone.
    return TrainingLost(
        f"the ranks cannot go on together ({one_line(error, 160)}); mend what the first of them that failed says, and the same command goes on."
    )
