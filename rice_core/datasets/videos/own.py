"""The reader of anybody's own videos: frames beside their annotation, OTB and the like; one video alone is read too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rice_core.datasets.foreign import tracking_truth
from rice_core.datasets.layout import Reader, Sighting
from rice_core.datasets.nouns import Dataset, Video
from rice_core.datasets.splits import Judge, role
from rice_core.datasets.videos.got10k import LABELS as GOT10K_LABELS
from rice_core.datasets.videos.got10k import Got10k
from rice_core.datasets.videos.lasot import FLAGS as LASOT_FLAGS
from rice_core.datasets.videos.lasot import Lasot
from rice_core.datasets.videos.opening import dataset
from rice_core.datasets.videos.others import other_truth
from rice_core.datasets.videos.places import (
    IMAGE_FOLDERS,
    has_image,
    inside,
    labelled,
    leave_out,
    lines,
    named,
    split_folders,
)
from rice_core.datasets.videos.source import VideoFiles, video_of
from rice_core.datasets.videos.tnl2k import Tnl2k
from rice_core.datasets.videos.trackingnet import TrackingNet
from rice_core.datasets.walk import file_names, holds_images, relative
from rice_core.disk.paths import as_text
from rice_core.errors import UserError
from rice_core.record import Skipped

_TRUTH = re.compile(r"(groundtruth(?:_rect)?|gt)(\.\d+)?\.txt", re.IGNORECASE)
"""groundtruth_rect.1.txt is the first of several objects, as OTB's Jogging has them."""
_ORIGIN = "origin.txt"
_KNOWN: tuple[Reader, ...] = (Got10k(), Lasot(), Tnl2k(), TrackingNet())


@dataclass(frozen=True)
class _Clip:
    """A video as it was found."""

    id: str
    frames: Path
    truth: Path


@dataclass(frozen=True)
class Videos:
    """VIDEO/*.jpg or VIDEO/img/*.jpg beside groundtruth.txt, groundtruth_rect.txt (boxes from 1) or gt.txt; or anno/VIDEO.txt
    beside frames/VIDEO/. Folders called train, val or test are splits; else all is one split, `all`. Flags called as GOT-10k's or
    LaSOT's count where they lie beside the boxes."""

    layout: str = "videos"

    def recognises(self, folder: Path) -> Sighting | None:
        if any((seen := reader.recognises(folder)) and seen.how == "sure" for reader in _KNOWN):
            return None
        if inner := next(_known_below(folder), None):
            place, layout = inner
            words = f"holds {relative(place, folder)}/, which is a data set of its own ({layout}); give {place}"
            return Sighting("doubtful", f"{words}, or write {folder}@videos to read all videos below as of one kind")
        clip = next((clip for clip in _clips(folder, folder, [], most=4) if has_image(clip.frames)), None)
        if clip:
            return Sighting("sure", f"frames beside {relative(clip.truth, folder)}")
        other = other_truth(folder) or _unframed(folder)
        return Sighting("doubtful", other) if other else None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        skipped: list[Skipped] = []
        roots = _roots(folder)
        clips = {split: list(_clips(root, root, skipped)) for split, root in roots.items()}
        if not any(clips.values()):
            first = f" ({skipped[0].item} {skipped[0].reason})" if skipped else ""
            raise UserError(
                f"{folder} holds no frames beside a groundtruth.txt{first}; put it, x,y,w,h a line, beside the frames of each video or beside "
                "the folder that holds them."
            )
        notes: list[str] = []
        origin = _origin(folder, [clip for found in clips.values() for clip in found], notes)
        found = {split: [_video(clip, origin) for clip in of_split] for split, of_split in clips.items()}
        one = next(clip for of_split in clips.values() for clip in of_split)
        saw = f"frames beside {as_text(relative(one.truth, folder))}"
        return dataset(self.layout, folder, found, skipped, name=name, judge=judge, saw=saw, notes=notes)


def _known_below(folder: Path, *, depth: int = 2) -> Iterator[tuple[Path, str]]:
    """Data sets of the known layouts in the folders of a folder, with the layout: read as one's own they would lose their splits and flags."""
    for place in (folder / name for name in inside(folder)[:8]):
        known = next((r.layout for r in _KNOWN if (below := r.recognises(place)) and below.how == "sure"), None)
        if known:
            yield place, known
        elif depth > 1:
            yield from _known_below(place, depth=depth - 1)


def _unframed(folder: Path) -> str | None:
    truth = tracking_truth(folder)
    if truth is None or holds_images(folder):
        return None
    return f"holds {truth} and no images; extract the frames of each film beside its annotation (ffmpeg -i FILM -start_number 0 img/%08d.jpg)"


