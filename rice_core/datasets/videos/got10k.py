"""The reader of GOT-10k: SPLIT/list.txt and SPLIT/VIDEO/%08d.jpg beside groundtruth.txt and its labels; boxes from 0."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Dataset, Video
from rice_core.datasets.splits import Judge, role
from rice_core.datasets.videos.opening import dataset
from rice_core.datasets.videos.places import has_image, inside, labelled, leave_out, lines, split_folders
from rice_core.datasets.videos.source import VideoFiles, VideoTexts, video_of
from rice_core.record import Skipped

_TRUTH, _LIST = "groundtruth.txt", "list.txt"
_NAME = re.compile(r"GOT-10k_(Train|Val|Test)_(\d{6})", re.IGNORECASE)
_PART = re.compile(r".*_split_\d+", re.IGNORECASE)
"""The folders that the downloads of train are unpacked to."""


@dataclass(frozen=True)
class Got10k:
    """GOT-10k (Huang et al. 2019): the folder above train/, val/ and test/, or one of these. The truth of its test is hidden."""

    layout: str = "got10k"

    def recognises(self, folder: Path) -> Sighting | None:
        splits = _splits(folder)
        if not any(_is_split(root) for root in splits.values()):
            return None
        listed = next((f"{root.name}/{_LIST}" for root in splits.values() if (root / _LIST).is_file()), "")
        return Sighting("sure", listed or f"videos of GOT-10k in {next(iter(splits.values())).name}/")

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        skipped: list[Skipped] = []
        splits = _splits(folder)
        found = {split: _videos(root, split, skipped) for split, root in splits.items()}
        saw = f"{_TRUTH} beside the frames in {', '.join(f'{root.name}/' for root in splits.values())}"
        return dataset(self.layout, folder, found, skipped, name=name, judge=judge, saw=saw)


def selected(
    ids: Iterable[str], which: Literal["vottrain", "votval", "vottrain-corrected", "votval-corrected"]
) -> tuple[str, ...]:
    """Those of GOT-10k's training videos that trackers are trained on where VOT forbids a thousand of them.

    pytracking divides train into 7,934 and 1,401 and leaves out what VOT forbids. It takes rows of list.txt, which count from 0, for
    the names, which count from 1: of the 1,000 forbidden videos 765 are in its vottrain (7,086), 125 in its votval (1,249) and 110
    are left out. OSTrack and others have the same lists. "-corrected" leaves out the forbidden ones themselves.

    Args:
        ids: such as "GOT-10k_Train_000004"; others are in none of the lists.
    """
    val, forbidden = _vot_lists()
    shift = 0 if which.endswith("-corrected") else 1
    kept = []
    for item in ids:
        if (match := _NAME.fullmatch(item)) is None or match[1].lower() != "train":
            continue
        number = int(match[2])
        if (number - 1 in val) == which.startswith("votval") and number - shift not in forbidden:
            kept.append(item)
    return tuple(kept)


@cache
def _vot_lists() -> tuple[frozenset[int], frozenset[int]]:
    """Rows of list.txt (from 0) of pytracking's val, and numbers (from 1) of the videos that VOT forbids."""
    text = (files("rice_core") / "data" / "got10k_vot.txt").read_text(encoding="utf-8")
    rows = {
        line.split(":")[0]: line.split(":")[1].split() for line in text.splitlines() if ":" in line and line[0] != "#"
    }
    return frozenset(map(int, rows["val_rows"])), frozenset(map(int, rows["forbidden_numbers"]))


def _splits(folder: Path) -> dict[str, Path]:
    """Split -> its folder: those that are called so, or the folder itself by what its videos or it are called.

    Raises:
        UserError: two folders are one split.
    """
    for root in (folder, folder / "full_data"):
        if called := split_folders(root, _is_split):
            return called
    first = next(iter(lines(folder / _LIST) or _video_names(folder)), "")
    by_name = _NAME.fullmatch(Path(first).name)
    return {(by_name[1].lower() if by_name else role(folder.resolve().name)) or "all": folder}


def _is_split(root: Path) -> bool:
    """Whether it has a list of its videos, or its first videos are called or labelled as GOT-10k's."""
    listed = [root / name for name in lines(root / _LIST)[:4]]
    some = [video for video in (root / name for name in _video_names(root)[:4]) if has_image(video)]
    # VOT has a list.txt too, and its frames in folders of their own.
    if any((video / _TRUTH).is_file() and has_image(video) for video in listed):
        return True
    return any(
        (video / _TRUTH).is_file() and (_NAME.fullmatch(video.name) or listed or labelled(video, **LABELS))
        for video in some
    )


def _video_names(root: Path) -> list[str]:
    """From the split's folder on."""
    names = []
    for name in inside(root):
        names += [f"{name}/{video}" for video in inside(root / name)] if _PART.fullmatch(name) else [name]
    return names


LABELS = {"absence": "absence.label", "cover": "cover.label", "cut_by_image": "cut_by_image.label"}


def _videos(root: Path, split: str, skipped: list[Skipped]) -> list[Video]:
    there = {Path(name).name: root / name for name in _video_names(root)}
    listed = lines(root / _LIST)
    wanted = dict.fromkeys(listed or there)
    skipped += leave_out([n for n in wanted if n not in there], f"is in {root.name}/{_LIST} and not in the folder")
    skipped += leave_out([n for n in there if n not in wanted], f"is not in {root.name}/{_LIST}")
    present = [n for n in wanted if n in there]
    bare = {n for n in present if not (there[n] / _TRUTH).is_file()}
    skipped += leave_out(sorted(bare), f"has no {_TRUTH}")
    return [_video(there[name], split) for name in present if name not in bare]


def _video(folder: Path, split: str) -> Video:
    source = VideoFiles(
        folder.name, folder, folder / _TRUTH, labelled(folder, **LABELS), first=1, hidden=split == "test"
    )
    return video_of(source, folder.name, attributes=VideoTexts(table=folder / "meta_info.ini"))
