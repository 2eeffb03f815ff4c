"""Result files of trackers, anyone's: a text file a video, a line a frame, x y w h in the origin of the data set's own annotation.

    RESULTS/<video>.txt                 LaSOT, TrackingNet, TNL2K, OTB; commas, tabs, spaces or semicolons
    RESULTS/<video>/<video>_001.txt     GOT-10k, and _002, _003 of repeated runs; <video>_time.txt beside
    RESULTS.zip                         either of them in an archive

What is written here has three decimals, and what a record says is made of the rounded numbers: so a record is of its files.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from rice_core.datasets.nouns import Video
from rice_core.datasets.tracks import Floats, Track
from rice_core.datasets.videos.rows import parsed_rows
from rice_core.errors import UserError
from rice_core.record import Skipped

DECIMALS = 3
_LARGEST = 2**26
"""Bytes of a file of results: a video of a million frames has less."""
UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError)
"""What a member of an archive raises that is damaged, encrypted (RuntimeError) or packed as zipfile cannot (NotImplementedError, which is one)."""
_REPEATED = re.compile(r"(.+)_(\d{3})")


@dataclass(frozen=True)
class Result:
    """One run over one video."""

    video: str
    """The video's id."""
    file: str
    """Relative to where the results lie."""
    boxes_T4: Floats
    """As in the file; NaN stays."""
    repetition: int = 1


@dataclass(frozen=True)
class ResultFiles:
    """What was found for some videos."""

    results: tuple[Result, ...]
    """In the order of the videos, then of the repetitions."""
    skipped: tuple[Skipped, ...]
    """Files that cannot be read, or are for no video; videos without a file."""


def names_of(videos: Iterable[Video]) -> dict[str, Video]:
    """Videos by what their result files are called: the last part of the id, and the whole of it where two share that.

    A whole id has `/`, which a file's name cannot have: it stands for a folder, as the last part does for GOT-10k.
    """
    alike: defaultdict[str, list[Video]] = defaultdict(list)
    for video in videos:
        alike[PurePosixPath(video.id).name].append(video)
    return {name if len(same) == 1 else video.id: video for name, same in alike.items() for video in same}


def read_results(place: Path, videos: Sequence[Video]) -> ResultFiles:
    """All that a folder or a .zip holds for the videos.

    Raises:
        UserError: it is neither, holds no text file or none for any of them, or holds several runs that cannot be told apart.
    """
    named, found, skipped = names_of(videos), dict[tuple[str, int], tuple[str, Callable[[], bytes]]](), list[Skipped]()
    for file, read in _texts(place).items():
        if (whose := _whose(PurePosixPath(file), named)) is None:
            if PurePosixPath(file).stem.endswith("_time"):
                continue
            skipped.append(Skipped(item=file, reason="is for no video of the data set"))
            continue
        if whose in found:
            one, other = (str(PurePosixPath(each).parent) for each in (found[whose][0], file))
            raise UserError(f"{place} holds {whose[0]} twice, in {one} and in {other}; give the folder of one tracker.")
        found[whose] = file, read
    if not found:
        example = next(iter(named), "VIDEO")
        raise UserError(
            f"{place} holds no results for any of the {len(named)} videos; a file is called as the video, such as {example}.txt."
        )
    results = []
    for name, video in named.items():
        mine = sorted(key for key in found if key[0] == name)
        if not mine:
            skipped.append(Skipped(item=video.id, reason="has no file of results"))
        for key in mine:
            file, read = found[key]
            try:
                boxes_T4 = parsed_rows(read().decode("utf-8-sig", "replace"), file)
            except (UserError, *UNREADABLE) as error:
                skipped.append(Skipped(item=file, reason=f"cannot be read: {error}"))
            else:
                results.append(Result(video.id, file, boxes_T4, key[1]))
    return ResultFiles(tuple(results), tuple(skipped))


def length_of(video: Video, track: Track) -> int:
    """Frames that are judged: rows of the truth, or, where that is of the first frame alone, the video's."""
    rows = len(track.boxes_T4)
    return max(rows, len(video.frames)) if rows == 1 else rows


def stated_size(video: Video) -> tuple[int, int] | None:
    """Width and height of its frames as the data set says (GOT-10k's meta_info); None where it does not."""
    stated = re.fullmatch(r"\D*(\d+)\D+(\d+)\D*", video.attributes.get("resolution", ""))
    return (int(stated[1]), int(stated[2])) if stated else None


def size_of(video: Video) -> tuple[int, int] | None:
    """As `stated_size`, else of the first frame; None where neither can be read."""
    if stated := stated_size(video):
        return stated
    try:
        with Image.open(video.frames[0]) as image:
            return image.size
    except (OSError, IndexError):
        return None


def rounded(boxes_T4: Floats) -> Floats:
    """The numbers that stand in a file that is written here."""
    return np.round(boxes_T4, DECIMALS)


def rows_of(boxes_T4: Floats) -> str:
    """A file of results: three decimals, commas."""
    return "".join(",".join(f"{value:.{DECIMALS}f}" for value in row) + "\n" for row in boxes_T4.tolist())


def _texts(place: Path) -> Mapping[str, Callable[[], bytes]]:
    """Names relative to the place, with what reads them."""
    files: dict[str, Callable[[], bytes]] = {}
    if place.is_dir():
        below = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
        files = {name: path.read_bytes for name, path in below.items() if _is_result(name, path.stat().st_size)}
    elif zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            names = sorted(info.filename for info in archive.infolist() if _is_result(info.filename, info.file_size))
        files = {name: lambda name=name: _member(place, name) for name in names}  # type: ignore[misc]
    else:
        raise UserError(f"{place} is no folder of text files and no .zip of them; give what the tracker wrote.")
    if not files:
        raise UserError(f"{place} holds no .txt file of results; give the folder that has one for each video.")
    return files


def _is_result(name: str, size: int) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in (".txt", ".csv") and not hidden and size < _LARGEST


def _member(place: Path, name: str) -> bytes:
    with zipfile.ZipFile(place) as archive:
        return archive.read(name)


def _whose(file: PurePosixPath, named: Mapping[str, Video]) -> tuple[str, int] | None:
    """The name of a file's video, and which repetition it is."""
    for stem in (str(file.with_suffix("")), file.stem):
        if stem in named:
            return stem, 1
    repeated = _REPEATED.fullmatch(file.stem)
    for name in () if repeated is None else (str(file.parent), repeated[1]):
        if name in named and repeated is not None:
            return name, int(repeated[2])
    return None
