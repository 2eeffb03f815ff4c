"""Pieces: what finished stages leave under OUT/.work, so that the same command again goes on where a kill stopped it.

    .work/<stage>-<key>/000000.jsonl        found regions of a chunk of images
    .work/<stage>-<key>/000000.safetensors  features, or labels, of the chunk's regions

The key is a digest of all that a stage depends on: a changed setting gives another folder and redoes only what follows.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from rice_core.digest import json_digest
from rice_core.disk.files import refuse_links, write_atomically
from rice_core.errors import UserError
from rice_core.progress import Progress
from rice_core.workers import pool_of

Arrays = dict[str, npt.NDArray[Any]]
_STAGE = re.compile(r"[a-z_]+-[0-9a-f]{20}")


class Workplace:
    """The folder of one curation's pieces."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._used: set[str] = set()

    def stage(self, name: str, depends_on: Any) -> Path:
        """The folder of a stage's pieces."""
        folder = self.root / f"{name}-{json_digest(depends_on)[:20]}"
        self._used.add(folder.name)
        return folder

    def clear(self) -> None:
        """Forget all that was done (--fresh).

        Raises:
            StoreError: the folder is a link.
        """
        refuse_links(self.root.parent, self.root)
        shutil.rmtree(self.root, ignore_errors=True)

    def tidy(self) -> None:
        """Remove pieces of other settings."""
        if self.root.is_dir():
            for folder in self.root.iterdir():
                if _STAGE.fullmatch(folder.name) and folder.name not in self._used:
                    shutil.rmtree(folder, ignore_errors=True)


def write_arrays(path: Path, arrays: Arrays) -> None:
    """A safetensors file, whole or not at all."""
    write_atomically(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def read_arrays(path: Path) -> Arrays:
    """The arrays of a piece.

    Raises:
        UserError: it is damaged.
    """
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); run the same command with --fresh.") from None


def spread(job: Callable[[Any], object], tasks: Sequence[Any], *, workers: int, progress: Progress, what: str) -> None:
    """Run `job` on every task, in `workers` processes where there are more than one; jobs write their own piece.

    The job and its tasks are sent to other processes, so they are module-level functions and plain values.
    """
    if workers <= 1 or len(tasks) <= 1:
        for task in progress.track(tasks, what):
            job(task)
        return
    with pool_of(min(workers, len(tasks))) as pool:
        done = pool.map(job, tasks)
        for _ in progress.track(tasks, what):
            next(done)
