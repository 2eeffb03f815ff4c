"""Which template and which search frame a pair of a training has: a function of the seed and of the pair's place alone.

So a training that is stopped needs no state to see what it would have seen, and any number of workers and ranks sees the same.
After OSTrack's `TrackingSampler` in its mode "causal"; what is ours: no video is too short that has two frames with the object,
a pair that cannot be used is drawn again from the same data set, and how often is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rice_core.datasets.in_bytes import InBytes
from rice_core.datasets.nouns import Dataset, Sample, Video
from rice_core.errors import UserError

Floats = npt.NDArray[np.float64]
PAIR, VIEW = range(2)
"""Keep the uses of a seed apart."""
TRIES = 200
"""Draws for one pair: where nine videos of ten are of no use, all fail once in 10^9 pairs."""
_WIDER = 5
"""Frames by which the gap grows where it holds no frame with the object; OSTrack's."""
_HELD = 256
"""Videos whose frames and tracks a worker holds."""


class Unusable(Exception):
    """What was drawn cannot be learnt from.

    Args:
        item: the video, frame or object. reason: what is wrong with it.
    """

    def __init__(self, item: str, reason: str) -> None:
        super().__init__(f"{item} {reason}")
        self.item, self.reason = item, reason


@dataclass(frozen=True)
class Shot:
    """A frame, and where the object is in it."""

    item: str
    """How sentences call it."""
    of: str
    """How they call the video, or the object of a still image: bad boxes come by thousands, so a video of them is named once."""
    path: Path
    box_4: Floats
    """x, y, w, h in pixels from 0, as annotated: it may leave the image."""
    size_hw: tuple[int, int] | None = None
    """As annotated."""


class Source(Protocol):
    """A data set as sequences of frames that show one object each."""

    @property
    def name(self) -> str:
        """How sentences call it."""

    def __len__(self) -> int:
        """Sequences."""

    def pair(self, number: int, gap: int, rng: np.random.Generator) -> tuple[Shot, Shot]:
        """Template and search frame of a sequence.

        Raises:
            Unusable: it never gives one.
        """


@dataclass(frozen=True)
class _Strip:
    """A video that was read."""

    video: Video
    boxes_T4: Floats
    usable_N: npt.NDArray[np.int64]
    """Frames with a box that can be learnt from, ascending; at least two."""
    frames: int
    """That have a row of the annotation."""


@dataclass(frozen=True)
class Footage:
    """The videos of a data set."""

    name: str
    videos: Sequence[Video]
    held: dict[int, _Strip | Unusable] = field(default_factory=dict, compare=False, repr=False)
    """What was read last, by number."""

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"held": {}}

    def __len__(self) -> int:
        return len(self.videos)

    def pair(self, number: int, gap: int, rng: np.random.Generator) -> tuple[Shot, Shot]:
        """The search frame comes after the template, at most `gap` frames or as few more as it takes."""
        strip = self._strip(number)
        template, search = causal(strip.usable_N, strip.frames, gap, rng)
        return self._shot(strip, template), self._shot(strip, search)

    def _shot(self, strip: _Strip, frame: int) -> Shot:
        path = strip.video.frames[frame]
        box_4 = strip.boxes_T4[frame] - (strip.video.origin, strip.video.origin, 0, 0)
        of = f"{self.name}/{strip.video.id}"
        return Shot(f"{of}/{path.name}", of, path, box_4)

    def _strip(self, number: int) -> _Strip:
        if number not in self.held:
            if len(self.held) >= _HELD:
                self.held.pop(next(iter(self.held)))
            self.held[number] = self._read(self.videos[number])
        found = self.held[number]
        if isinstance(found, Unusable):
            raise Unusable(found.item, found.reason)
        return found

    def _read(self, video: Video) -> _Strip | Unusable:
        item = f"{self.name}/{video.id}"
        try:
            track, frames = video.track(), len(video.frames)
        except UserError as error:
            return Unusable(item, str(error).removeprefix(f"{video.id} "))
        except OSError as error:
            return Unusable(item, f"cannot be read: {error.strerror or type(error).__name__}")
        usable_N = np.flatnonzero(track.usable_T[:frames])
        if len(usable_N) < 2:
            return Unusable(
                item, f"has {len(usable_N)} of {frames} frames with a box to learn from, and a pair needs two"
            )
        return _Strip(video, track.boxes_T4, usable_N, min(frames, len(track.boxes_T4)))


