"""The feature cache: safetensors shards under a key that names all that went into them.

A shard holds the features of some consecutive images. Its key is the digest of (weights, encoder request without its
name, code and library versions, geometry, view, the images' ids, bytes and annotated sizes): so two encoders that differ by one weight bit share
nothing, and the same weights under another name share everything. Each shard carries a checksum of its key and arrays; one that
is damaged or another key's is quarantined and computed again, and so is, without a word, one of a version that wrote no key
into it. The least recently used shards leave first when the cache is over its size; what has no shard's name is left alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from rice_core.budget import Budget
from rice_core.bundle import Bundle
from rice_core.disk.files import first_link, is_plain, refuse_links, write_atomically
from rice_core.disk.paths import nearest
from rice_core.disk.sealed import read_arrays, seal_arrays
from rice_core.store import Store

_KEY = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".safetensors"
GIB = 1 << 30


class FeatureCache:
    """Shards below `store.root/cache`.

    Args:
        store: where damaged shards are quarantined.
        max_bytes: the size above which least recently used shards are removed; 50 GiB unless told.
    """

    def __init__(self, store: Store, *, max_bytes: int = 50 * GIB) -> None:
        self.root = store.root / "cache"
        self.hits = 0
        self.misses = 0
        self.written: set[str] = set()
        """Keys of shards that were put here, as far as whoever asks has not cleared them."""
        self._store = store
        self._max_bytes = max_bytes
        self._size: int | None = None

    def get(self, key: str) -> Bundle | None:
        """The shard of a key, verified; None where there is none or it is damaged."""
        path = self.path(key)
        shard = self._store.sound(path, lambda _: self.read(key))
        if shard is None:
            self.misses += 1
            return None
        with contextlib.suppress(OSError):  # a read-only store, or another process that evicts it just now
            os.utime(path)
        self.hits += 1
        return shard

    def read(self, key: str) -> Bundle:
        """The shard of a key.

        Raises:
            Damaged: it is torn, changed, or another key's. Unsealed: it is of a version that wrote no key into it.
            OSError: it is not there, lies behind a link, or cannot be read.
        """
        path = self.path(key)
        if not is_plain(path) or first_link(self._store.root, path) is not None:
            raise FileNotFoundError(path)
        return Bundle(*read_arrays(key, path))

    def put(self, key: str, shard: Bundle) -> None:
        """Keep a shard.

        Raises:
            StoreError: the disk is full, or a link lies in the way.
        """
        arrays = {name: np.ascontiguousarray(array) for name, array in shard.arrays.items()}
        data = save(arrays, metadata=seal_arrays(key, arrays, shard.notes))
        write_atomically(refuse_links(self._store.root, self.path(key)), data)
        self.written.add(key)
        self._size = self.size() if self._size is None else self._size + len(data)
        if self._size > self._max_bytes:
            self._evict()

    def drop(self, keys: Iterable[str]) -> None:
        """Remove shards."""
        for key in keys:
            self.path(key).unlink(missing_ok=True)

    def path(self, key: str) -> Path:
        """Where the shard of a key is, if there is one."""
        if not _KEY.fullmatch(key):
            raise ValueError(f"a cache key is 64 hex digits, not {key!r}")
        return self.root / key[:2] / (key + _SUFFIX)

    def space(self) -> Budget:
        """What may be kept. Older shards leave for new ones only above the cache's own limit, never for a full disk."""
        free = shutil.disk_usage(nearest(self.root)).free
        return Budget(cache=int(0.9 * self._max_bytes), free=int(0.9 * free))

    def has(self, key: str) -> bool:
        """Whether there is a shard of a key, sound or not."""
        return self.path(key).is_file()

    def size(self) -> int:
        """Bytes of all shards."""
        return sum(size for _, size, _ in self._entries())

    def clear(self) -> int:
        """Remove every shard; returns the bytes freed."""
        freed = self.size()
        self.drop(self.keys())
        self._size = 0
        return freed

    def keys(self) -> Iterator[str]:
        """Of all shards that lie where `put` puts them, sound or not."""
        if first_link(self._store.root, self.root) is not None:
            return
        for path in self.root.glob("*/*" + _SUFFIX):
            key = path.stem
            if _KEY.fullmatch(key) and path == self.path(key) and is_plain(path) and not path.parent.is_symlink():
                yield key

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
        for path in map(self.path, self.keys()):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                found.append((path, stat.st_size, stat.st_mtime))
        return found
