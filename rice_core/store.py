"""The store: a plain directory, one JSON a cell.

    records/<cell id>.json      {"sha256": ..., "record": {...}}, written last: a record is there only when its files are
    scores/<cell id>/           per-sample scores; like artifacts under a name that begins with their sha256, so that
    artifacts/<cell id>/        measuring a cell again leaves the standing record whole until the new one replaces it
    cache/                      feature shards (rice_core.measure.cache)
    stages/<stage id>/          trainings that several cells share (rice_core.stage): stage.json and the files it names
    unfinished/<id>-.../        state of a long measurement or of a stage; gone when its record or stage.json is written
    exports/<cell id>/          files for other tools, such as results in COCO's format; never read here
    digests/                    sha256 of the images read before, by size and times (rice_core.datasets.known_files)
    known/, worlds/             digests of checkpoints read before (rice_core.measure.known), what was drawn (rice_core.world)
    quarantine/                 what was damaged, kept for a look

Nothing is ever unpickled, and no name read from disk is used as a path before it is validated. The root may be a link; below it
nothing is written, moved or removed through one, and only what has a name of ours is removed or moved.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, Unpack

from pydantic import ValidationError

from rice_core.digest import bytes_digest, canonical_json, json_digest
from rice_core.disk.files import first_link, is_plain, refuse_links, write_atomically
from rice_core.disk.paths import nearest
from rice_core.disk.problems import Problem, fault, foreign, set_aside
from rice_core.disk.sealed import Damaged, Unsealed
from rice_core.disk.temporaries import sweep
from rice_core.errors import UserError
from rice_core.record import Artifact, Record, Scores, Told

T = TypeVar("T")
_CELL_ID = re.compile(r"[0-9a-f]{20}")
_OF_A_CELL = {
    "scores": re.compile(r"[0-9a-f]{16}\.json"),
    "artifacts": re.compile(r"[0-9a-f]{16}-[A-Za-z0-9][A-Za-z0-9._-]{0,99}"),
}
"""Names that `put` and `put_artifact` give, below KIND/<cell id>."""


class Store:
    """Records of one folder.

    Args:
        root: the folder; made when something is first written.

    Raises:
        UserError: something is there that is no folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if not (there := nearest(self.root)).is_dir():
            raise UserError(f"{there} is a file and no store; give a folder.")

    def put(self, record: Record, scores: Scores | None = None) -> Record:
        """Write scores, then the record; returns the record with the scores' digest. Artifacts are already in place.

        Raises:
            StoreError: the disk is full, the folder cannot be written, or a link lies in the way.
        """
        if scores is not None:
            data = canonical_json(scores.model_dump(mode="json")).encode()
            record = record.model_copy(update={"scores_sha256": bytes_digest(data)})
            write_atomically(refuse_links(self.root, self._scores_path(record)), data)
        body = record.model_dump(mode="json")
        envelope = {"sha256": json_digest(body), "record": body}
        write_atomically(
            refuse_links(self.root, self._path("records", record.cell.id)),
            (json.dumps(envelope, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        )
        self._drop_replaced(record)
        return record

    def get(self, cell_id: str) -> Record | None:
        """The record of a cell, or None. A damaged one is moved to quarantine and None returned."""
        path = self._path("records", cell_id)
        return self.sound(path, self._read) if is_plain(path) else None

    def sound(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """What `read` makes of a file of the store; None where it is not there, or is damaged and so quarantined."""
        try:
            return read(path)
        except (Damaged, ValidationError) as error:
            self.quarantine(path, str(error).splitlines()[0])
        except (Unsealed, OSError):
            pass
        return None

    def records(self) -> list[Record]:
        """All sound records, in the order of their ids; damaged ones go to quarantine."""
        return self.scan()[0]

    def scan(self) -> tuple[list[Record], list[Problem]]:
        """All sound records, and what was wrong with the others: damaged ones are moved to quarantine, foreign ones stay."""
        records, problems = [], []
        for path in sorted((self.root / "records").glob("*.json")):
            if not is_plain(path) or not _CELL_ID.fullmatch(path.stem):
                problems.append(foreign(self.root, path))
                continue
            try:
                records.append(self._read(path))
            except (Damaged, OSError) as error:
                problems.append(fault(self.root, path, error))
        return records, problems

    def scores(self, record: Record) -> Scores | None:
        """Per-sample scores of a record; None where it has none or they are damaged (then quarantined)."""
        sha256 = record.scores_sha256
        if sha256 is None:
            return None
        return self.sound(
            self._scores_path(record), lambda path: Scores.model_validate_json(read_checked(path, sha256))
        )

    def put_artifact(self, cell_id: str, name: str, data: bytes, **told: Unpack[Told]) -> Artifact:
        """Keep a file beside the record that is to come. The name is validated: it cannot leave the store.

        Raises:
            UserError: the body is not what its type of figure says (`rice_core.figures`).
        """
        from rice_core.figures import check

        kind = name.rpartition(".")[2]
        artifact = Artifact.model_validate({"name": name, "sha256": bytes_digest(data), "kind": kind, **told})
        check(artifact, data)
        write_atomically(refuse_links(self.root, self._artifact_path(cell_id, artifact)), data)
        return artifact

    def artifact(self, record: Record, name: str) -> bytes | None:
        """The bytes of an artifact of a record; None where there is none or it is damaged (then quarantined)."""
        entry = next((a for a in record.artifacts if a.name == name), None)
        if entry is None:
            return None
        return self.sound(self._artifact_path(record.cell.id, entry), lambda path: read_checked(path, entry.sha256))

    def files(self, record: Record) -> dict[Path, str]:
        """Where the scores and artifacts are that a record names, with their sha256."""
        files = {self._artifact_path(record.cell.id, artifact): artifact.sha256 for artifact in record.artifacts}
        return files | ({self._scores_path(record): record.scores_sha256} if record.scores_sha256 else {})

    def unfinished(self, cell_id: str, made_from: str) -> Path:
        """Where the state of a long measurement is kept until its record is written.

        Args:
            made_from: digest of weights, data and code; what was begun with others is not gone on with.

        Raises:
            StoreError: there is a link in it, or on the way to it. So do `stage` and `exports`.
        """
        return self._own_folder(self._path("unfinished", cell_id, suffix=f"-{made_from[:10]}"))

    def stage(self, stage_id: str) -> Path:
        """Where the files of a finished training are."""
        return self._own_folder(self._path("stages", stage_id, suffix=""))

    def exports(self, cell_id: str) -> Path:
        """Where a cell's files for other tools are; the store itself never reads them."""
        return self._own_folder(self._path("exports", cell_id, suffix=""))

    def folders(self, kind: str, names: str = "*") -> list[Path]:
        """Folders below one of the store's that are no links, in one that is none: what lies elsewhere is never removed."""
        parent = self.root / kind
        found = [] if parent.is_symlink() else parent.glob(names)
        return sorted(path for path in found if path.is_dir() and not path.is_symlink())

    def place(self, *parts: str) -> Path:
        """A path below the root that may be written and replaced.

        Raises:
            StoreError: it is a link, or lies behind one.
        """
        return refuse_links(self.root, self.root.joinpath(*parts))

    def drop_unfinished(self, cell_id: str) -> None:
        """Remove the state of every attempt at a cell."""
        name = re.compile(re.escape(cell_id) + "-[0-9a-f]{10}")
        for path in self._path("unfinished", cell_id, suffix="").parent.glob(f"{cell_id}-*"):
            if name.fullmatch(path.name) and first_link(self.root, path) is None:
                shutil.rmtree(path, ignore_errors=True)  # follows no link in it

    def intact(self, record: Record) -> bool:
        """Whether scores and artifacts of a record are there and unchanged; what is not is quarantined."""
        scores = record.scores_sha256 is None or self.scores(record) is not None
        artifacts = [self.artifact(record, entry.name) is not None for entry in record.artifacts]  # looks at every one
        return scores and all(artifacts)

    def quarantine(self, path: Path, reason: str) -> bool:
        """Set a damaged file aside with its reason, instead of deleting or trusting it; False where it has to stay."""
        return set_aside(self.root, path, reason)

    def sweep(self) -> int:
        """Remove what killed processes left half-written; returns how many files and folders."""
        return sweep(self.root)

    def _read(self, path: Path) -> Record:
        """A record's file.

        Raises:
            Damaged: it is torn, changed, or another cell's. OSError: it cannot be read.
        """
        data = path.read_bytes()
        try:
            envelope = json.loads(data)
            body = envelope["record"]
            if json_digest(body) != envelope["sha256"]:
                raise Damaged("its bytes do not match its checksum")
            record = Record.model_validate(body)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Damaged(f"cannot be read: {said}") from error
        if record.cell.id != path.stem:
            raise Damaged(f"it holds cell {record.cell.id}")
        return record

    def _scores_path(self, record: Record) -> Path:
        return self._path("scores", record.cell.id, suffix="") / f"{(record.scores_sha256 or '')[:16]}.json"

    def _artifact_path(self, cell_id: str, artifact: Artifact) -> Path:
        return self._path("artifacts", cell_id, suffix="") / f"{artifact.sha256[:16]}-{artifact.name}"

    def _drop_replaced(self, record: Record) -> None:
        """Remove the files of the record that stood before; a kill before this leaves files that nothing names."""
        kept = self.files(record)
        for kind, name in _OF_A_CELL.items():
            for path in self._path(kind, record.cell.id, suffix="").glob("*"):
                ours = name.fullmatch(path.name) and is_plain(path) and first_link(self.root, path) is None
                if ours and path not in kept:
                    path.unlink(missing_ok=True)

    def _own_folder(self, path: Path) -> Path:
        """A folder that others write into by plain paths: no link may lead them out."""
        refuse_links(self.root, path)
        for here, folders, names in os.walk(path):
            for name in (*folders, *names):
                refuse_links(path, Path(here, name))
        return path

    def _path(self, kind: str, cell_id: str, suffix: str = ".json") -> Path:
        if not _CELL_ID.fullmatch(cell_id):
            raise UserError(f"{cell_id!r} is no cell id: write the 20 hex digits that `ricebench status` shows.")
        return self.root / kind / (cell_id + suffix)


def read_checked(path: Path, sha256: str) -> bytes:
    """The bytes of a file that a record names.

    Raises:
        Damaged: it is not there, or other bytes are. OSError: it cannot be read.
    """
    if not is_plain(path):
        raise Damaged("is not there" if not os.path.lexists(path) else "is no file")
    data = path.read_bytes()
    if bytes_digest(data) != sha256:
        raise Damaged("its bytes do not match the record's checksum")
    return data
