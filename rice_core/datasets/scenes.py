"""Which images show one scene, by what their files are called: copies of a picture, frames of a video.

What a name says for certain (`FileName.sure`): Roboflow's `NAME_jpg.rf.HASH.jpg` are copies of NAME; `video1-frame12`, `clip_000123`,
`Cow_mp4-12` and `GOPR0042_0001` are frames. What cameras and people count their pictures by (`IMG_0001`, `000000123456`) is no
scene, and `frame_000012` names no video: its frames are parted into five runs. Between the two lie names of another word with a number: they are frames where several words have numbers in regular steps.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from rice_core.datasets.nouns import Sample

FIELDS = ("location", "video_id", "video_name", "video", "seq_id", "sequence_id", "sequence", "clip_id")
"""Of an image's entry in an annotation file, the widest first: a camera trap's sequences share their background."""
COPIES, FRAMES, NUMBERS = "Roboflow's name before .rf.", "the name of a video", "a name with numbers in regular steps"
FIFTHS = "frame numbers without a video's name, in fifths of their order"

_ROBOFLOW = re.compile(r"\.rf\.[0-9A-Za-z]{6,}$")
_EXTENSIONS = {"jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "heic", "gif"}
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
_APART = " _.-"


def scene_field(entries: Sequence[Any]) -> str | None:
    """The field of the images' entries in an annotation file that names their scenes: of FIELDS the first that tells some apart."""
    values = {field: {scene for entry in entries if (scene := scene_in(entry, field))} for field in FIELDS}
    there = [field for field in FIELDS if values[field]]
    return next((field for field in there if len(values[field]) > 1), next(iter(there), None))


def scene_in(entry: Any, field: str | None) -> str | None:
    """`video_id=3`; None where the entry says nothing."""
    value = entry.get(field) if field and isinstance(entry, dict) else None
    usable = isinstance(value, str | int) and not isinstance(value, bool) and value not in ("", -1)
    return f"{field}={value}" if usable else None


class FileName(NamedTuple):
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
    nameless: bool = False
    """Whether it is a frame by its number alone, `frame_000012`, as CVAT calls those of any video."""


def copied(item: str) -> bool:
    """Whether an image is called as Roboflow calls its copies."""
    return ".rf." in item and _ROBOFLOW.search(item.rpartition(".")[0]) is not None


def told_by(samples: Sequence[Sample]) -> dict[str, FileName]:
    """What the names of a split's images say, by id; folders that all of them lie in say nothing."""
    parted = {sample.id: sample.id.rpartition("/") for sample in samples}
    folders = {folder for folder, _, _ in parted.values()}
    root = os.path.commonpath(folders) if folders else ""
    inside = {folder: f"{folder[len(root) :].strip('/')}/".lstrip("/") for folder in folders}
    again = Counter(name for _, _, name in parted.values()) if len(folders) > 1 else Counter[str]()
    return {item: _told(inside[folder], name, again[name] > 1) for item, (folder, _, name) in parted.items()}


def _told(folder: str, name: str, again: bool) -> FileName:
    """Args: folder: below the common one, with a slash at its end. again: whether another folder has a file of this name."""
    stem = name.rpartition(".")[0] or name
    if ".rf." in stem:
        stem = _ROBOFLOW.sub("", stem)
    while (cut := max(stem.rfind("_"), stem.rfind("."))) > 0 and stem[cut + 1 :].lower() in _EXTENSIONS:
        stem = stem[:cut]
    source = folder + stem
    if "fr" in stem.lower() and (frame := _FRAME.search(stem)):
        before = stem[: frame.start()].rstrip(_APART)
        word = before or folder.rstrip("/").rpartition("/")[2]
        return FileName(source, folder + (before or "frame"), int(frame[1]), True, word, not before)
    bare = stem.rstrip("0123456789")
    if len(bare) == len(stem):
        return FileName(source)
    word, sure, likely = _numbered(folder, bare.rstrip(_APART), bare[-1:] in _APART, again)
    return (
        FileName(source, source[: len(folder)] + bare.rstrip(_APART), int(stem[len(bare) :]), sure, word)
        if sure or likely
        else FileName(source)
    )


@lru_cache(maxsize=1 << 16)
def _numbered(folder: str, name: str, parted: bool, again: bool) -> tuple[str, bool, bool]:
    """Of what stands before a number: the word of it that might be a class, whether it is a video's, and whether it might be."""
    counter = _COUNTER.fullmatch(name) is not None
    word = folder.rstrip("/").rpartition("/")[2] if counter else name
    if _VIDEO.search(folder + name) or (parted and _TAKE.fullmatch(name) and not _DATE.search(name)):
        return word, True, False
    # A camera counts on from folder to folder; numbers that begin again in each are of something of the folder's own.
    return word, False, bool(folder) and (not name or again) if counter else not _DATE.search(name)


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
    told = {item: _by_class(t, named) for item, t in told.items()}
    fifths = _fifths(told)
    likely, doubt = _likely(samples, told)
    scenes: dict[str, tuple[str, str]] = {}
    for sample in samples:
        t = told[sample.id]
        if sample.scene is not None:
            scenes[sample.id] = sample.scene, sample.scene.split("=")[0]
        elif t.nameless:
            scenes[sample.id] = (
                (f"picture {t.source}", COPIES) if sure else (f"{t.series}s {fifths[sample.id]}", FIFTHS)
            )
        elif t.series and t.sure:
            scenes[sample.id] = f"video {t.series}", FRAMES
        elif t.series in likely and not sure:
            scenes[sample.id] = f"series {t.series}", NUMBERS
        else:
            scenes[sample.id] = f"picture {t.source}", COPIES
    size = Counter(scene for scene, _ in scenes.values())
    of = {item: scene if size[scene] > 1 else item for item, (scene, _) in scenes.items()}
    return Scenes(of, {item: by for item, (scene, by) in scenes.items() if size[scene] > 1}, "" if sure else doubt)


def _by_class(told: FileName, named: set[str]) -> FileName:
    """What the name of a class is put before or around says nothing; a folder that is none names the video of its frames."""
    if told.nameless:
        return told._replace(nameless=not told.word or _plain(told.word) in named)
    return FileName(told.source) if named and told.word and _plain(told.word) in named else told


def _fifths(told: Mapping[str, FileName]) -> dict[str, str]:
    """Which fifth of its series a frame without a name lies in, by the order of the numbers: `1 of 5`."""
    series: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for item, t in told.items():
        if t.nameless:
            series[t.series].append((t.number, item))
    return {
        item: f"{1 + 5 * place // len(found)} of 5"
        for found in series.values()
        for place, (_, item) in enumerate(sorted(found))
    }


def _likely(samples: Sequence[Sample], told: Mapping[str, FileName]) -> tuple[set[str], str]:
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


@lru_cache(maxsize=1 << 16)
def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.casefold()).removesuffix("s")
