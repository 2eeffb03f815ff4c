"""What the official servers and toolkits take. Both servers fail without a word, so what is written is checked here first.

got10k       ZIP with <video>/<video>_001.txt and <video>/<video>_time.txt; commas, all rows (GOT-10k toolkit, issues 3 and 21)
trackingnet  ZIP with <video>.txt and no folder; commas, no header, the first frame too (TrackingNet devkit, issues 12, 13 and 26)
toolkit      a folder with <video>.txt, as LaSOT's and TNL2K's MATLAB code reads (dlmread: commas, tabs or spaces)
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from rice_core.datasets.nouns import Video
from rice_core.datasets.tracks import Floats
from rice_core.disk.files import write_atomically
from rice_core.errors import UserError
from rice_core.record import Skipped
from tracking.results import UNREADABLE, length_of, names_of, rows_of

Server = Literal["got10k", "trackingnet", "toolkit"]
SERVERS: tuple[Server, ...] = ("got10k", "trackingnet", "toolkit")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of every member, so that equal results are equal archives."""


def write_submission(
    server: Server, place: Path, videos: Mapping[str, Video], boxes: Mapping[str, Floats], seconds: Mapping[str, Floats]
) -> Path:
    """Write results, and check what was written.

    Args:
        place: without a suffix; .zip is added where the server takes an archive.
        videos: by id. boxes: by id, (T, 4) in the annotation's origin. seconds: by id, (T,), of each frame.

    Returns:
        The archive or the folder.

    Raises:
        UserError: a video has no boxes, too few, or some that are no numbers. StoreError: the disk is full.
    """
    called = {video.id: name.replace("/", "_") for name, video in names_of(videos.values()).items()}
    files: dict[str, str] = {}
    for key, name in called.items():
        rows_T4 = boxes.get(key, np.empty((0, 4)))
        if len(rows_T4) != len(videos[key].frames) or not np.isfinite(rows_T4).all():
            raise UserError(
                f"{key} has {len(rows_T4)} rows, {int((~np.isfinite(rows_T4).all(axis=1)).sum())} of them no numbers, for "
                f"{len(videos[key].frames)} frames, and {server} wants a box of each; track it again."
            )
        if server == "got10k":
            files[f"{name}/{name}_001.txt"] = rows_of(rows_T4)
            files[f"{name}/{name}_time.txt"] = "".join(f"{each:.8f}\n" for each in seconds[key].tolist())
        else:
            files[f"{name}.txt"] = rows_of(rows_T4)
    if server == "toolkit":
        for name, text in files.items():
            write_atomically(place / name, text.encode())
        return place
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name, text in sorted(files.items()):
            out.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
    path = place.with_name(place.name + ".zip")
    write_atomically(path, archive.getvalue())
    return path


def files_of(server: Server, videos: Mapping[str, Video]) -> dict[str, tuple[str, ...]]:
    """Id -> the files that the server looks for: that of the boxes, and of times where it asks for them."""
    named = names_of(videos.values())
    if server == "got10k":
        return {video.id: (f"{name}/{name}_001.txt", f"{name}/{name}_time.txt") for name, video in named.items()}
    return {video.id: (f"{name}.txt",) for name, video in named.items()}


def faults_of(server: Server, place: Path, videos: Mapping[str, Video]) -> tuple[Skipped, ...]:
    """What the server would fail on, or count as zero boxes, in an archive or a folder of anyone's.

    Raises:
        UserError: there is no such place, or nobody can open it.
    """
    if server == "toolkit" and not place.is_dir():
        raise UserError(f"{place} is no folder, and MATLAB reads one with a text file for each video; unpack it.")
    faults: list[Skipped] = []
    files = _contents(place, faults)
    wanted = files_of(server, videos)
    unreadable = {fault.item for fault in faults}
    for key, (file, *times) in wanted.items():
        if file in files:
            if reason := _fault(files[file].decode("utf-8", "replace"), _frames(videos[key]), server):
                faults.append(Skipped(item=file, reason=reason))
        elif file not in unreadable:
            then = (
                "the toolkit stops there" if server == "toolkit" else "the server counts its video as boxes of no size"
            )
            faults.append(Skipped(item=file, reason=f"is missing: {then}"))
        for time in times:
            if time not in files and time not in unreadable:
                faults.append(Skipped(item=time, reason="is missing: the server asks for the seconds of each frame"))
    known = {file for of_video in wanted.values() for file in of_video}
    if server == "got10k":
        known |= {f"{file[:-5]}{k}.txt" for file, _ in wanted.values() for k in (2, 3)}
    # MATLAB opens the files of its own list, whatever lies beside them (OSTrack writes the times there).
    for file in () if server == "toolkit" else sorted(files.keys() - known):
        where = (
            "; the files lie at the top of the archive, in no folder" if server == "trackingnet" and "/" in file else ""
        )
        faults.append(Skipped(item=file, reason=f"is no file that the server looks for{where}"))
    return tuple(faults)


def _contents(place: Path, faults: list[Skipped]) -> dict[str, bytes]:
    """The files of a folder or an archive; what cannot be read is a fault.

    Raises:
        UserError: it is neither.
    """
    if place.is_dir():
        paths = [path for path in sorted(place.rglob("*")) if path.is_file()]
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}
    if not zipfile.is_zipfile(place):
        raise UserError(f"{place} is no .zip and no folder; pack the files into one.")
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(place) as archive:
        for info in archive.infolist():
            try:
                if not info.is_dir():
                    files[info.filename] = archive.read(info)
            except UNREADABLE as error:
                faults.append(Skipped(item=info.filename, reason=f"cannot be read ({error})"))
    return files


def _frames(video: Video) -> int:
    # A toolkit's annotations come without frames.
    return len(video.frames) or length_of(video, video.track())


def _fault(text: str, frames: int, server: Server) -> str | None:
    rows = [row for row in text.splitlines() if row.strip()]
    if len(rows) != frames:
        return f"has {len(rows)} rows for {frames} frames"
    # The servers part at commas; MATLAB's dlmread at tabs and spaces too.
    between, part = ("commas", ",") if server != "toolkit" or "," in "".join(rows[:1]) else ("tabs and spaces", None)
    for number, row in enumerate(rows, start=1):
        try:
            values = [float(value) for value in row.split(part)]
        except ValueError:
            return f"has in row {number} what is no number between {between}: {row[:40]!r}"
        if len(values) != 4 or not np.isfinite(values).all():
            return f"has in row {number} not 4 finite numbers with {between} between them: {row[:40]!r}"
    return None
