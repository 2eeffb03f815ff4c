"""`ricebench evaluate detection` against pycocotools, end to end: `python -m benchmarks evaluate`.

Both are processes of their own with one thread, read the same two files and print AP and AR, in alternation: boxes alone, and
boxes with masks (goal: 5 times as fast). The floor is a process that imports numpy and parses the two files. Made-up results of
IMAGES images of 640 x 640: seven objects as polygons (one in fifty a crowd), 50 detections with run lengths, half of them near
an object of their category.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import Lap, keep, machine, process, ratio

IMAGES, SIDE, CLASSES, OBJECTS, FOUND, ROUNDS = 1000, 640, 80, 7, 50, 3
KINDS = {"boxes": ("bbox",), "masks": ("bbox", "segm")}
_FLOOR = "import json, sys, numpy; [json.load(open(path)) for path in sys.argv[1:]]"


def main() -> None:
    """Measure both."""
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        files = _written(Path(name))
        body = {kind: _measured(files["truth"], files[kind], kinds) for kind, kinds in KINDS.items()}
    claims = [
        f"evaluate detection of {IMAGES * FOUND:,} detections in {IMAGES:,} images, {kind}, end to end: "
        f"{each['ratio']['cpu']:.1f}x as fast as pycocotools ({each['ours']['cpu']} against {each['pycocotools']['cpu']} CPU s; goal 5; "
        f"floor {each['floor']['cpu']}); {each['numbers']} numbers differ by at most {each['difference']:.0e}; with the errors of 200 "
        f"resamples and the breakdown {each['all']['cpu']} CPU s"
        for kind, each in body.items()
    ]
    keep("evaluate", claims, {"rounds": ROUNDS, **body}, before)


def _measured(truth: Path, results: Path, kinds: tuple[str, ...]) -> dict[str, Any]:
    judge = ("-m", "rice_core.cli", "evaluate", f"--results={results}", f"--data={truth}", "--format=json")
    calls = {
        "ours": (*judge, "detection?errors=no&breakdown=no"),
        "pycocotools": ("-m", "benchmarks.side_pycocotools", str(truth), str(results), ",".join(kinds)),
        "all": (*judge, "detection"),
        "floor": ("-c", _FLOOR, str(truth), str(results)),
    }
    laps: dict[str, list[Lap]] = {name: [] for name in calls}
    said: dict[str, str] = {}
    for turn in range(ROUNDS):
        for name in list(calls) if turn % 2 == 0 else reversed(calls):
            lap, said[name] = process(*calls[name])
            laps[name].append(lap)
    theirs = [100 * value for values in json.loads(said["pycocotools"].splitlines()[-1]).values() for value in values]
    ours = [row["value"] for row in json.loads(said["ours"])["numbers"] if row["category"] is None]
    return {
        **{name: _median(of_name) for name, of_name in laps.items()},
        "ratio": ratio(laps["pycocotools"], laps["ours"]),
        "numbers": len(theirs),
        "difference": max(abs(a - b) for a, b in zip(ours, theirs, strict=True)),
    }


def _median(laps: list[Lap]) -> dict[str, float]:
    return {name: round(statistics.median(getattr(lap, name) for lap in laps), 2) for name in ("cpu", "wall")}


def _written(folder: Path) -> dict[str, Path]:
    truth, rows = _material()
    boxes = [{key: value for key, value in row.items() if key != "segmentation"} for row in rows]
    files = {name: folder / f"{name}.json" for name in ("truth", *KINDS)}
    for path, body in zip(files.values(), (truth, boxes, rows), strict=True):
        path.write_text(json.dumps(body))
    return files


def _material() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The truth and the results with masks."""
    from pycocotools import mask

    rng = np.random.default_rng(0)
    things: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for key in range(1, IMAGES + 1):
        corner, size = rng.uniform(0, 400, (OBJECTS, 2)), rng.uniform(10, 200, (OBJECTS, 2))
        labels = rng.integers(CLASSES, size=OBJECTS)
        near = rng.integers(OBJECTS, size=FOUND)
        guess = np.where(rng.random(FOUND) < 0.5, labels[near], rng.integers(CLASSES, size=FOUND))
        moved = corner[near] + rng.normal(0, 8, (FOUND, 2)), size[near] * rng.uniform(0.85, 1.2, (FOUND, 2))
        boxes, found = (np.concatenate(pair, axis=1).round(2).tolist() for pair in ((corner, size), moved))
        shapes = [_polygon(box, rng) for box in (*boxes, *found)]
        drawn: list[Any] = mask.frPyObjects(shapes, SIDE, SIDE)
        for box, label, shape, each in zip(boxes, labels.tolist(), shapes, drawn, strict=False):
            entry = {"id": len(things) + 1, "image_id": key, "category_id": label + 1, "bbox": box}
            crowd = rng.random() < 0.02
            segmentation = {"size": [SIDE, SIDE], "counts": _counts(mask.decode(each))} if crowd else [shape]
            things.append(entry | {"segmentation": segmentation, "area": float(mask.area(each)), "iscrowd": int(crowd)})
        for box, label, each, score in zip(
            found, guess.tolist(), drawn[OBJECTS:], rng.random(FOUND).tolist(), strict=True
        ):
            row = {"image_id": key, "category_id": label + 1, "bbox": box, "score": round(score, 7)}
            rows.append(row | {"segmentation": {"size": [SIDE, SIDE], "counts": each["counts"].decode()}})
    images = [{"id": key, "height": SIDE, "width": SIDE} for key in range(1, IMAGES + 1)]
    categories = [{"id": label + 1, "name": f"c{label}"} for label in range(CLASSES)]
    return {"images": images, "annotations": things, "categories": categories}, rows


def _polygon(box: list[float], rng: np.random.Generator) -> list[float]:
    """Twenty-four corners about an ellipse."""
    x, y, w, h = box
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = rng.uniform(0.75, 1, 24) / 2
    points = np.stack([x + w / 2 + radius * w * np.cos(angle), y + h / 2 + radius * h * np.sin(angle)], axis=1)
    corners: list[float] = points.round(2).ravel().tolist()
    return corners


def _counts(mask_HW: np.ndarray) -> list[int]:
    column = mask_HW.T.ravel().astype(np.int8)
    runs: list[int] = np.diff(np.flatnonzero(np.diff(column, prepend=0, append=2)), prepend=0).tolist()
    return runs
