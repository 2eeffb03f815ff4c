"""Records of before absolute paths stayed out of them: their cells get the ids and names of today."""

from __future__ import annotations

import contextlib

from rice_core.measure.claims import Claims
from rice_core.measure.forget import forget
from rice_core.record import Cell
from rice_core.spec import EncoderSpec
from rice_core.store import Store


def adopt(store: Store, claims: Claims, asked: EncoderSpec, cell: Cell) -> None:
    """Move what a store holds of a cell under the encoder's path as typed to the cell that names no path.

    Another run that has claimed either does it itself; a finished record of today is left as it is.
    """
    before = cell.model_copy(update={"encoder": asked})
    if before.id == cell.id or store.get(before.id) is None:
        return
    with claims.taken(before.id) as free, claims.taken(cell.id) as mine:
        record = store.get(before.id) if free and mine else None
        if record is None:
            return
        if store.get(cell.id) is None and store.intact(record):
            for artifact in record.artifacts:
                store.put_artifact(cell.id, artifact.name, store.artifact(record, artifact.name) or b"")
            store.put(record.model_copy(update={"cell": cell}), store.scores(record))
            with contextlib.suppress(OSError):
                store.exports(before.id).rename(store.exports(cell.id))
        forget(store, before.id)
