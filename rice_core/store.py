"""The store: a plain directory, one JSON a cell.

    records/<cell id>.json      {"sha256": ..., "record": {...}}, written last: a record is there only when its files are
    scores/<cell id>/           per-sample scores; like artifacts under a name that begins with their sha256, so that
    artifacts/<cell id>/        measuring a cell again leaves the standing record whole until the new one replaces it
    cache/                      feature shards (rice_core.cache)
    unfinished/<cell id>-.../   state of a long measurement (a training); gone when its record is written
    exports/<cell id>/          files for other tools, such as results in COCO's format; never read here
    quarantine/                 what was damaged, kept for a look

Nothing is ever unpickled, and no name read from disk is used as a path before it is validated.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from rice_core.digest import bytes_digest, canonical_json, json_digest
from rice_core.errors import UserError
from rice_core.files import sweep_temporaries, write_atomically
from rice_core.record import Artifact, Record, Scores

_CELL_ID = re.compile(r"[0-9a-f]{20}")


class Damaged(Exception):
    """A file of the store is torn, changed or not what its name says; the sentence says which and why."""


@dataclass(frozen=True)
class Problem:
    """A file that was set aside, and why."""

    file: str
    reason: str


class Store:
    """Records of one folder.

    Args:
        root: the folder; made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def put(self, record: Record, scores: Scores | None = None) -> Record:
        """Write scores, then the record; returns the record with the scores' digest. Artifacts are already in place.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        if scores is not None:
            data = canonical_json(scores.model_dump(mode="json")).encode()
            record = record.model_copy(update={"scores_sha256": bytes_digest(data)})
            write_atomically(self._scores_path(record), data)
        body = record.model_dump(mode="json")
        envelope = {"sha256": json_digest(body), "record": body}
        write_atomically(
            self._path("records", record.cell.id),
            (json.dumps(envelope, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        )
        self._drop_replaced(record)
        return record

    def get(self, cell_id: str) -> Record | None:
        """The record of a cell, or None. A damaged one is moved to quarantine and None returned."""
        path = self._path("records", cell_id)
        if not path.is_file():
            return None
        try:
            return self._read(path)
        except Damaged as damage:
            self.quarantine(path, str(damage))
            return None

    def records(self) -> list[Record]:
        """All sound records, in the order of their ids; damaged ones go to quarantine."""
        return self.scan()[0]

    def scan(self) -> tuple[list[Record], list[Problem]]:
        """All sound records, and what was wrong with the others (which are moved to quarantine)."""
        records, problems = [], []
        for path in sorted((self.root / "records").glob("*.json")):
            try:
                records.append(self._read(path))
            except Damaged as damage:
                self.quarantine(path, str(damage))
                problems.append(Problem(path.name, str(damage)))
        return records, problems

    def scores(self, record: Record) -> Scores | None:
        """Per-sample scores of a record; None where it has none or they are damaged (then quarantined)."""
        if record.scores_sha256 is None:
            return None
        path = self._scores_path(record)
        try:
            return Scores.model_validate_json(self._checked(path, record.scores_sha256))
        except (Damaged, ValidationError) as error:
            self.quarantine(path, str(error).splitlines()[0])
            return None

    def put_artifact(self, cell_id: str, name: str, data: bytes) -> Artifact:
        """Keep a file beside the record that is to come. The name is validated: it cannot leave the store."""
        kind: Literal["png", "json"] = "png" if name.endswith(".png") else "json"
        artifact = Artifact(name=name, sha256=bytes_digest(data), kind=kind)
        write_atomically(self._artifact_path(cell_id, artifact), data)
        return artifact

    def artifact(self, record: Record, name: str) -> bytes | None:
        """The bytes of an artifact of a record; None where there is none or it is damaged (then quarantined)."""
        entry = next((a for a in record.artifacts if a.name == name), None)
        if entry is None:
            return None
        path = self._artifact_path(record.cell.id, entry)
        try:
            return self._checked(path, entry.sha256)
        except Damaged as damage:
            self.quarantine(path, str(damage))
            return None

    def unfinished(self, cell_id: str, made_from: str) -> Path:
        """Where the state of a long measurement is kept until its record is written.

        Args:
            made_from: digest of weights, data and code; what was begun with others is not gone on with.
        """
        return self._path("unfinished", cell_id, suffix=f"-{made_from[:10]}")

    def exports(self, cell_id: str) -> Path:
        """Where a cell's files for other tools are; the store itself never reads them."""
        return self._path("exports", cell_id, suffix="")

    def drop_unfinished(self, cell_id: str) -> None:
        """Remove the state of every attempt at a cell."""
        for path in self._path("unfinished", cell_id, suffix="").parent.glob(f"{cell_id}-*"):
            shutil.rmtree(path, ignore_errors=True)

    def intact(self, record: Record) -> bool:
        """Whether scores and artifacts of a record are there and unchanged; what is not is quarantined."""
        scores = record.scores_sha256 is None or self.scores(record) is not None
        artifacts = [self.artifact(record, entry.name) is not None for entry in record.artifacts]  # looks at every one
        return scores and all(artifacts)

    def quarantine(self, path: Path, reason: str) -> None:
        """Set a damaged file aside with its reason, instead of deleting or trusting it."""
        target = self.root / "quarantine" / f"{path.name}.{secrets.token_hex(3)}"
        # A store on a read-only disk can still be read; then the damaged file just stays.
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            target.with_name(target.name + ".reason").write_text(
                f"{path.relative_to(self.root)}: {reason}\n", encoding="utf-8"
            )

    def sweep(self) -> int:
        """Remove what killed processes left half-written."""
        return sweep_temporaries(self.root) if self.root.is_dir() else 0

    def _read(self, path: Path) -> Record:
        try:
            envelope = json.loads(path.read_bytes())
            body = envelope["record"]
            if json_digest(body) != envelope["sha256"]:
                raise Damaged("its bytes do not match its checksum")
            record = Record.model_validate(body)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Damaged(
                f"cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            ) from error
        if record.cell.id != path.stem:
            raise Damaged(f"it holds cell {record.cell.id}")
        return record

    def _checked(self, path: Path, sha256: str) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Damaged(f"cannot be read: {error.strerror}") from error
        if bytes_digest(data) != sha256:
            raise Damaged("its bytes do not match the record's checksum")
        return data

    def _scores_path(self, record: Record) -> Path:
        return self._path("scores", record.cell.id, suffix="") / f"{(record.scores_sha256 or '')[:16]}.json"

    def _artifact_path(self, cell_id: str, artifact: Artifact) -> Path:
        return self._path("artifacts", cell_id, suffix="") / f"{artifact.sha256[:16]}-{artifact.name}"

    def _drop_replaced(self, record: Record) -> None:
        """Remove the files of the record that stood before; a kill before this leaves files that nothing names."""
        kept = {self._artifact_path(record.cell.id, artifact) for artifact in record.artifacts}
        kept.add(self._scores_path(record))
        for kind in ("scores", "artifacts"):
            for path in self._path(kind, record.cell.id, suffix="").glob("*"):
                if path not in kept and path.suffix != ".tmp":
                    path.unlink(missing_ok=True)

    def _path(self, kind: str, cell_id: str, suffix: str = ".json") -> Path:
        if not _CELL_ID.fullmatch(cell_id):
            raise UserError(f"{cell_id!r} is no cell id: write the 20 hex digits that `ricebench status` shows.")
        return self.root / kind / (cell_id + suffix)
