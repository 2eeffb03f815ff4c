"""What the official servers and toolkits take. Both servers fail without a word, so what is written is checked here first.

got10k       ZIP with <video>/<video>_001.txt and <video>/<video>_time.txt; commas, all rows (GOT-10k toolkit, issues 3 and 21)
trackingnet  ZIP with <video>.txt and no folder; commas, no header, the first frame too (TrackingNet devkit, issues 12, 13 and 26)
toolkit      a folder with <video>.txt, as LaSOT's and TNL2K's MATLAB code reads
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
from tracking.results import names_of, rows_of

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


def faults_of(server: Server, place: Path, videos: Mapping[str, Video]) -> tuple[Skipped, ...]:
    """What the server would fail on, or count as zero boxes, in an archive or a folder of anyone's."""
    if server == "toolkit" or place.is_dir():
        files = {
            path.relative_to(place).as_posix(): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()
        }
    elif zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            files = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    else:
        return (Skipped(item=place.name, reason="is no .zip; pack the files into one"),)
    faults: list[Skipped] = []
    wanted: dict[str, Video] = {}
    for name, video in names_of(videos.values()).items():
        wanted[f"{name}/{name}_001.txt" if server == "got10k" else f"{name}.txt"] = video
    for file, video in wanted.items():
        if file not in files:
            faults.append(Skipped(item=file, reason="is missing: the server counts its video as boxes of no size"))
        elif reason := _fault(files[file].decode("utf-8", "replace"), len(video.frames)):
            faults.append(Skipped(item=file, reason=reason))
        if server == "got10k" and (time := file.replace("_001.txt", "_time.txt")) not in files:
            faults.append(Skipped(item=time, reason="is missing: the server asks for the seconds of each frame"))
    times = {file.replace("_001.txt", "_time.txt") for file in wanted} if server == "got10k" else set()
    repeated = {f"{file[:-5]}{k}.txt" for file in wanted for k in (2, 3)} if server == "got10k" else set()
    for file in sorted(files.keys() - wanted.keys() - times - repeated):
        where = (
            "; the files lie at the top of the archive, in no folder" if server == "trackingnet" and "/" in file else ""
        )
        faults.append(Skipped(item=file, reason=f"is no file that the server looks for{where}"))
    return tuple(faults)


def _fault(text: str, frames: int) -> str | None:
    rows = [row for row in text.splitlines() if row.strip()]
    if len(rows) != frames:
        return f"has {len(rows)} rows for {frames} frames"
    for number, row in enumerate(rows, start=1):
        try:
            values = [float(value) for value in row.split(",")]
        except ValueError:
            return f"has in row {number} what is no number between commas: {row[:40]!r}"
        if len(values) != 4 or not np.isfinite(values).all():
            return f"has in row {number} not 4 finite numbers with commas between them: {row[:40]!r}"
    return None
