"""A data set whose files have been read once for their digests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rice_core.datasets import Dataset, data_digest, file_digests
from rice_core.datasets.known_files import KnownFiles
from rice_core.datasets.twins import with_twin_notes


@dataclass(frozen=True)
class Hashed:
    """A data set and what its bytes come to."""

    dataset: Dataset
    """With notes of what only the bytes tell: that some images are there twice."""
    files: dict[str, str]
    """`file_digests`: by item id."""
    digest: str
    """Of the whole set."""

    @property
    def by_files(self) -> dict[tuple[Path, ...], str]:
        """`files` by their paths."""
        return {item.files: self.files[item.id] for split in self.dataset.splits.values() for item in split}


def hashed(dataset: Dataset, known: KnownFiles, say: Callable[[str], None]) -> Hashed:
    """Read every file that is not known; `say` is told the notes that come of it."""
    files = file_digests(dataset, known=known)
    known.save()
    noted = with_twin_notes(dataset, files)
    for note in noted.notes[len(dataset.notes) :]:
        say(f"note: {note}")
    return Hashed(noted, files, data_digest(dataset, files))
