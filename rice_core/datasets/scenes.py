"""Which images show one scene, by what their files are called: copies of a picture, frames of a video.

What a name says for certain (`Told.sure`): Roboflow's `NAME_jpg.rf.HASH.jpg` are copies of NAME; `video1-frame12`, `clip_000123`,
`Cow_mp4-12` and `GOPR0042_0001` are frames. What cameras and people count their pictures by (`IMG_0001`, `000000123456`) is no
scene. Between the two lie names of another word with a number: they are frames where several words have numbers in regular steps.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from rice_core.datasets.nouns import Sample

FIELDS = ("location", "video_id", "video_name", "video", "seq_id", "sequence_id", "sequence", "clip_id")
"""Of an image's entry in an annotation file, the widest first: a camera trap's sequences share their background."""
COPIES, FRAMES, NUMBERS = "Roboflow's name before .rf.", "the name of a video", "a name with numbers in regular steps"

_ROBOFLOW = re.compile(r"\.rf\.[0-9A-Za-z]{6,}$")
_EXTENSION = re.compile(r"(?i)[_.](jpe?g|png|bmp|webp|tiff?|heic|gif)$")
_NUMBERED = re.compile(r"^(.*?)[ _.-]*(?:frames?|frm)?[ _.-]*(\d+)$", re.I)
_FRAME = re.compile(r"(?i)(?<![a-z])(?:frames?|frm)[ _.-]*(\d+)")
_VIDEO = re.compile(
    r"(?i)(?<![a-z])(?:videos?|vid|clips?|movie|footage|seq|sequence|cctv|[a-z]{0,8}cam|camera|youtube|frames?)(?![a-z])"
    r"|[_. -](?:mp4|mov|avi|mkv|webm|m4v|wmv|mpe?g|flv)(?![a-z])"
)
_COUNTER = re.compile(
    r"(?i)(?:img|images?|imag|dsc[nf]?|dcim|gopr|gp|p|pics?|pict|pictures?|photos?|fotos?|pxl|dji|mvi|mov|cimg|sam|scan|snap)?"
)
"""What cameras and people put before the number of a picture."""
_TAKE = re.compile(r"(?i)(?:img|dsc[nf]?|gopr|g[hxp]|dji|mvi|mov|cimg|sam)[ _-]?\d{3,8}")
"""A camera's file, which has no number of its own behind it unless it is a film."""
_DATE = re.compile(r"(?:19|20)\d{6}$")


def scene_field(entry: Mapping[str, Any]) -> str | None:
    """The scene that an image's entry in an annotation file names, `video_id=3`; None where it names none."""
    for field in FIELDS:
        value = entry.get(field)
        if isinstance(value, str | int) and not isinstance(value, bool) and value not in ("", -1):
            return f"{field}={value}"
    return None


@dataclass(frozen=True)
class Told:
    """What the name of a file says."""

    source: str
    """The picture that it is, or that it is a copy of."""
    series: str = ""
    """What it is numbered under; empty where it is a picture of its own."""
    number: int = 0
    sure: bool = False
    """Whether it is certainly a frame."""
    word: str = ""
    """The part of `series` that might be the name of a class."""


def copied(item: str) -> bool:
    """Whether an image is called as Roboflow calls its copies."""
    return _ROBOFLOW.search(PurePosixPath(item).with_suffix("").name) is not None


def told_by(samples: Sequence[Sample]) -> dict[str, Told]:
    """What the names of a split's images say, by id; folders that all of them lie in say nothing."""
    folders = {PurePosixPath(sample.id).parent.as_posix() for sample in samples}
    root = os.path.commonpath(folders) if folders else ""
    inside = {sample.id: PurePosixPath(sample.id).relative_to(root) for sample in samples}
    again = Counter(path.name for path in inside.values())
    return {item: _told(path, again[path.name] > 1) for item, path in inside.items()}


