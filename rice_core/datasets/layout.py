"""What a reader of a layout is: it says whether a folder looks like its own, and reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rice_core.datasets.nouns import Dataset
from rice_core.datasets.splits import Judge


@dataclass(frozen=True)
class Sighting:
    """That a folder looks like a layout, and how surely it does."""

    how: Literal["sure", "doubtful", "last resort"]
    """doubtful: something speaks against it, so that it is refused unless another reader is sure. last resort: it is read
    so where nothing else is seen."""
    words: str
    """What was seen; where it is doubtful, the end of a sentence that begins with the folder and ends in the next step."""


class Reader(Protocol):
    """One layout on disk."""

    @property
    def layout(self) -> str:
        """As in FOLDER@layout."""

    def recognises(self, folder: Path) -> Sighting | None:
        """What of the folder looks like this layout; None where nothing does."""

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        """Read the folder as this layout, whatever it looks like.

        Raises:
            UserError: nothing of it can be used.
        """
