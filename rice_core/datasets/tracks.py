"""Track: where one object is in the frames of a video, as the annotation file has it; and what reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """Nothing of it is mended: metrics of other people's toolkits are defined on the rows as they stand."""

    boxes_T4: Floats
    """x, y, width, height of each annotated frame, in the file's own origin; NaN stays NaN. Of hidden truth the first row alone."""
    absent_T: npt.NDArray[np.bool_]
    """Where the object cannot be seen, by the data set's own flags and never by a box's size; all False where it has none."""
    flags: Mapping[str, Floats] = field(default_factory=dict)
    """Further numbers a frame, as the files have them: `absence`, `cover`, `cut_by_image`, `full_occlusion`, `out_of_view`."""
    flagged: bool = False
    """Whether the data set says of each frame if the object is there."""

    def __post_init__(self) -> None:
        """Raises ValueError where rows and flags are not as many."""
        lengths = {len(self.boxes_T4), len(self.absent_T), *map(len, self.flags.values())}
        if self.boxes_T4.ndim != 2 or self.boxes_T4.shape[1] != 4 or len(lengths) != 1:
            raise ValueError(f"a track has rows of 4 numbers and a flag each, not {self.boxes_T4.shape} and {lengths}")

    @property
    def usable_T(self) -> npt.NDArray[np.bool_]:
        """Where there is a box that something can be learnt from: finite, of a size, and the object in sight."""
        finite_T = np.isfinite(self.boxes_T4).all(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray(finite_T & (self.boxes_T4[:, 2:] > 0).all(axis=1) & ~self.absent_T)


class TrackFile(Protocol):
    """What a layout keeps of a video's truth until it is asked for: data sets have millions of frames. It can be sent to a worker."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The annotation files, whose bytes are part of the data's digest."""

    def read(self) -> Track:
        """Read them.

        Raises:
            UserError: a row cannot be read; the sentence names file and row.
        """


@dataclass(frozen=True)
class KnownTrack:
    """Truth that is at hand already."""

    track: Track

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    def read(self) -> Track:
        return self.track
