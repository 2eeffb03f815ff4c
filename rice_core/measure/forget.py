"""forget: remove all that a store holds of a cell."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from rice_core.disk.files import first_link
from rice_core.record import Record
from rice_core.store import Store

_FOLDERS = ("scores", "artifacts", "exports", "unfinished")
_OF_A_CELL = re.compile(r"([0-9a-f]{20})(-[0-9a-f]{10})?")
"""Names of folders that belong to one cell: its id, and of unfinished state what it is made from."""


@dataclass(frozen=True)
class Held:
    """What a store holds of a cell."""

    cell_id: str
    record: Record | None
    """None where there are only leftovers, such as the state of a training that was given up."""
    paths: tuple[Path, ...]
    """Its folders, and the record's file first."""

    @property
    def kinds(self) -> list[str]:
        """`records`, `scores`, `artifacts`, `exports`, `unfinished`."""
        return [path.parent.name for path in self.paths]


def held_by(store: Store) -> list[Held]:
    """Everything that belongs to cells, in the order of their ids."""
    records = {record.cell.id: record for record in store.records()}
    names = (_OF_A_CELL.fullmatch(path.name) for kind in _FOLDERS for path in store.folders(kind))
    ids = set(records) | {name[1] for name in names if name}
    return [Held(cell_id, records.get(cell_id), tuple(_paths(store, cell_id))) for cell_id in sorted(ids)]


def matching(store: Store, pattern: str) -> list[Held]:
    """What belongs to the cells that a glob names (`Cell.matches`); leftovers without a record have an id alone."""
    return [
        held
        for held in held_by(store)
        if (held.record.cell.matches(pattern) if held.record else fnmatchcase(held.cell_id, pattern))
    ]


def forget(store: Store, cell_id: str) -> None:
    """Remove the record first, then what it names: a kill in between leaves files that nothing names.

    The caller has claimed the cell.
    """
    for path in _paths(store, cell_id):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # follows no link
        else:
            path.unlink(missing_ok=True)


def _paths(store: Store, cell_id: str) -> list[Path]:
    record = store.root / "records" / f"{cell_id}.json"
    found = [record] if record.is_file() and first_link(store.root, record) is None else []
    for kind in _FOLDERS:
        found += store.folders(kind, f"{cell_id}-*" if kind == "unfinished" else cell_id)
    return found
