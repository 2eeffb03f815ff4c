"""Where frames and truth of a video lie, and what of them belongs together: read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np

from rice_core.datasets.listed import Frames
from rice_core.datasets.nouns import Video
from rice_core.datasets.tracks import Track
from rice_core.datasets.videos.fitting import Fit, fit
from rice_core.datasets.videos.rows import read_flags, read_rows
from rice_core.errors import UserError
from rice_core.record import Skipped


@dataclass(frozen=True)
class VideoFiles:
    """What a layout says of one video. It is the video's `TrackFile`: rows and flags are cut to the frames that are there."""

    name: str
    folder: Path
    """Of the frames."""
    boxes: Path
    labels: Mapping[str, Path] = field(default_factory=dict)
    """Name in `Track.flags` -> its file."""
    first: int | None = None
    """The number of the first frame, where the layout fixes it."""
    hidden: bool = False
    """Whether one row may stand for hidden truth."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.boxes, *self.labels.values())

    def read(self) -> Track:
        """As many rows as there are frames, or one where the truth is hidden.

        Raises:
            UserError: a row cannot be read, or it cannot be known which is which frame's.
        """
        boxes_T4 = read_rows(self.boxes)
        n = self.fit(self.names(), len(boxes_T4)).rows
        flags = {name: self._flags(name, path, len(boxes_T4))[:n] for name, path in self.labels.items()}
        absent_T = np.zeros(n, dtype=bool)
        for name, values in flags.items():
            if name in _ABSENT:
                absent_T |= _ABSENT[name](values)
        return Track(boxes_T4[:n], absent_T, flags, flagged=any(name in _ABSENT for name in flags))

    def names(self) -> list[str]:
        """Of the frames that lie there; none where there is no such folder."""
        try:
            return Frames(self.folder).names
        except OSError:
            return []

    def fit(self, names: Sequence[str], rows: int) -> Fit:
        """Which of these frames belong to `rows` rows.

        Raises:
            UserError: it cannot be known.
        """
        return fit(self.name, names, rows, first=self.first, hidden=self.hidden)

    def over(self) -> Iterator[str]:
        """See `over` below."""
        rows = len(read_rows(self.boxes))
        yield from (f"is read without {words}" for words in self.fit(self.names(), rows).over)
        for name, path in self.labels.items():
            if (more := len(self._flags(name, path, rows)) - rows) > 0:
                yield f"has {more} more flags {name} than rows"

    def _flags(self, name: str, path: Path, rows: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        values = read_flags(path)
        if len(values) < rows:
            raise UserError(
                f"{self.name} has {len(values)} flags in {path.name} for {rows} boxes; get that file again."
            )
        return values


_ABSENT = {
    "absence": lambda values: values > 0,
    "cover": lambda values: values == 0,  # GOT-10k: a level, 0 nothing to 8 all visible
    "full_occlusion": lambda values: values > 0,
    "out_of_view": lambda values: values > 0,
    "absent": lambda values: values > 0,
}
"""The flags that say that the object cannot be seen."""


@dataclass(frozen=True)
class Shown(Sequence[Path]):
    """The frames of a source that its annotation is about; all of them where it cannot be known which these are."""

    source: VideoFiles

    @overload
    def __getitem__(self, place: int) -> Path: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Path]: ...

    def __getitem__(self, place: int | slice) -> Path | Sequence[Path]:
        if isinstance(place, slice):
            return [self.source.folder / name for name in self._names[place]]
        return self.source.folder / self._names[place]

    def __len__(self) -> int:
        return len(self._names)

    @cached_property
    def _names(self) -> list[str]:
        names = Frames(self.source.folder).names
        try:
            found = self.source.fit(names, len(read_rows(self.source.boxes)))
        except UserError:
            return names
        return names[found.start : found.start + found.frames]


@dataclass(frozen=True)
class VideoTexts(Mapping[str, str]):
    """What is said of a whole video, its texts read when they are first asked for."""

    known: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Path] = field(default_factory=dict)
    """Name -> a file whose text it is."""
    table: Path | None = None
    """A file of `name: value` a line, as GOT-10k's meta_info.ini."""

    def __getitem__(self, name: str) -> str:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @cached_property
    def _all(self) -> dict[str, str]:
        lines = _text(self.table).splitlines() if self.table else []
        pairs = (line.partition(":") for line in lines if ":" in line)
        told = {name.strip(): value.strip() for name, _, value in pairs}
        told |= {name: text for name, path in self.texts.items() if (text := _text(path))}
        if kind := told.get("object_class"):
            told["class"] = kind
        return told | dict(self.known)


def _text(path: Path) -> str:
    """Empty where there is none: it says something more of a video, and costs none."""
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace").strip()
    except OSError:
        return ""


def video_of(source: VideoFiles, id: str, *, origin: int = 0, attributes: Mapping[str, str] | None = None) -> Video:
    """The video of a source."""
    return Video(id, Shown(source), source, origin, attributes or {})


def in_text_order(video: Video) -> bool:
    """Whether frames sorted as text, as other readers of TNL2K do, come in the order of their numbers.

    Raises:
        OSError: they cannot be listed.
    """
    names = [path.name for path in video.frames]
    return names == sorted(names)


def over(video: Video) -> tuple[Skipped, ...]:
    """What of a video is not used: frames past its annotation, rows past its frames, flags past its rows.

    Raises:
        UserError: it cannot be used at all.
    """
    if not isinstance(video.truth, VideoFiles):
        return ()
    return tuple(Skipped(item=video.id, reason=reason) for reason in video.truth.over())
