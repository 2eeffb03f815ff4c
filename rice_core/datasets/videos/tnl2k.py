"""The reader of TNL2K: VIDEO/imgs/ beside groundtruth.txt and language.txt; boxes from 0, also outside the image."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Dataset, Video
from rice_core.datasets.splits import Judge, role
from rice_core.datasets.videos.opening import LOOKED_THROUGH, dataset
from rice_core.datasets.videos.places import inside, leave_out, lines, named, told_apart
from rice_core.datasets.videos.source import VideoFiles, VideoTexts, in_text_order, video_of
from rice_core.datasets.videos.subsets import TNL2K, subsets
from rice_core.record import Skipped

_TRUTH, _IMAGES, _TEXT = "groundtruth.txt", "imgs", "language.txt"
_LISTS = {"train": "TNL2K_train_set.txt", "test": "TNL2K_testing_set.txt"}
"""The later one counts: `monitor_manypeople` is in both."""


@dataclass(frozen=True)
class Tnl2k:
    """TNL2K (Wang et al. 2021), all of it or one split. Whether its object is in sight is said by its toolkit's annos/absent/ alone."""

    layout: str = "tnl2k"

    def recognises(self, folder: Path) -> Sighting | None:
        for place in _video_folders(folder, most=4):
            if named(place, _IMAGES) and (place / _TRUTH).is_file() and (place / _TEXT).is_file():
                return Sighting("sure", f"{place.name}/{_IMAGES}/ beside {_TRUTH} and {_TEXT}")
        return None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        skipped: list[Skipped] = []
        places = _video_folders(folder)
        there = {place.relative_to(folder).as_posix(): place for place in places}
        whole, bare = told_apart(there, _TRUTH, _IMAGES)
        skipped += bare
        splits = splits_of(folder, [there[name] for name in whole])
        if len(splits) > 1 and (unknown := splits.pop("all", None)):
            skipped += leave_out(
                [place.name for place in unknown], "is in no folder of a split and in neither list of TNL2K"
            )
        absent = next((place for place in (folder / "annos" / "absent", folder / "absent") if place.is_dir()), None)
        found = {split: [_video(folder, place, absent) for place in of_split] for split, of_split in splits.items()}
        notes = []
        if absent is None:
            notes.append(
                "nothing says where an object is out of sight: put annos/ of TNL2K's toolkit into the folder for its absent flags"
            )
        saw = f"VIDEO/{_IMAGES}/ beside {_TRUTH}"
        return _with_order(dataset(self.layout, folder, found, skipped, name=name, judge=judge, saw=saw, notes=notes))


def _with_order(data: Dataset) -> Dataset:
    """Names the videos whose frames are read in another order elsewhere, where they are few enough to be listed."""
    videos = [video for videos in data.splits.values() for video in videos if isinstance(video, Video)]
    if len(videos) > LOOKED_THROUGH or not (other := [video.id for video in videos if not in_text_order(video)]):
        return data
    note = f"frames of {len(other)} videos are read by their numbers, which is another order than that of their names as text, such as {other[0]}"
    return replace(data, notes=(*data.notes, note))


def _video_folders(folder: Path, *, most: int | None = None) -> list[Path]:
    """Folders with imgs/ or groundtruth.txt, in the folder or in a folder of it."""
    found = []
    for name in inside(folder)[:most]:
        place = folder / name
        if _is_video(place):
            found.append(place)
        else:
            found += [place / below for below in inside(place)[:most] if _is_video(place / below)]
    return found


def _is_video(place: Path) -> bool:
    return (place / _TRUTH).is_file() or named(place, _IMAGES) is not None


def splits_of(folder: Path, places: list[Path]) -> dict[str, list[Path]]:
    """By TNL2K's lists in the folder, by the folder that a video is in, by the names of its 700 test videos, in this order."""
    given = {name: split for split, file in _LISTS.items() for name in lines(folder / file)}
    official = any(place.name in _test_names() for place in places)
    splits: dict[str, list[Path]] = {}
    for place in places:
        parent = place.parent if place.parent != folder else folder.resolve()
        split = given.get(place.name) or _told(parent.name)
        if not split and official:
            split = "test" if place.name in _test_names() else "train"
        splits.setdefault(split or "all", []).append(place)
    return splits


def _told(folder: str) -> str | None:
    """The split that a folder's name says: `test`, or `TNL2K_test_subset`."""
    words = re.split(r"[^A-Za-z]+", folder) if folder.lower().startswith("tnl2k") else [folder]
    return next((split for word in words if (split := role(word))), None)


@cache
def _test_names() -> frozenset[str]:
    text = (files("rice_core") / "data" / "tnl2k_test.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line[0] != "#")


def _video(folder: Path, place: Path, absent: Path | None) -> Video:
    flags = absent / f"{place.name}.txt" if absent else None
    labels = {"absent": flags} if flags and flags.is_file() else {}
    source = VideoFiles(place.name, named(place, _IMAGES) or place / _IMAGES, place / _TRUTH, labels)
    told = VideoTexts(subsets(folder, f"{place.name}_attribute.txt", TNL2K), {"sentence": place / _TEXT})
    return video_of(source, place.name, attributes=told)
