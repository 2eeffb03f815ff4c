"""What a checkpoint's files are known to hold, so that a finished run is recognised without loading its encoders.

Only what was read from exactly these bytes, by this code and these libraries, is known: nothing is taken from a name, a path
or a time stamp. A checkpoint that is not a local folder (a hub id) is always loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rice_core.checkpoints import checkpoint_files, folder_of
from rice_core.digest import file_digest, json_digest
from rice_core.disk.files import is_plain, refuse_links, write_atomically
from rice_core.disk.paths import at_home
from rice_core.disk.sealed import Damaged, Unsealed, seal_json, unseal_json
from rice_core.errors import UserError
from rice_core.measure.provenance import feature_code, libraries
from rice_core.spec import EncoderSpec, Frozen


class Identity(Frozen):
    """The digests of a loaded encoder."""

    weights: str
    architecture: str


class KnownEncoders:
    """Identities below `root`, by the content they were read from. Look an encoder up before it is loaded, `put` it after."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._asked: dict[str, Path | None] = {}
        """Where each encoder was looked up, before it was loaded."""

    def get(self, spec: EncoderSpec) -> Identity | None:
        """What the spec would load; None where that is not known. A wrong answer would be found when it is loaded."""
        path = self._asked[spec.shorthand] = self._path(spec)
        if path is None:
            return None
        try:
            return read_identity(path)
        except (OSError, Damaged, Unsealed):
            return None

    def put(self, spec: EncoderSpec, identity: Identity) -> None:
        """Remember what was loaded.

        Raises:
            StoreError: the disk is full, or a link lies in the way.
        """
        path = self._path(spec)
        # A training may write into the folder while it is read: then which bytes were loaded is not known.
        if path is not None and path == self._asked.get(spec.shorthand, path):
            refuse_links(self._root.parent, path)
            write_atomically(path, seal_json(path.stem, identity.model_dump()))

    def _path(self, spec: EncoderSpec) -> Path | None:
        try:
            found = _files(spec)
            if found is None:
                return None
            files = {name: file_digest(path) for name, path in found.items()}
        except (OSError, UserError):
            return None  # loading it says why
        body: dict[str, Any] = {
            "spec": spec.identity(),
            "files": files,
            "code": feature_code(spec.source),
            "libraries": libraries(),
        }
        return self._root / f"{json_digest(body)}.json"


def read_identity(path: Path) -> Identity:
    """What a file of `KnownEncoders` says.

    Raises:
        Damaged: it is torn, changed, or lies under another checkpoint's name. Unsealed: a version that wrote no name wrote it.
        OSError: it is not there, or cannot be read.
    """
    if not is_plain(path):
        raise FileNotFoundError(path)
    body = unseal_json(path.stem, path.read_bytes())
    try:
        return Identity.model_validate(body)
    except ValidationError as error:
        raise Damaged(str(error).splitlines()[0]) from None


def _files(spec: EncoderSpec) -> dict[str, Path] | None:
    """All files that the encoder is loaded from; None where that is not known, so that it is loaded."""
    if spec.source == "synthetic":
        return {}  # made of code and numbers alone
    if spec.weights is not None:
        path = at_home(spec.weights)
        return {"weights": path} if path.is_file() else None
    folder = folder_of(spec)
    return None if folder is None else checkpoint_files(folder)
