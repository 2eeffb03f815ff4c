"""The other ranks of a run under torchrun: they do nothing but help rank 0 with the stages that it trains and the errands it runs.

    torchrun --nproc-per-node 8 -m rice_core.cli run ...

Rank 0 runs as it would alone. Before it trains a stage it tells the others which, and they train it too; what a probe shares
(`Work.share`) it sends them. Cells, records and whatever else is written are rank 0's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rice_core.deterministic import deterministic
from rice_core.measure.stages import Sent
from rice_core.measure.subject import Subject, seeded
from rice_core.measure.training_work import TrainingWork
from rice_core.probe import stages_named
from rice_core.stage import Companion, Stage, chain, request_of

if TYPE_CHECKING:  # handed in, and no part of what a number is made of (rice_core.measure.closure)
    from rice_core.measure.plan import Plan
    from rice_core.measure.run import Engine
    from rice_core.ranks import Ranks
    from rice_core.spec import EncoderSpec


def follow(plan: Plan, ranks: Ranks, engine: Engine) -> None:
    """Help until rank 0 says that all is done.

    What goes wrong here is not caught: the process ends, and torchrun ends the others; the same command goes on from
    the last checkpoint.
    """
    with deterministic(engine.settings.device, wanted=engine.settings.deterministic):
        _help(plan, ranks, engine)


def _help(plan: Plan, ranks: Ranks, engine: Engine) -> None:
    stages: dict[str, tuple[EncoderSpec, Stage, int]] = {}
    encoders: dict[EncoderSpec, EncoderSpec] = {}
    """Those of cells, which name no path, -> those that can be loaded."""
    for spec in plan.encoders:
        for cell, probe in plan.cells(spec):
            encoders[cell.encoder] = spec
            for named in stages_named(probe, plan.datasets[cell.dataset]):
                for stage in chain(named):
                    stages[request_of(stage, cell.encoder, cell.seed).id] = spec, stage, cell.seed
    subject: Subject | None = None
    while (wanted := ranks.agree(None)) is not None:
        if isinstance(wanted, Sent):
            subject = _subject(subject, encoders[wanted.encoder], engine)
            wanted.errand.run(subject.encoder, ranks, engine.progress.track)
            continue
        stage_id, origin, others = wanted
        spec, stage, seed = stages[stage_id]
        subject = _subject(subject, spec, engine)
        folder = engine.store.unfinished(stage_id, origin)
        companions = tuple(
            Companion(*stages[other_id][1:], engine.store.unfinished(other_id, other)) for other_id, other in others
        )
        work = TrainingWork(spec, folder, origin, engine, ranks, companions)
        start = None if stage.after is None else engine.store.stage(request_of(stage.after, spec, seed).id)
        with seeded(seed):
            stage.train(subject.encoder, start, folder / "out", seed=seed, work=work)


def _subject(loaded: Subject | None, spec: EncoderSpec, engine: Engine) -> Subject:
    """The encoder that is asked for: the one that is loaded, or another in its place."""
    if loaded is not None and loaded.encoder.spec.identity() == spec.identity():
        return loaded
    return Subject(spec, engine.settings.device)
