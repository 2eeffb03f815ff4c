"""The other ranks of a run under torchrun: they do nothing but help rank 0 with what it trains.

    torchrun --nproc-per-node 8 -m rice_core.cli run ...

Rank 0 runs as it would alone. Before it measures a cell whose probe trains over ranks it tells the others which, and they
run that probe too, up to the end of its training; records, artifacts and whatever else is written are rank 0's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rice_core.measure.measurer import Subject, seeded, siblings_of
from rice_core.measure.work import CellWork

if TYPE_CHECKING:  # handed in, and no part of what a number is made of (rice_core.measure.closure)
    from rice_core.measure.run import Plan, Settings
    from rice_core.progress import Progress
    from rice_core.ranks import Ranks
    from rice_core.store import Store


def follow(plan: Plan, ranks: Ranks, store: Store, settings: Settings, progress: Progress) -> None:
    """Help until rank 0 says that all is done.

    What goes wrong here is not caught: the process ends, and torchrun ends the others; the same command goes on from
    the last checkpoint.
    """
    specs = {cell.id: spec for spec in plan.encoders for cell, _ in plan.cells(spec)}
    cells = {cell.id: (cell, probe) for spec in plan.encoders for cell, probe in plan.cells(spec)}
    subject: Subject | None = None
    while (wanted := ranks.agree(None)) is not None:
        cell_id, made_from, later = wanted
        cell, probe = cells[cell_id]
        if subject is None or subject.encoder.spec.identity() != cell.encoder.identity():
            subject = Subject(specs[cell_id], settings.device)  # a cell names no path
        work = CellWork(
            cell,
            plan.dataset,
            None,
            store,
            progress,
            made_from=made_from,
            workers=settings.workers,
            ranks=ranks,
            siblings=siblings_of(probe, [cells[other] for other in later], made_from, store),
        )
        with seeded(cell.seed):
            probe.run(subject.encoder, seed=cell.seed, work=work)
