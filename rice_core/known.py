"""What a checkpoint's files are known to hold, so that a finished run is recognised without loading its encoders.

Only what was read from exactly these bytes, by this code and these libraries, is known: nothing is taken from a name, a path
or a time stamp. A checkpoint that is not a local folder (a hub id) is always loaded.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rice_core.digest import file_digest, json_digest
from rice_core.files import is_plain, refuse_links, write_atomically
from rice_core.provenance import feature_code, libraries
from rice_core.sealed import Damaged, Unsealed, seal_json, unseal_json
from rice_core.spec import EncoderSpec, Frozen


class Identity(Frozen):
    """The digests of a loaded encoder."""

    weights: str
    architecture: str


class KnownEncoders:
    """Identities below `root`, by the content they were read from."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, spec: EncoderSpec) -> Identity | None:
        """What the spec would load; None where that is not known. A wrong answer would be found when it is loaded."""
        path = self._path(spec)
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
        if path is not None:
            refuse_links(self._root.parent, path)
            write_atomically(path, seal_json(path.stem, identity.model_dump()))

    def _path(self, spec: EncoderSpec) -> Path | None:
        found = _checkpoint_files(spec)
        if found is None:
            return None
        body: dict[str, Any] = {
            "spec": spec.identity(),
            "files": {path.name: file_digest(path) for path in found},
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


def _checkpoint_files(spec: EncoderSpec) -> list[Path] | None:
    """The files of a local checkpoint (no adapter reads below its folder); None where it is not a local folder."""
    if spec.source == "synthetic":
        return []  # made of code and numbers alone
    if spec.source == "rice" and spec.model.startswith("builtin/"):
        folder = Path(str(files("rice_core"))) / "data" / spec.model.removeprefix("builtin/")
    elif spec.source in ("hf", "rice"):
        folder = Path(spec.model).expanduser()
    elif spec.model.startswith("local-dir:"):
        folder = Path(spec.model.removeprefix("local-dir:")).expanduser()
    else:
        return None
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else None
