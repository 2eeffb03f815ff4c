"""Seals: what is kept under a key says which key that is, under one checksum with it.

A checksum of the content alone tells a torn file, but believes a sound one under another's name. JSON carries the seal around
its body, safetensors in the metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from safetensors import SafetensorError, safe_open

from rice_core.digest import canonical_json, json_digest

if TYPE_CHECKING:
    import numpy.typing as npt  # not where records alone are read: `status` waits for no numpy

Arrays: TypeAlias = "Mapping[str, npt.NDArray[Any]]"


class Damaged(Exception):
    """A file is torn, changed or not what its name says; the sentence says which and why."""


class Unsealed(Exception):
    """A file of a version that wrote no seal: nothing says whose it is, so it counts as not there."""


def key_of(path: Path) -> str:
    """The key of a file of a long measurement: its last three names, wherever the store is."""
    return "/".join(path.absolute().parts[-3:])


def seal_json(key: str, body: Any) -> bytes:
    """A JSON file that says which key it belongs to."""
    return canonical_json({"key": key, "sha256": json_digest([key, body]), "body": body}).encode()


def unseal_json(key: str, data: bytes) -> Any:
    """The body that was sealed for `key`.

    Raises:
        Unsealed: there is no seal.
        Damaged: it is torn, changed, or sealed for another key.
    """
    try:
        envelope = json.loads(data)
    except (ValueError, RecursionError):
        raise Damaged("is no JSON") from None
    if not isinstance(envelope, dict) or not {"key", "sha256", "body"} <= envelope.keys():
        raise Unsealed
    if envelope["sha256"] != json_digest([envelope["key"], envelope["body"]]):
        raise Damaged("its bytes do not match its checksum")
    if envelope["key"] != key:
        raise Damaged("it holds what belongs to another name")
    return envelope["body"]


def seal_arrays(key: str, arrays: Arrays, notes: Any) -> dict[str, str]:
    """The metadata of a safetensors file that says which key it belongs to. Arrays are contiguous; notes are JSON."""
    said = canonical_json(notes)
    return {"key": key, "notes": said, "sha256": _digest(key, arrays, said)}


def read_arrays(key: str, path: Path) -> tuple[dict[str, npt.NDArray[Any]], Any]:
    """The arrays of a safetensors file that was sealed for `key`, and their notes.

    Raises:
        Unsealed: there is no seal.
        Damaged: it is torn, changed, or sealed for another key.
        OSError: it is not there, or cannot be read.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError) as error:
        raise Damaged(" ".join(str(error).split())) from None
    return arrays, unseal_arrays(key, arrays, metadata)


def unseal_arrays(key: str, arrays: Arrays, metadata: Mapping[str, str] | None) -> Any:
    """The notes of arrays that were sealed for `key`.

    Raises:
        Unsealed: there is no seal.
        Damaged: they are changed, or sealed for another key.
    """
    if metadata is None or not {"key", "notes", "sha256"} <= metadata.keys():
        raise Unsealed
    if metadata["sha256"] != _digest(metadata["key"], arrays, metadata["notes"]):
        raise Damaged("its arrays do not match its checksum")
    if metadata["key"] != key:
        raise Damaged("it holds what belongs to another name")
    return json.loads(metadata["notes"])


def _digest(key: str, arrays: Arrays, notes: str) -> str:
    digest = hashlib.sha256(canonical_json([key, notes]).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(canonical_json([name, str(array.dtype), list(array.shape)]).encode())
        digest.update(array.reshape(-1).view("uint8").data if array.size else b"")
    return digest.hexdigest()