def causal(usable_N: npt.NDArray[np.int64], frames: int, gap: int, rng: np.random.Generator) -> tuple[int, int]:
    """Frames of template and search: template < search <= template + gap, both usable.

    As OSTrack draws them: the template among all but the video's last frame, the search frame among those of the gap; where there is
    none, both again with a wider gap. (There the end of the gap is left out, so its 200 are 199.)

    Args:
        usable_N: ascending, at least two. frames: of the video.
    """
    templates = int(np.searchsorted(usable_N, frames - 1))
    while True:
        first = int(rng.integers(templates))
        end = int(np.searchsorted(usable_N, usable_N[first] + gap, side="right"))
        if end > first + 1:
            return int(usable_N[first]), int(usable_N[rng.integers(first + 1, end)])
        gap += _WIDER


@dataclass(frozen=True)
class Stills:
    """Each object of a data set's images as a sequence of one frame, which is template and search frame.

    Crowds are none. OSTrack marks boxes with a side of at most 50 pixels and draws them all the same: so here all are drawn that
    show a pixel of the image (`views`).
    """

    name: str
    samples: Sequence[Sample]
    first_N: npt.NDArray[np.int64]
    """The number of each image's first object, and in the end that of all."""

    def __len__(self) -> int:
        return int(self.first_N[-1])

    def pair(self, number: int, gap: int, rng: np.random.Generator) -> tuple[Shot, Shot]:
        """The same frame twice."""
        image = int(np.searchsorted(self.first_N, number, side="right")) - 1
        sample, nth = self.samples[image], number - int(self.first_N[image])
        box_4 = np.array(sample.regions[nth].box_xywh, np.float64)
        item = f"{self.name}/{sample.id}#{nth}"
        if not (np.isfinite(box_4).all() and (box_4[2:] > 0).all()):
            raise Unusable(item, "has a box without size")
        shot = Shot(item, item, sample.path, box_4, sample.size_hw)
        return shot, shot


@dataclass(frozen=True)
class PairSequence:
    """The endless sequence of pairs; every data set has the same share of it."""

    sources: tuple[Source, ...]
    seed: int
    gap: int

    def source(self, place: int) -> Source:
        """The data set that a pair is of, however often it is drawn: what one has in bad videos is no gain of the others."""
        return self.sources[int(np.random.default_rng([self.seed, PAIR, place]).integers(len(self.sources)))]

    def draw(self, place: int, attempt: int = 0) -> tuple[Shot, Shot]:
        """Template and search frame of the pair at this place.

        Raises:
            Unusable: this draw gives none; another may.
        """
        source = self.source(place)
        rng = np.random.default_rng([self.seed, PAIR, place, 1 + attempt])
        return source.pair(int(rng.integers(len(source))), self.gap, rng)


def sources_of(datasets: Sequence[Dataset]) -> tuple[Source, ...]:
    """The train splits of data sets that were narrowed to them, as bytes that workers share.

    Raises:
        UserError: one has neither videos nor objects in its images.
    """
    return tuple(_source(dataset) for dataset in datasets)


def _source(dataset: Dataset) -> Source:
    items, name = dataset.splits.get("train", ()), dataset.spec.name
    if videos := [item for item in items if isinstance(item, Video)]:
        return Footage(name, InBytes(videos))
    # Of a sample what is read here: 118,000 images have masks in polygons.
    samples = [item for item in items if isinstance(item, Sample) and item.regions]
    if not samples:
        raise UserError(
            f"{name} has no videos and no objects with boxes in its train split; give a data set that has, or leave it out of train=."
        )
    first_N = np.cumsum([0, *(len(sample.regions) for sample in samples)])
    return Stills(name, InBytes(_bare(sample) for sample in samples), first_N)


def _bare(sample: Sample) -> Sample:
    regions = tuple(replace(region, segmentation=None) for region in sample.regions)
    return Sample(sample.id, sample.path, regions=regions, size_hw=sample.size_hw)
