"""What cells of a run do together before they are measured one by one: `ricebench run --together` (rice_core.joint).

Everywhere else one encoder is in memory at a time; here all of them are, while their errands are done. What is not trained is trained
before, encoder by encoder, since that takes more memory. What is left behind lies in the folder of each cell's unfinished state, as if
its own measurement had been killed after it: so it counts only while weights, data and code are the same, the run that follows goes on
from there, and a killed one loses nothing.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rice_core.errors import UserError, lacks_memory
from rice_core.joint import Joins, JointErrand
from rice_core.probe import Probe, stages_named
from rice_core.stage import chain, request_of

if TYPE_CHECKING:
    from rice_core.features import Encoder
    from rice_core.measure.hashed import Hashed
    from rice_core.measure.known import Identity
    from rice_core.measure.plan import Plan
    from rice_core.measure.run import Cells, Engine
    from rice_core.measure.subject import Subject
    from rice_core.record import Cell
    from rice_core.spec import DatasetSpec, EncoderSpec


@dataclass(frozen=True)
class Beforehand:
    """The joint work of one run."""

    engine: Engine
    plan: Plan
    data: Mapping[DatasetSpec, Hashed]
    own: Mapping[EncoderSpec, Encoder]
    """Encoders that are at hand."""
    known: Callable[[EncoderSpec], Identity | None]
    """Of an encoder that was loaded before, so that a finished run loads nothing."""
    asked: Callable[[Cell, Probe, Identity], bool]
    """Whether a cell is to be measured."""

    def run(self) -> None:
        """Do what cells share.

        Raises:
            StoreError: the store cannot be written.
        """
        if self.engine.ranks is not None and self.engine.ranks.size > 1:
            self.engine.progress.say(
                "--together is for one process: these ranks share the work of one encoder at a time."
            )
            return
        with self._claimed() as left:
            if sum(map(len, left.values())) < 2:
                return
            if len(left) > 1:
                self._train(left)
            self._share(left)

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[dict[EncoderSpec, Cells]]:
        """Cells that may share something and that no other run works on, by encoder; without what is known to be finished."""
        left: dict[EncoderSpec, Cells] = {}
        claims = self.engine.claims
        try:
            for spec in self.plan.encoders:
                identity = self.known(spec)
                for cell, probe in self.plan.cells(spec):
                    wanted = isinstance(probe, Joins) and (identity is None or self.asked(cell, probe, identity))
                    if wanted and claims.take(cell.id, self.plan.called(cell)):
                        left.setdefault(spec, []).append((cell, probe))
            yield left
        finally:
            for cells in left.values():
                for cell, _ in cells:
                    claims.give_back(cell.id)

    def _train(self, left: Mapping[EncoderSpec, Cells]) -> None:
        """All that they rest on, one encoder in memory at a time."""
        for spec, cells in left.items():
            if self._untrained(cells) and (subject := self._loaded(spec)) is not None:
                for _ in self._errands(subject, cells):
                    pass

    def _share(self, left: Mapping[EncoderSpec, Cells]) -> None:
        subjects: list[tuple[Subject, Cells]] = []
        parts: dict[type[JointErrand], list[tuple[Encoder, Any]]] = defaultdict(list)
        for spec, cells in left.items():
            if (subject := self._loaded(spec)) is not None:
                subjects.append((subject, cells))
                for errand in self._errands(subject, cells):
                    parts[type(errand)].append((subject.encoder, errand))
        for kind, its in parts.items():
            if len(its) > 1:
                for line in kind.together(its, self.engine.progress.track):
                    self.engine.progress.say(line)
        for subject, cells in subjects:
            if subject.changed("working together"):  # then it is nobody's; measured by itself, each cell says so
                for cell, _ in cells:
                    self.engine.store.drop_unfinished(cell.id)

    def _untrained(self, cells: Cells) -> bool:
        named = (
            request_of(stage, cell.encoder, cell.seed)
            for cell, probe in cells
            for each in stages_named(probe, self.plan.datasets[cell.dataset])
            for stage in chain(each)
        )
        return any(self.engine.shelf.find(request.id) is None for request in named)

    def _loaded(self, spec: EncoderSpec) -> Subject | None:
        from rice_core.measure.subject import Subject

        try:
            return Subject(self.own.get(spec, spec), self.engine.settings.device)
        except (UserError, MemoryError, RuntimeError) as error:
            full = lacks_memory(error)
            if not full and not isinstance(error, UserError):
                raise
            self.engine.progress.say(f"{spec.title} does not work together with the others: {full or error}")
            return None

    def _errands(self, subject: Subject, cells: Cells) -> Iterator[JointErrand]:
        """What they may share, their stages trained."""
        from rice_core.measure.measurer import Measurer

        for dataset in dict.fromkeys(cell.dataset for cell, _ in cells):
            its = [(cell, probe) for cell, probe in cells if cell.dataset == dataset]
            measurer = Measurer(subject, self.data[dataset], [probe for _, probe in its], self.engine)
            with contextlib.closing(measurer):
                for done, (cell, probe) in enumerate(its, start=1):
                    if self.asked(cell, probe, subject.identity):
                        errand = measurer.errand(cell, probe, its[done:])
                        if errand is not None:
                            yield errand
