"""The reader of TrackingNet: TRAIN_0 .. TRAIN_11 and TEST, each with frames/VIDEO/0.jpg and anno/VIDEO.txt; boxes from 0."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Dataset, Video
from rice_core.datasets.splits import Judge
from rice_core.datasets.videos.opening import dataset
from rice_core.datasets.videos.places import inside, leave_out, named
from rice_core.datasets.videos.source import VideoFiles, video_of
from rice_core.datasets.walk import file_names
from rice_core.errors import UserError
from rice_core.record import Skipped

_CHUNK = re.compile(r"(TRAIN)_\d+|(TEST)", re.IGNORECASE)
_ANNO, _FRAMES, _ZIPS = "anno", "frames", "zips"


@dataclass(frozen=True)
class TrackingNet:
    """TrackingNet (Mueller et al. 2018), all of it or some chunks, or one chunk alone. The truth of its test is hidden."""

    layout: str = "trackingnet"

    def recognises(self, folder: Path) -> Sighting | None:
        framed = [chunk for chunk in _chunks(folder) if named(chunk, _FRAMES) or named(chunk, _ZIPS)]
        if chunks := [chunk for chunk in framed if named(chunk, _ANNO)]:
            return Sighting("sure", ", ".join(f"{chunk.name}/{_ANNO}/" for chunk in chunks[:3]))
        if framed:
            return Sighting(
                "doubtful",
                f"holds {framed[0].name}/ as TrackingNet has it and no {_ANNO}/ in it, which says where the objects are; put the annotations there",
            )
        return None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        skipped: list[Skipped] = []
        chunks = _chunks(folder)
        if not chunks:
            raise UserError(
                f"{folder} holds no TRAIN_0 .. TRAIN_11 and no TEST; give the folder that holds TrackingNet's chunks."
            )
        found: dict[str, list[Video]] = {}
        unframed: list[str] = []
        for chunk in chunks:
            found.setdefault(_split(chunk), []).extend(_videos(chunk, skipped, unframed))
        skipped += leave_out(unframed, "has an annotation and no folder in frames/: it is not extracted")
        if unframed and not any(found.values()):
            raise UserError(
                f"{folder} holds annotations of {len(unframed)} videos and no frames of them; extract zips/ into frames/ (TrackingNet's "
                "extract_frame.py does)."
            )
        saw = ", ".join(f"{chunk.name}/" for chunk in chunks) + f" with {_ANNO}/ and {_FRAMES}/"
        return dataset(self.layout, folder, found, skipped, name=name, judge=judge, saw=saw)


def _chunks(folder: Path) -> list[Path]:
    if _CHUNK.fullmatch(folder.resolve().name) and named(folder, _ANNO):
        return [folder]
    return [folder / name for name in inside(folder) if _CHUNK.fullmatch(name)]


def _split(chunk: Path) -> str:
    return "train" if chunk.resolve().name.lower().startswith("train") else "test"


def _videos(chunk: Path, skipped: list[Skipped], unframed: list[str]) -> list[Video]:
    anno, frames = named(chunk, _ANNO), named(chunk, _FRAMES)
    called = chunk.resolve().name.upper()
    annotated = [name[:-4] for name in file_names(anno, ".txt") if name[0] != "."] if anno else []
    extracted = set(inside(frames)) if frames else set()
    unframed += [f"{called}/{name}" for name in annotated if name not in extracted]
    skipped += leave_out(
        [f"{called}/{name}" for name in sorted(extracted - {*annotated})], f"has frames and no file in {_ANNO}/"
    )
    if not anno or not frames:
        return []
    sources = (
        VideoFiles(f"{called}/{name}", frames / name, anno / f"{name}.txt", first=0, hidden=_split(chunk) == "test")
        for name in annotated
        if name in extracted
    )
    return [video_of(source, source.name) for source in sources]
