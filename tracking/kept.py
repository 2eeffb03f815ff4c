"""What a tracker said of a video, and the file that keeps it while others are still followed."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rice_core.datasets import Video
from rice_core.digest import bytes_digest
from rice_core.disk.files import is_plain, write_atomically

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tracked:
    """One video, followed by one tracker."""

    id: str
    boxes_T4: Floats
    """x, y, w, h in the origin of the video's annotation; the first row is the truth that it began with."""
    score_T: Floats
    """Of the box that was chosen, in [0, 1]; 1 for the first frame, 0 where the frame could not be read."""
    sizes_T2: npt.NDArray[np.int64]
    """Width and height of each frame."""
    seconds: float
    """Its share of what the batches took that it was in."""
    waited: float
    """Its share of the time in which they waited for frames to be decoded."""
    beside: int = 1
    """Trackers, with it, that its frames were decoded for at once."""
    broken: tuple[tuple[str, str], ...] = ()
    """Frames that could not be read, with the reason: the box before is repeated."""


@dataclass
class Trail:
    """The same while it grows; boxes are of pixels that count from 0."""

    boxes: list[Floats] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    seconds: float = 0.0
    waited: float = 0.0
    beside: int = 1
    broken: dict[int, str] = field(default_factory=dict)
    """By frame, why it could not be read."""

    def __len__(self) -> int:
        return len(self.boxes)

    def add(self, box_4: Floats, score: float, size: tuple[int, int]) -> None:
        self.boxes.append(box_4)
        self.scores.append(score)
        self.sizes.append(size)

    def repeat(self, reason: str) -> None:
        """Of a frame that cannot be read."""
        self.broken[len(self)] = reason
        self.add(self.boxes[-1], 0.0, self.sizes[-1])

    def cut(self, length: int) -> None:
        """To its first frames."""
        for column in (self.boxes, self.scores, self.sizes):
            del column[length:]
        self.broken = {frame: reason for frame, reason in self.broken.items() if frame < length}

    def tracked(self, video: Video) -> Tracked:
        boxes_T4 = np.stack(self.boxes)
        boxes_T4[:, :2] += video.origin
        sizes_T2, score_T = np.array(self.sizes, np.int64), np.array(self.scores)
        broken = tuple((video.frames[frame].name, reason) for frame, reason in self.broken.items())
        return Tracked(video.id, boxes_T4, score_T, sizes_T2, self.seconds, self.waited, self.beside, broken)

    def save(self, path: Path) -> None:
        """Raises StoreError: the disk is full, or the folder cannot be written."""
        about = {"seconds": self.seconds, "waited": self.waited, "beside": self.beside, "broken": self.broken}
        arrays = {"boxes_T4": np.array(self.boxes), "score_T": np.array(self.scores), "sizes_T2": np.array(self.sizes)}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, told=np.array(json.dumps(about)), **arrays)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Trail:
        """Empty where nothing is kept, or nothing that can be read."""
        if not is_plain(path):
            return cls()
        try:
            with np.load(path, allow_pickle=False) as file:
                told = json.loads(str(file["told"]))
                sizes = [(int(w), int(h)) for w, h in file["sizes_T2"]]
                return cls(
                    list(file["boxes_T4"]),
                    file["score_T"].tolist(),
                    sizes,
                    float(told["seconds"]),
                    float(told["waited"]),
                    int(told.get("beside", 1)),
                    {int(frame): reason for frame, reason in told["broken"].items()},
                )
        except Exception:  # zip and npy files break in many ways; it is made again
            return cls()


def kept_as(folder: Path, name: str) -> Path:
    """The file of a video, whose name may hold what no file's can."""
    return folder / f"{bytes_digest(name.encode())[:32]}.npz"
