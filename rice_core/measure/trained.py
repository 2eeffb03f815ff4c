"""What the store's stages/ holds, and whether it still stands. Nothing is loaded and nothing trained."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from rice_core.digest import file_digest, json_digest
from rice_core.disk.files import is_plain, write_atomically
from rice_core.disk.sealed import Damaged, Unsealed, seal_json, unseal_json
from rice_core.errors import StoreError
from rice_core.measure.known import Identity
from rice_core.measure.provenance import number_code
from rice_core.record import UsedStage
from rice_core.spec import DatasetSpec
from rice_core.stage import STAGE_JSON, Stage, StageRequest, Trained

if TYPE_CHECKING:  # handed in, and no part of what a number is made of (rice_core.measure.closure)
    from rice_core.datasets import Dataset
    from rice_core.datasets.nouns import Item
    from rice_core.measure.claims import Claims
    from rice_core.store import Store

_ID = re.compile(r"[0-9a-f]{20}")
BROKEN = "broken"
"""In the place of a digest: of a stage whose files are no longer those that it left."""


class Shelf:
    """The finished trainings of a store.

    Args:
        files: digests of items that have been read in this run, by their files.
    """

    def __init__(self, store: Store, files: Mapping[tuple[Path, ...], str] | None = None) -> None:
        self._store = store
        self._files = dict(files or {})
        self._data: dict[DatasetSpec, str] = {}
        self._sound: dict[Path, tuple[tuple[int, int], str]] = {}
        self.failed: dict[str, Exception] = {}
        """Trainings that failed in this run, by id: the next cell that needs one is told so, and does not wait for it again."""

    def data(self, stage: Stage) -> str:
        """Digest of the bytes of all that it is trained on."""
        return json_digest([self._digest(dataset) for dataset in stage.data])

    def made_from(self, stage: Stage, encoder: Identity, request: StageRequest) -> str:
        """Digest of all that a training would be made from now: weights, data, code, and the same of what it goes on from."""
        code = number_code(type(stage), request.encoder.source, training=True)
        before = ""
        if stage.after is not None and request.after is not None:
            before = self.made_from(stage.after, encoder, request.after)
        return json_digest([request.id, encoder.weights, encoder.architecture, self.data(stage), code, before])

    def today(self, used: Iterable[UsedStage], wanted: Mapping[str, str]) -> tuple[UsedStage, ...]:
        """What trainings that a number was made with would be if it were made now; one that was removed counts as it was.

        Args:
            wanted: `made_from` by id, of all stages that its probe names now.
        """
        return tuple(
            stage.model_copy(
                update={"made_from": wanted.get(stage.id, ""), "digest": self.digest(stage.id) or stage.digest}
            )
            for stage in used
        )

    def current(self, stage_id: str, made_from: str) -> Trained | None:
        """The training, where it is whole and would be made from the same now."""
        trained = self.find(stage_id)
        if trained is None or trained.made_from != made_from or self.digest(stage_id) == BROKEN:
            return None
        before = trained.evidence.stages
        return trained if all(self.digest(stage.id) in (None, stage.digest) for stage in before) else None

    def lacks_files(self, stage_id: str) -> bool:
        """Whether files are gone that a training left; a look at their names alone."""
        trained, folder = self.find(stage_id), self._store.stage(stage_id)
        return trained is not None and not all(is_plain(folder / name) for name in trained.files)

    def digest(self, stage_id: str) -> str | None:
        """Of the files of a training, verified; BROKEN where they are damaged, None where there is no such training."""
        trained = self.find(stage_id)
        if trained is None:
            return BROKEN if os.path.lexists(self._store.stage(stage_id) / STAGE_JSON) else None
        return trained.used.digest if self._intact(trained) else BROKEN

    def find(self, stage_id: str) -> Trained | None:
        """What a `stage.json` says, whether or not its files are sound; a damaged one is quarantined."""
        return self._store.sound(self._store.stage(stage_id) / STAGE_JSON, read_trained)

    def put(self, trained: Trained, made: Path) -> Path:
        """Move what a training left to its place, `stage.json` with it; returns the place.

        Raises:
            StoreError: it cannot be written, or a link lies in the way.
        """
        target = self._store.stage(trained.request.id)
        write_atomically(made / STAGE_JSON, seal_json(_key(target.name), trained.model_dump(mode="json")))
        try:
            if target.exists():
                shutil.rmtree(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            made.rename(target)
        except OSError as error:
            raise StoreError(f"{target} cannot be written ({error.strerror}); choose another --store.") from error
        return target

    def _intact(self, trained: Trained) -> bool:
        folder = self._store.stage(trained.request.id)
        sound = True
        for name, sha256 in trained.files.items():
            path = folder / name
            if not is_plain(path):
                sound = False
            elif self._sha256(path) != sha256:
                self._store.quarantine(path, "its bytes do not match its stage's checksum")
                sound = False
        return sound

    def _sha256(self, path: Path) -> str:
        """Read once for all the cells of a run."""
        found = path.stat()
        stamp = (found.st_size, found.st_mtime_ns)
        if path not in self._sound or self._sound[path][0] != stamp:
            self._sound[path] = stamp, file_digest(path)
        return self._sound[path][1]

    def _digest(self, dataset: Dataset) -> str:
        # Not above: `status` looks at stages without numpy.
        from rice_core.datasets import data_digest

        if dataset.spec not in self._data:
            items = (item for split in dataset.splits.values() for item in split)
            self._data[dataset.spec] = data_digest(dataset, {item.id: self._file(item) for item in items})
        return self._data[dataset.spec]

    def _file(self, item: Item) -> str:
        from rice_core.datasets.digests import item_digest

        if item.files not in self._files:
            self._files[item.files] = item_digest(item)
        return self._files[item.files]


def read_trained(path: Path) -> Trained:
    """What a `stage.json` says.

    Raises:
        Damaged: it is torn, changed, or another stage's. Unsealed: it carries no seal. OSError: it is not there.
    """
    if not is_plain(path):
        raise FileNotFoundError(path)
    try:
        trained = Trained.model_validate(unseal_json(_key(path.parent.name), path.read_bytes()))
    except ValidationError as error:
        raise Damaged(str(error).splitlines()[0]) from None
    if trained.request.id != path.parent.name:
        raise Damaged("it holds what belongs to another name")
    return trained


def all_trained(store: Store) -> list[Trained]:
    """Every stage that has a sound `stage.json`, in the order of their ids."""
    found = []
    for folder in _folders(store):
        try:
            found.append(read_trained(folder / STAGE_JSON))
        except (Damaged, Unsealed, OSError):
            continue
    return found


def size_of_stages(store: Store) -> tuple[int, int]:
    """How many there are, and their bytes."""
    folders = _folders(store)
    return len(folders), sum(_size(folder) for folder in folders)


def clear_stages(store: Store, claims: Claims) -> int:
    """Remove every stage that nobody works on; returns the bytes freed. Records that rest on them stand."""
    freed = 0
    for folder in _folders(store):
        with claims.taken(folder.name, "removing it") as mine:
            if mine:
                freed += _size(folder)
                shutil.rmtree(folder)  # follows no link in it
    return freed


def _folders(store: Store) -> list[Path]:
    """Those of stages; what has another name is left alone."""
    return [folder for folder in store.folders("stages") if _ID.fullmatch(folder.name)]


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _key(stage_id: str) -> str:
    return f"stages/{stage_id}/{STAGE_JSON}"
