"""verify: read a whole store; set aside what is damaged, name what is not ours, and compute every metric anew from its scores.

Nothing is removed, and nothing is moved but damaged files of our own. A folder of our own is walked without following links.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from rice_core.datasets.known_files import read_known
from rice_core.disk.exports import ABOUT
from rice_core.disk.problems import Problem, damaged, fault, foreign, printable
from rice_core.disk.sealed import Damaged, Unsealed
from rice_core.disk.temporaries import is_temporary
from rice_core.measure.cache import FeatureCache
from rice_core.measure.faults import fault_of_world, faults_of_export, faults_of_stage, read_state
from rice_core.measure.known import read_identity
from rice_core.progress import Progress
from rice_core.record import Record, Scores
from rice_core.store import Store, read_checked

_ROUNDING = 1e-9
"""Relative: what two orders of one sum may differ by."""
_CELL, _SHA = "[0-9a-f]{20}", "[0-9a-f]{16}"
_NAMES = {
    "records": ("", rf"{_CELL}\.json"),
    "scores": (_CELL, rf"{_CELL}/{_SHA}\.json"),
    "artifacts": (_CELL, rf"{_CELL}/{_SHA}-[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}"),
    "cache": (r"[0-9a-f]{2}", r"([0-9a-f]{2})/\1[0-9a-f]{62}\.safetensors"),
    "known": ("", r"[0-9a-f]{64}\.json"),
    "digests": ("", r"[0-9a-f]{64}\.json"),
    "worlds": (r"[^/]+-seed\d+(-\d+){3}(/.+)?", r"[^/]+-seed\d+(-\d+){3}/.+"),
    "stages": (rf"{_CELL}(/.+)?", rf"{_CELL}/.+"),
    "unfinished": (rf"{_CELL}-[0-9a-f]{{10}}(/.+)?", rf"{_CELL}-[0-9a-f]{{10}}/.+"),
    "exports": (rf"{_CELL}(/[^/]+)*", rf"{_CELL}/.+\.(json|txt|zip)"),
}
"""The folders and the files that the store has below each of its folders; everything else is foreign."""
_KINDS = (
    *("records", "metrics computed anew from scores", "files of scores", "artifacts", "feature shards"),
    *("identities of checkpoints", "digests of data files", "worlds", "trained stages"),
    *("files of unfinished trainings", "exports"),
)
"""What is counted, in the order in which it is said."""
_REST = "files that no record names (the next measurement of their cell removes them)"
_OLDER = "files that carry no key, as earlier versions wrote them (made anew when they are wanted)"
_UNCOUNTED = "metrics that have no column of scores to compute them from"
_HALF = "half-written files and folders (the next run removes those whose process is gone)"


@dataclass
class Verified:
    """What a store holds."""

    sound: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_KINDS, 0)))
    """By kind."""
    notes: Counter[str] = field(default_factory=Counter)
    """What is no problem and could not be verified, by what it is."""
    problems: list[Problem] = field(default_factory=list)


def verify(store: Store, progress: Progress) -> Verified:
    """Read everything that a number of the store rests on."""
    return _Reading(store, progress).run()


@dataclass
class _Reading:
    store: Store
    progress: Progress
    found: Verified = field(default_factory=Verified)

    def run(self) -> Verified:
        for entry in _listed(self.store.root):
            if isinstance(entry, os.DirEntry) and entry.is_symlink():
                self.found.problems.append(foreign(self.store.root, Path(entry.path)))
        own = {kind: self._own(kind) for kind in _NAMES}
        records, problems = self.store.scan()
        self.found.problems += problems
        for record in self.progress.track(records, "records and their scores"):
            self._record(record)
        named = {path for record in records for path in self.store.files(record)}
        self.found.notes[_REST] += len({*own["scores"], *own["artifacts"]} - named)
        cache = FeatureCache(self.store)
        self._each(own["cache"], "feature shards", lambda path: cache.read(path.stem))
        self._each(own["known"], "identities of checkpoints", read_identity)
        self._each(own["digests"], "digests of data files", read_known)
        self._worlds(own["worlds"])
        self._stages(own["stages"])
        self._each(own["unfinished"], "files of unfinished trainings", read_state)
        self._exports(own["exports"], {record.cell.id: record for record in records})
        return self.found

    def _own(self, kind: str) -> list[Path]:
        """Our files below a folder of the store; whatever else is there is a problem."""
        root, (folders, files) = self.store.root / kind, _NAMES[kind]
        found, waiting = list[Path](), [root]
        while waiting:
            here = waiting.pop()
            for entry in _listed(here) if not here.is_symlink() else ():
                if isinstance(entry, OSError):
                    self.found.problems.append(fault(self.store.root, here, entry))
                    continue
                path, name = Path(entry.path), Path(entry.path).relative_to(root).as_posix()
                if is_temporary(path) and not entry.is_symlink():
                    self.found.notes[_HALF] += 1
                elif entry.is_dir(follow_symlinks=False) and re.fullmatch(folders, name, re.DOTALL):
                    waiting.append(path)
                elif entry.is_file(follow_symlinks=False) and re.fullmatch(files, name, re.DOTALL):
                    found.append(path)
                elif kind != "records" or path.suffix != ".json":  # those `Store.scan` names
                    self.found.problems.append(foreign(self.store.root, path))
        return found

    def _each(self, paths: Sequence[Path], kind: str, read: Callable[[Path], object]) -> None:
        """Read files, each sealed with its key."""
        for path in self.progress.track(sorted(paths), kind):
            try:
                read(path)
                self.found.sound[kind] += 1
            except Unsealed:
                self.found.notes[_OLDER] += 1
            except FileNotFoundError:
                continue  # another process removed it just now
            except (Damaged, OSError) as error:
                self.found.problems.append(fault(self.store.root, path, error))

    def _record(self, record: Record) -> None:
        before, scores = len(self.found.problems), None
        for path, sha256 in self.store.files(record).items():
            of_scores = path.parent.parent.name == "scores"
            try:
                data = read_checked(path, sha256)
                scores = Scores.model_validate_json(data) if of_scores else scores
                self.found.sound["files of scores" if of_scores else "artifacts"] += 1
            except (Damaged, ValidationError, OSError) as error:
                self.found.problems.append(fault(self.store.root, path, error))
        if scores is not None or record.scores_sha256 is None:
            self._metrics(record, scores)
        self.found.sound["records"] += len(self.found.problems) == before

    def _metrics(self, record: Record, scores: Scores | None) -> None:
        """Each metric that has a column of scores is their plain mean: `Scores` says so."""
        for metric in record.metrics:
            column = None if scores is None else scores.values.get(metric.name)
            if column is None:
                self.found.notes[_UNCOUNTED] += 1
                continue
            mean = math.fsum(column) / len(column) if column else math.nan
            if math.isclose(metric.value, mean, rel_tol=_ROUNDING, abs_tol=1e-12):
                self.found.sound["metrics computed anew from scores"] += 1
                continue
            title = f"{record.cell.encoder.title} / {record.cell.probe.name}"
            self.found.problems.append(
                Problem(
                    f"records/{record.cell.id}.json",
                    f"{printable(metric.name)} of {printable(title)} is {metric.value:.12g}, and its scores give {mean:.12g}",
                    f"measure it again: the command of its run with --rerun '{printable(title.replace(' / ', '/'))}'",
                )
            )

    def _worlds(self, paths: Sequence[Path]) -> None:
        for world, files in self._folders("worlds", "worlds", paths):
            if reason := fault_of_world(world, files):
                self._note(world, reason, "the next command that uses it draws it again")
            self.found.sound["worlds"] += reason is None

    def _stages(self, paths: Sequence[Path]) -> None:
        """Every file by the digest in its folder's `stage.json`; what is damaged is trained again when it is wanted."""
        for folder, files in self._folders("stages", "trained stages", paths):
            before = len(self.found.problems)
            for path, reason in faults_of_stage(folder, files):
                if os.path.lexists(path):
                    self.found.problems.append(damaged(self.store.root, path, reason))
                else:
                    self._note(path, reason, "the next run that needs it trains it again")
            self.found.sound["trained stages"] += len(self.found.problems) == before

    def _folders(self, kind: str, what: str, paths: Sequence[Path]) -> Iterator[tuple[Path, set[Path]]]:
        """The folders in one of the store's, each with its files."""
        root = self.store.root / kind
        found: dict[Path, set[Path]] = {}
        for path in paths:
            found.setdefault(root / path.relative_to(root).parts[0], set()).add(path)
        return self.progress.track(sorted(found.items()), what)

    def _note(self, path: Path, reason: str, step: str) -> None:
        self.found.problems.append(Problem(printable(path.relative_to(self.store.root)), reason, step))

    def _exports(self, paths: Sequence[Path], records: dict[str, Record]) -> None:
        root = self.store.root / "exports"
        found: dict[Path, set[Path]] = {}
        for path in paths:
            cell, name, *_ = path.relative_to(root).parts
            if not name.endswith(ABOUT):
                found.setdefault(root / cell / name, set()).add(path)
        for place, files in self.progress.track(sorted(found.items()), "exports"):
            record = records.get(place.parent.name)
            if record is None:
                self.found.notes["exports of cells that have no record"] += 1
                continue
            faults = list(faults_of_export(place, files, record))
            self.found.problems += [damaged(self.store.root, path, reason) for path, reason in faults]
            self.found.sound["exports"] += not faults


def _listed(folder: Path) -> list[os.DirEntry[str] | OSError]:
    """What lies in a folder, by name; why it cannot be listed, where it is there."""
    try:
        with os.scandir(folder) as entries:
            return [*sorted(entries, key=lambda entry: entry.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        return [error]