def _roots(folder: Path) -> dict[str, Path]:
    """Split -> its folder, where nothing beside them is a video; else the folder as `all`."""
    children = inside(folder)
    if not any(map(role, children)) or _truths(folder):
        return {"all": folder}
    beside = (clip for child in children if not role(child) for clip in _clips(folder / child, folder, []))
    return {"all": folder} if next(beside, None) else split_folders(folder)


def _clips(
    place: Path, root: Path, skipped: list[Skipped], *, depth: int = 3, most: int | None = None
) -> Iterator[_Clip]:
    """The videos in a folder or below it.

    Args:
        root: what their ids are named from.
        most: folders that are looked into at each depth; None: all.
    """
    called = relative(place, root) if place != root else root.resolve().name
    if truths := _truths(place):
        yield from _clips_of(called, place, truths, skipped)
        return
    if (anno := named(place, "anno")) and (below := _beside(place, anno)):
        prefix = "" if place == root else f"{called}/"
        names = inside(below)[:most]
        annotated = {name for name in names if (anno / f"{name}.txt").is_file()}
        skipped += leave_out([f"{prefix}{name}" for name in names if name not in annotated], "has no file in anno/")
        yield from (_Clip(prefix + n, below / n, anno / f"{n}.txt") for n in names if n in annotated)
        return
    found = False
    for name in inside(place)[:most] if depth > 0 else ():
        for clip in _clips(place / name, root, skipped, depth=depth - 1, most=most):
            found = True
            yield clip
    if place != root and not found and has_image(place):
        skipped += leave_out([called], "has images and no groundtruth.txt")


def _clips_of(called: str, place: Path, truths: list[Path], skipped: list[Skipped]) -> Iterator[_Clip]:
    """The video of a folder with annotation files, or one for each of its objects."""
    frames = _frames(place)
    if frames is None:
        reason = "has an annotation and no frames, or several folders of images of which none is called img"
        skipped += leave_out([called], reason)
        return
    if len({truth.name.lower().split(".")[0] for truth in truths}) > 1:
        both = " and ".join(truth.name for truth in truths)
        skipped += leave_out([called], f"has {both}, and nothing says which counts")
        return
    for truth in truths:
        match = _TRUTH.fullmatch(truth.name)
        yield _Clip(called + ((match and match[2]) or ""), frames, truth)


def _truths(place: Path) -> list[Path]:
    """The annotation files of a video in its folder; an empty one is none, as OTB's Human4 has it."""
    names = [name for name in file_names(place, ".txt") if _TRUTH.fullmatch(name)]
    if len(names) > 1:
        names = [name for name in names if (place / name).stat().st_size > 0] or names[:1]
    return [place / name for name in names]


def _frames(place: Path) -> Path | None:
    """Where the frames of a video are: in a folder that is called so, in the folder itself, or in the only one with images."""
    children = {name.lower(): place / name for name in inside(place)}
    called = (children[name] for name in IMAGE_FOLDERS if name in children)
    if (found := next((below for below in called if has_image(below)), None)) or has_image(place):
        return found or place
    others = [below for below in children.values() if has_image(below)]
    return others[0] if len(others) == 1 else None


def _beside(place: Path, anno: Path) -> Path | None:
    """The folder of the folders of frames, beside anno/ with its files."""
    if not file_names(anno, ".txt"):
        return None
    return next((below for name in IMAGE_FOLDERS if (below := named(place, name)) and inside(below)), None)


def _origin(folder: Path, clips: list[_Clip], notes: list[str]) -> int | None:
    """What the boxes of all call the first pixel, as origin.txt says; None: each by its file's name."""
    if (folder / _ORIGIN).is_file():
        text = lines(folder / _ORIGIN)
        if text not in (["0"], ["1"]):
            raise UserError(
                f"{folder / _ORIGIN} says neither 0 nor 1; write the number that the boxes give the first pixel."
            )
        notes.append(f"boxes count pixels from {text[0]} ({_ORIGIN})")
        return int(text[0])
    ones = sum(map(_from_one, clips))
    if ones:
        whose = "boxes" if ones == len(clips) else f"boxes of {ones} of {len(clips)} videos"
        notes.append(
            f"{whose} count pixels from 1 (groundtruth_rect.txt, as in OTB); write 0 into {_ORIGIN} in the folder if "
            "they count from 0"
        )
    return None


def _from_one(clip: _Clip) -> bool:
    return clip.truth.name.lower().startswith("groundtruth_rect")


def _video(clip: _Clip, origin: int | None) -> Video:
    whose = _TRUTH.fullmatch(clip.truth.name)
    alone = whose is not None and not whose[2]  # flags are of one object
    labels = labelled(clip.truth.parent, **GOT10K_LABELS, **LASOT_FLAGS) if alone else {}
    source = VideoFiles(clip.id, clip.frames, clip.truth, labels, hidden=True)
    return video_of(source, clip.id, origin=int(_from_one(clip)) if origin is None else origin)
