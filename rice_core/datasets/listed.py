"""The frames of a video as a sequence that is listed when it is first looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

from rice_core.datasets.walk import image_names


@dataclass(frozen=True)
class Frames(Sequence[Path]):
    """The images of a folder in the order of their numbers: `9.jpg` comes before `10.jpg`.

    TrackingNet alone has 14 million frames: to name its videos none of their folders has to be listed.
    """

    folder: Path

    @overload
    def __getitem__(self, place: int) -> Path: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Path]: ...

    def __getitem__(self, place: int | slice) -> Path | Sequence[Path]:
        if isinstance(place, slice):
            return [self.folder / name for name in self.names[place]]
        return self.folder / self.names[place]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def names(self) -> list[str]:
        """Of the files: a path a frame costs more than all else that is done with a video's truth."""
        names = image_names(self.folder)
        stems = [name.rpartition(".")[0] for name in names]
        if len({*map(len, stems)}) == 1 and (every := "".join(stems)).isascii() and every.isdigit():
            return names  # Numbers of one length are in order as text, and most data sets' are.
        return sorted(names, key=_in_order)


def _in_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]
