"""The reader of LaSOT: CLASS/CLASS-k/img/%08d.jpg beside groundtruth.txt, full_occlusion.txt and out_of_view.txt; boxes from 1."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Dataset, Video
from rice_core.datasets.splits import Judge
from rice_core.datasets.videos.opening import dataset
from rice_core.datasets.videos.places import inside, labelled, leave_out, lines, named, told_apart
from rice_core.datasets.videos.source import VideoFiles, VideoTexts, video_of
from rice_core.datasets.videos.subsets import LASOT, subsets
from rice_core.record import Skipped

_TRUTH, _IMAGES = "groundtruth.txt", "img"
FLAGS = {"full_occlusion": "full_occlusion.txt", "out_of_view": "out_of_view.txt"}
_NAME = re.compile(r"(.+)-(\d+)")
_EXTENSION = frozenset(
    """atv badminton cosplay dancingshoe footbag frisbee jianzi lantern misc opossum paddle raccoon rhino skatingshoe
    wingsuit""".split()  # noqa: SIM905
)
"""The classes of the extension set, ten videos each, all of them test (Fan et al. 2021); its boxes count from 0."""
_LISTS = {"test": "testing_set.txt", "train": "training_set.txt"}


@dataclass(frozen=True)
class Lasot:
    """LaSOT (Fan et al. 2019), all of it or some classes, or its extension. Its own lists in the folder come before the known ones."""

    layout: str = "lasot"

    def recognises(self, folder: Path) -> Sighting | None:
        for place in _video_folders(folder, most=4):
            if labelled(place, **FLAGS) or _official(place.name):
                return Sighting("sure", f"{place.parent.name}/{place.name}/{_IMAGES}/ beside {_TRUTH}")
        return None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        skipped: list[Skipped] = []
        notes: list[str] = []
        there: dict[str, Path] = {}
        twice = []
        for place in _video_folders(folder):
            if there.setdefault(place.name, place) is not place:
                twice.append(f"{place.parent.name}/{place.name}")
        skipped += leave_out(twice, "is there twice")
        whole, bare = told_apart(there, _TRUTH, _IMAGES)
        skipped += bare
        splits = splits_of(folder, whole, skipped)
        found = {split: [_video(folder, there[name]) for name in names] for split, names in splits.items()}
        unflagged = [video.id for videos in found.values() for video in videos if len(video.truth.files) < 3]
        if unflagged:
            notes.append(
                f"{len(unflagged)} videos have not both of {' and '.join(FLAGS.values())}, such as {unflagged[0]}: what is not flagged counts as "
                "visible"
            )
        saw = f"CLASS-k/{_IMAGES}/ beside {_TRUTH}"
        return dataset(self.layout, folder, found, skipped, name=name, judge=judge, saw=saw, notes=notes)


def _video_folders(folder: Path, *, depth: int = 4, most: int | None = None) -> Iterator[Path]:
    """CLASS-k with img/ or groundtruth.txt, at any of the depths that downloads are unpacked to (also CLASS/CLASS/CLASS-k).

    Args:
        most: folders that are looked into at each depth; None: all.
    """
    if _NAME.fullmatch(folder.resolve().name) and (folder / _TRUTH).is_file() and named(folder, _IMAGES):
        yield folder.resolve()  # one video alone
        return
    for name in inside(folder)[:most]:
        place = folder / name
        if _NAME.fullmatch(name) and ((place / _TRUTH).is_file() or (place / _IMAGES).is_dir()):
            yield place
        elif depth > 1 and name.lower() != _IMAGES:
            yield from _video_folders(place, depth=depth - 1, most=most)


def splits_of(folder: Path, names: list[str], skipped: list[Skipped]) -> Mapping[str, list[str]]:
    """Split -> the videos that the lists have in it; all of them where nothing is known of any."""
    given = {split: frozenset(listed) for split, file in _LISTS.items() if (listed := _list(folder, file))}
    plain = [name for name in names if not _is_extension(name)]
    of: dict[str, str | None] = {name: _split_of(name, given) for name in plain}
    if not plain:
        return {"test": names}
    extension = [name for name in names if _is_extension(name)]
    skipped += leave_out(extension, "is of LaSOT's extension, a test set of its own; give a folder that holds it alone")
    if not any(of.values()):
        return {"all": plain}
    skipped += leave_out([name for name in plain if not of[name]], "is in neither list of LaSOT, train or test")
    return {split: [name for name in plain if of[name] == split] for split in ("train", "test")}


def _list(folder: Path, file: str) -> list[str]:
    """One of LaSOT's lists, in the folder or in the one that was unpacked in it."""
    places = (folder, *(folder / name for name in inside(folder)[:100]))
    return next((found for place in places if (found := lines(place / file))), [])


def _split_of(name: str, given: Mapping[str, frozenset[str]]) -> str | None:
    for split in _LISTS:
        if name in given[split] if split in given else _official(name) == split:
            return split
    return None


def _official(name: str) -> str | None:
    """The split of a video of LaSOT by its name; None for others."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _test_numbers() or not 1 <= int(match[2]) <= 20:
        return None
    return "test" if int(match[2]) in _test_numbers()[match[1]] else "train"


def _is_extension(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and match[1] in _EXTENSION


@cache
def _test_numbers() -> Mapping[str, frozenset[int]]:
    text = (files("rice_core") / "data" / "lasot_test.txt").read_text(encoding="utf-8")
    pairs = (line.split(":") for line in text.splitlines() if line[0] != "#")
    return {kind: frozenset(map(int, numbers.split())) for kind, numbers in pairs}


def _video(folder: Path, place: Path) -> Video:
    source = VideoFiles(
        place.name,
        named(place, _IMAGES) or place / _IMAGES,
        place / _TRUTH,
        labelled(place, **FLAGS),
        first=1,
        hidden=False,
    )
    kind = place.name.rpartition("-")[0]
    told = VideoTexts({"class": kind} | subsets(folder, f"{place.name}.txt", LASOT), {"sentence": place / "nlp.txt"})
    return video_of(source, place.name, origin=0 if kind in _EXTENSION else 1, attributes=told)