def _told(path: PurePosixPath, again: bool) -> Told:
    stem = _ROBOFLOW.sub("", path.with_suffix("").name)
    while (plain := _EXTENSION.sub("", stem)) != stem:
        stem = plain
    folder = "" if path.parent == PurePosixPath() else f"{path.parent.as_posix()}/"
    source = f"{folder}{stem}"
    if frame := _FRAME.search(stem):
        before = stem[: frame.start()].rstrip(" _.-")
        return Told(source, f"{folder}{before or 'frame'}", int(frame[1]), True, before)
    if not (numbered := _NUMBERED.fullmatch(stem)):
        return Told(source)
    name, number = numbered[1], int(numbered[2])
    parted = not stem[len(name) :][0].isdigit()
    counter = _COUNTER.fullmatch(name) is not None
    word = folder.rstrip("/").rpartition("/")[2] if counter else name
    series = f"{folder}{name}"
    if _VIDEO.search(series) or (parted and _TAKE.fullmatch(name) and not _DATE.search(name)):
        return Told(source, series, number, True, word)
    # A camera counts on from folder to folder; numbers that begin again in each are of something of the folder's own.
    own = bool(folder) and (not name or again) if counter else not _DATE.search(name)
    return Told(source, series, number, False, word) if own else Told(source)


@dataclass(frozen=True)
class Scenes:
    """Images by what they show."""

    of: Mapping[str, str]
    """Id -> scene; an image alone is its own."""
    by: Mapping[str, str]
    """Id -> what its scene is told by; without images alone."""
    doubt: str = ""
    """A numbered name that was not taken for a video's, for people; empty where there is none."""

    def __str__(self) -> str:
        """`36 images in 12 scenes by Roboflow's name before .rf.`, the ways in the order of their images."""
        ways = Counter(self.by.values())
        counted = {way: len({self.of[item] for item, by in self.by.items() if by == way}) for way in ways}
        return ", ".join(
            f"{n} images in {counted[way]} scene{'s' * (counted[way] != 1)} by {way}" for way, n in ways.most_common()
        )


def scenes_of(samples: Sequence[Sample], classes: Sequence[str], *, sure: bool = False) -> Scenes:
    """The scenes of a split.

    Args:
        sure: leave those out that are only likely.
    """
    told, named = told_by(samples), {_plain(name) for name in classes}
    told = {item: Told(t.source) if t.word and _plain(t.word) in named else t for item, t in told.items()}
    likely, doubt = _likely(samples, told)
    scenes: dict[str, tuple[str, str]] = {}
    for sample in samples:
        t = told[sample.id]
        if sample.scene is not None:
            scenes[sample.id] = sample.scene, sample.scene.split("=")[0]
        elif t.series and t.sure:
            scenes[sample.id] = f"video {t.series}", FRAMES
        elif t.series in likely and not sure:
            scenes[sample.id] = f"series {t.series}", NUMBERS
        else:
            scenes[sample.id] = f"picture {t.source}", COPIES
    size = Counter(scene for scene, _ in scenes.values())
    of = {item: scene if size[scene] > 1 else item for item, (scene, _) in scenes.items()}
    return Scenes(of, {item: by for item, (scene, by) in scenes.items() if size[scene] > 1}, "" if sure else doubt)


def _likely(samples: Sequence[Sample], told: Mapping[str, Told]) -> tuple[set[str], str]:
    """The names with numbers that are taken for videos', and one that is not although its numbers are as regular.

    Taken where there are several, in regular steps, and none has most of the images: pictures of one kind, counted, look the same.
    """
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    labels: defaultdict[int | None, set[str]] = defaultdict(set)
    for sample in samples:
        t = told[sample.id]
        labels[sample.label].add(t.series)
        if t.series and not t.sure:
            numbers[t.series].add(t.number)
    # What all images of a class are numbered under is another word for the class.
    words = {next(iter(names)) for label, names in labels.items() if label is not None and len(names) == 1}
    series = {name: sorted(found) for name, found in numbers.items() if len(found) > 1 and name not in words}
    gaps = Counter(b - a for found in series.values() for a, b in pairwise(found))
    if not series or 2 * max(gaps.values()) < gaps.total():
        return set(), ""
    largest = max(series, key=lambda name: (len(series[name]), name))
    if len(series) > 1 and 2 * sum(told[s.id].series == largest for s in samples) <= len(samples):
        return set(series), ""
    return set(), f"{largest} with {len(series[largest])} numbers"


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.casefold()).removesuffix("s")
