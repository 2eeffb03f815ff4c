"""Made-up videos on which the toolkits were run: `python material.py` writes `material.json` again, to the same bytes.

Ordinary trackers and all that people's files have: absent frames with and without a box, zero sizes, NaN and negative rows, boxes
outside the image, files that are too long, videos of one frame. Many boxes are whole numbers, so that IoU falls on thresholds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
SIZE = (160, 120)
NAN = [float("nan")] * 4


def main() -> None:
    videos = [*ordinary(np.random.default_rng(7)), *odd(np.random.default_rng(8))]
    for number, video in enumerate(videos):
        video["id"] = f"v{number:02d}-{video['id']}"
        frames = len(video["truth"])
        video.setdefault("absent", [0] * frames)
        video["cover"] = [0 if gone else 1 + (k + number) % 8 for k, gone in enumerate(video["absent"])]
    lines = ",\n".join(json.dumps(video) for video in videos)
    (HERE / "material.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def ordinary(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Trackers of several qualities on objects that walk about."""
    made = []
    for name, noise, decimals in (
        ("good", 1.5, 2),
        ("fair", 5, 1),
        ("bad", 25, 2),
        ("whole", 3, 0),
        ("coarse", 6, 0),
        ("half", 4, None),
    ):
        truth = walk(rng, 24)
        moved = truth + rng.normal(0, noise, truth.shape)
        moved[:, 2:] = np.maximum(moved[:, 2:], 1)
        moved = np.round(2 * moved) / 2 if decimals is None else moved.round(decimals)
        made.append({"id": name, "truth": truth.tolist(), "boxes": moved.tolist()})
    # Thin boxes that differ in one side: IoU and normalised distance fall on many thresholds.
    truth = np.tile([5.0, 7, 20, 10], (41, 1))
    moved = truth.copy()
    moved[:21, 2] = np.arange(21).clip(1)
    moved[21:, 0] += np.arange(20)
    made.append({"id": "ties", "truth": truth.tolist(), "boxes": moved.tolist()})
    # Centres at 0, so that a distance in sides is a hundredth to the last bit.
    truth = np.tile([-49.5, -49.5, 100, 100], (52, 1))
    moved = truth + np.arange(52)[:, None] * np.array([1, 0, 0, 0])
    made.append({"id": "hundredths", "truth": truth.tolist(), "boxes": moved.tolist()})
    truth = np.round(2 * (walk(rng, 24) + rng.uniform(0, 1, (24, 4)))) / 2
    made.append(
        {"id": "fractions", "truth": truth.tolist(), "boxes": (truth + rng.normal(0, 2, truth.shape)).round(2).tolist()}
    )
    return made


def odd(rng: np.random.Generator) -> list[dict[str, Any]]:
    """One thing each that files have and toolkits differ in."""
    made: list[dict[str, Any]] = []

    def video(name: str, frames: int = 16, **change: Any) -> None:
        truth = walk(rng, frames)
        boxes = (truth + rng.normal(0, 3, truth.shape)).round(1)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 2)
        more = {key: value for key, value in change.items() if key not in ("truth", "boxes")}
        rows = {"truth": truth.tolist(), "boxes": boxes.tolist()}
        for key in rows:
            for row, box in change.get(key, {}).items():
                rows[key][row] = list(box)
        made.append({"id": name, **rows, **more})

    gone = [int(k in (3, 4, 9)) for k in range(16)]
    nothing, ones = [0.0] * 4, [-1.0] * 4
    video("absent-zero", absent=gone, truth={3: nothing, 4: nothing, 9: nothing})
    video("absent-placed", absent=gone)
    video("absent-sizeless", absent=gone, truth={3: [12.0, 5, 0, 0], 9: [40.0, 9, 0, 8]})
    video("absent-unflagged", truth={3: nothing, 4: nothing, 9: ones})
    video("minus-one", absent=gone, truth={3: ones, 4: ones, 9: ones})
    video("edge", truth={2: [0.0, 5, 30, 20], 5: [7.0, 0, 30, 20], 8: [-6.0, -3, 30, 20]})
    video("edge-hit", truth={2: [0.0, 5, 30, 20]}, boxes={2: [0.0, 5, 30, 20]})
    video("flat", truth={2: [10.0, 5, 0, 20], 5: [7.0, 9, 30, 0], 8: [613.0, 731, 247, -11]})
    nan = float("nan")
    near = {"truth": dict.fromkeys((1, 11), (10.0, 12, 30, 20))}
    video("nan", boxes={5: NAN, 6: NAN, 11: [nan, 12.0, 30, 20]}, **near)
    video(
        "nan-first", boxes={0: [nan, 12.0, 30, 20], 1: nothing, 7: [10.0, 12, nan, 20], 11: [10.0, nan, 30, 20]}, **near
    )
    video("negative", boxes={5: [10.0, 20, -4, 30], 9: [10.0, 20, 40, -0.5], 10: nothing})
    video("zeros", boxes={0: nothing, 1: nothing, 5: nothing, 6: [40.0, 30, 0, 12], 7: [40.0, 30, 12, 0]})
    video("small", boxes={5: [30.0, 20, 0.4, 0.4], 6: [30.0, 20, 0.5, 0.5]})
    video(
        "outside",
        truth={3: [-20.0, 5, 30, 20], 4: [150.0, 110, 40, 40]},
        boxes={3: [-10.0, 5, 20, 20], 4: [155.0, 110, 50, 50], 5: [300.0, 300, 9, 9]},
    )
    video(
        "lost", frames=6, absent=[1, 0, 0, 0, 0, 0], truth={0: nothing}, boxes={k: [140.0, 2, 5, 5] for k in range(6)}
    )
    video("first-absent", absent=[1, *[0] * 15], truth={0: nothing})
    video("first-flat", truth={0: [4.0, 8, 0, 6]}, boxes={1: nothing})
    video("one", frames=1)
    video("one-absent", frames=1, absent=[1], truth={0: nothing})
    video("two", frames=2, boxes={1: nothing})
    video("still", boxes={k: [60.0, 40, 30, 20] for k in range(16)})
    video("truth-nan", truth={4: NAN, 5: NAN}, boxes={4: NAN, 5: nothing, 6: nothing})
    video("long")
    made[-1]["boxes"] += [[1.0, 2, 3, 4], [90.0, 90, 2, 2], [5.0, 6, 7, 8]]
    video("long-nan")
    made[-1]["boxes"] += [NAN]
    return made


def walk(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Whole boxes of an object that moves and grows, most inside the image."""
    corner = np.cumsum(rng.integers(-4, 5, (frames, 2)), axis=0) + rng.integers(25, 70, 2)
    side = np.cumsum(rng.integers(-2, 3, (frames, 2)), axis=0) + rng.integers(18, 45, 2)
    return np.concatenate([np.maximum(corner, 1), np.maximum(side, 3)], axis=1).astype(float)


def load() -> list[dict[str, Any]]:
    videos: list[dict[str, Any]] = json.loads((HERE / "material.json").read_text(encoding="utf-8"))
    return videos


if __name__ == "__main__":
    main()
