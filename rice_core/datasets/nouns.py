"""Dataset and what it is made of: images with their regions, videos, conversations, referring expressions.

An item has an `id` (relative, without any machine's prefix), a `cluster` (what it shares with others: errors are clustered
by it) and `files` (whose bytes are part of the data's digest).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from rice_core.datasets.tracks import Track, TrackFile
from rice_core.record import Skipped
from rice_core.spec import DatasetSpec

Xywh = tuple[float, float, float, float]
"""Left, top, width, height in pixels of the upright image (after EXIF rotation)."""


@dataclass(frozen=True)
class Region:
    """One annotated object. Coordinates are pixels of the upright image (after EXIF rotation)."""

    box_xywh: Xywh
    label: int
    """Index into the data set's classes."""
    segmentation: Any = None
    """COCO polygons (list of lists), a COCO RLE dict, or None for a box alone."""


@dataclass(frozen=True)
class LabelMap:
    """A file that says of each pixel of an image what it shows."""

    path: Path
    meaning: Mapping[int, int]
    """Value in the file -> index into the data set's classes, or `features.BACKGROUND` or `IGNORE`. No other value may occur."""


@dataclass(frozen=True)
class Sample:
    """One image and what is known about it."""

    id: str
    path: Path
    label: int | None = None
    regions: tuple[Region, ...] = ()
    crowds: tuple[Region, ...] = ()
    """Groups of objects that nobody told apart (COCO's iscrowd 1), and places of truth that cannot be used, whose label is
    `regions.ANY`: neither objects nor background."""
    size_hw: tuple[int, int] | None = None
    """As annotated; checked when the image is decoded."""
    target: Path | None = None
    """A .npy file of H x W numbers, one a pixel of the image (depth, say); not finite where nothing is known."""
    key: int | str | None = None
    """The image's id in its annotation file; None where there is none."""
    label_map: LabelMap | None = None
    scene: str | None = None
    """What it shows as others do, copies of a picture or frames of a video; None where nothing says so."""

    @property
    def cluster(self) -> str:
        return self.scene or self.id

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,) if self.label_map is None else (self.path, self.label_map.path)


FRAMES_READ = 16
"""Frames of a video whose bytes are part of the data's digest."""


@dataclass(frozen=True)
class Video:
    """Frames, and where one object is in them."""

    id: str
    frames: Sequence[Path]
    """`listed.Frames` lists them when they are first asked for: data sets have millions."""
    truth: TrackFile
    """Read when it is first asked for. Of test sets it is often the first frame's alone."""
    origin: int = 0
    """What its boxes call the first pixel: 0, or 1."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Of the whole video, such as the object's class or a sentence that names it."""

    @property
    def cluster(self) -> str:
        return self.id

    @property
    def files(self) -> tuple[Path, ...]:
        """At most FRAMES_READ frames, spread evenly, the first and the last among them, and the truth; that alone where no frame can be
        listed."""
        try:
            last = len(self.frames) - 1
        except OSError:
            return self.truth.files
        n = min(FRAMES_READ, last + 1)
        return *(self.frames[round(k * last / max(1, n - 1))] for k in range(n)), *self.truth.files

    def track(self) -> Track:
        """Where the object is, as the annotation has it.

        Raises:
            UserError: it cannot be read.
        """
        return self.truth.read()


@dataclass(frozen=True)
class Turn:
    """What one of the two says."""

    speaker: Literal["system", "user", "assistant"]
    text: str
    """`<image>` stands where an image is shown, the first one first."""


@dataclass(frozen=True)
class Conversation:
    """Turns about images: what a language model is trained on, or a question that it is asked."""

    id: str
    turns: tuple[Turn, ...]
    images: tuple[Path, ...] = ()
    answers: tuple[str, ...] = ()
    """All that count as right after the last turn; empty where the turns hold the answer."""
    cluster: str = ""
    """What its images are called (a document, say): many questions are asked about one."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    source: Path | tuple[Path, ...] | None = None
    """A file that holds it whole, turns and images, as a row of a table does: the turns are then left out. Of a table in several files
    all of them, in the order that its rows are counted in."""

    @property
    def files(self) -> tuple[Path, ...]:
        held = (self.source,) if isinstance(self.source, Path) else self.source or ()
        return (*self.images, *held)


@dataclass(frozen=True)
class Expression:
    """Words that name one object of an image, and its mask."""

    id: str
    image: Path
    text: str
    mask: Region | Path
    """Polygons or run lengths, or a file of the image's size whose pixels are not 0 in the object."""
    cluster: str = ""
    """What its image is called: most have several expressions."""
    size_hw: tuple[int, int] | None = None
    """As annotated."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.image, self.mask) if isinstance(self.mask, Path) else (self.image,)


Item = Sample | Video | Conversation | Expression
Kind = TypeVar("Kind", bound=Item)
NOUNS: Mapping[type, str] = {
    Sample: "images",
    Video: "videos",
    Conversation: "conversations",
    Expression: "expressions",
}
"""Of many."""
_WORDS = {"suite": "several data sets (a folder of Roboflow exports)", "dense-labels": "boxes, masks or label maps"}
"""What `Dataset.provides` calls otherwise than people do."""


@dataclass(frozen=True)
class Dataset:
    """Items by split, in a fixed order that depends on the ids alone. All of a split are of one kind."""

    spec: DatasetSpec
    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[Item]]
    """By names that the reader chooses: "train" and "val" are what most probes read; "testA" or "train_full" are as good."""
    provides: frozenset[str]
    """Of "labels" (items with a class), "regions" (boxes or masks), "dense-labels" (a class for each pixel, from regions
    or a label map), "targets" (a number for each pixel), "suite" (several data sets), "videos", "conversations" (to learn from),
    "questions" (conversations without an answer, a split a benchmark) and "expressions"."""
    skipped: tuple[Skipped, ...] = ()
    """What the reader left out, with reasons."""
    annotations: Mapping[str, Path] = field(default_factory=dict)
    """Split -> the annotation file that it was read from; both name the same one where one file was divided."""
    parts: Mapping[str, Dataset] = field(default_factory=dict)
    """Of a suite: its data sets by name; the ids of `splits` then begin with the part's name."""
    domain: Mapping[str, str] = field(default_factory=dict)
    """Of a suite: what each data set is grouped under; one that could not be read is here and not in `parts`."""
    saw: str = ""
    """What of the folder says that this is its layout, and where `val` comes from: for people."""
    notes: tuple[str, ...] = ()
    """What has to be known to read a number over it: sentences that go into its records."""
    learnt_from: tuple[Dataset, ...] = ()
    """What a probe that is judged on it learns from (`spec.learnt_from`), by name and each as it was opened; none: its own train split."""

    @property
    def alone(self) -> Dataset:
        """The same without what is learnt from."""
        return replace(self, spec=self.spec.model_copy(update={"learnt_from": ()}), learnt_from=())

    def lacks(self, wanted: frozenset[str]) -> list[str]:
        """What of `wanted` it does not provide, in words for people."""
        return [_WORDS.get(thing, thing) for thing in sorted(wanted - self.provides)]

    def samples(self, split: str) -> Sequence[Sample]:
        """The images of a split; none where there is no such split, or it holds something else."""
        items = self.splits.get(split, ())
        return cast(Sequence[Sample], items) if items and isinstance(items[0], Sample) else ()
