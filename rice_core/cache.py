"""The feature cache: safetensors shards under a key that names all that went into them.

A shard holds the features of some consecutive images. Its key is the digest of (weights, encoder request without its
name, code and library versions, geometry, view, the images' ids, bytes and annotated sizes): so two encoders that differ by one weight bit share
nothing, and the same weights under another name share everything. Each shard carries a checksum of its arrays; a damaged
one is quarantined and computed again. The least recently used shards leave first when the cache is over its size.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from rice_core.budget import Budget
from rice_core.digest import canonical_json
from rice_core.files import write_atomically

if TYPE_CHECKING:
    from rice_core.store import Store

Arrays = dict[str, npt.NDArray[Any]]
_KEY = re.compile(r"[0-9a-f]{64}")
_GIB = 1 << 30


@dataclass(frozen=True)
class Shard:
    """Arrays of some images, and what is not an array (ids left out, with reasons)."""

    arrays: Arrays
    notes: dict[str, Any]


class FeatureCache:
    """Shards below `store.root/cache`.

    Args:
        store: where damaged shards are quarantined.
        max_bytes: the size above which least recently used shards are removed; 50 GiB unless told.
    """

    def __init__(self, store: Store, *, max_bytes: int = 50 * _GIB) -> None:
        self.root = store.root / "cache"
        self.hits = 0
        self.misses = 0
        self._store = store
        self._max_bytes = max_bytes
        self._size: int | None = None

    def get(self, key: str) -> Shard | None:
        """The shard of a key, verified; None where there is none or it is damaged."""
        path = self.path(key)
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if metadata.get("sha256") != _digest(arrays, metadata.get("notes", "")):
                raise ValueError("its arrays do not match its checksum")
            shard = Shard(arrays, json.loads(metadata["notes"]))
        except FileNotFoundError:
            self.misses += 1
            return None
        except (SafetensorError, ValueError, OSError) as error:
            self._store.quarantine(path, str(error))
            self.misses += 1
            return None
        with contextlib.suppress(OSError):  # a read-only store, or another process that evicts it just now
            os.utime(path)
        self.hits += 1
        return shard

    def put(self, key: str, shard: Shard) -> None:
        """Keep a shard.

        Raises:
            UserError: the disk is full.
        """
        arrays = {name: np.ascontiguousarray(array) for name, array in shard.arrays.items()}
        notes = canonical_json(shard.notes)
        data = save(arrays, metadata={"sha256": _digest(arrays, notes), "notes": notes})
        write_atomically(self.path(key), data)
        self._size = self.size() if self._size is None else self._size + len(data)
        if self._size > self._max_bytes:
            self._evict()

    def path(self, key: str) -> Path:
        """Where the shard of a key is, if there is one."""
        if not _KEY.fullmatch(key):
            raise ValueError(f"a cache key is 64 hex digits, not {key!r}")
        return self.root / key[:2] / f"{key}.safetensors"

    def space(self) -> Budget:
        """What may be kept. Older shards leave for new ones only above the cache's own limit, never for a full disk."""
        folder = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
        return Budget(cache=int(0.9 * self._max_bytes), free=int(0.9 * shutil.disk_usage(folder).free))

    def has(self, key: str) -> bool:
        """Whether there is a shard of a key, sound or not."""
        return self.path(key).is_file()

    def size(self) -> int:
        """Bytes of all shards."""
        return sum(size for _, size, _ in self._entries())

    def clear(self) -> int:
        """Remove every shard; returns the bytes freed."""
        freed = 0
        for path, size, _ in self._entries():
            path.unlink(missing_ok=True)
            freed += size
        self._size = 0
        return freed

    def verify(self) -> tuple[int, int]:
        """Read every shard; damaged ones are quarantined. Returns (sound, damaged)."""
        keys = sorted(path.stem for path in self.root.glob("*/*.safetensors"))
        sound = sum(self.get(key) is not None for key in keys)
        return sound, len(keys) - sound

    def _evict(self) -> None:
        # Down to nine tenths, so that a full cache does not evict at every write.
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        newest = time.time() - 60
        for path, size, used in sorted(entries, key=lambda entry: entry[2]):
            if total <= 0.9 * self._max_bytes or used > newest:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._size = total

    def _entries(self) -> list[tuple[Path, int, float]]:
        """(shard, bytes, time of last use); one that another process removes meanwhile is left out."""
        found = []
        for path in self.root.glob("*/*.safetensors"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                found.append((path, stat.st_size, stat.st_mtime))
        return found


def _digest(arrays: Mapping[str, npt.NDArray[Any]], notes: str) -> str:
    digest = hashlib.sha256(notes.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(canonical_json([name, str(array.dtype), list(array.shape)]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
