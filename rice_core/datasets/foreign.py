"""Labels that lie in a folder and are read by no layout: whoever has them does not mean plain photographs, or folders as classes."""

from __future__ import annotations

from pathlib import Path

from rice_core.datasets.coco_files import annotation_files, other_coco_files
from rice_core.datasets.walk import file_names, first_folders, first_lines, relative

_HEAD = 4096


def tracking_truth(folder: Path) -> str | None:
    """A file that says where something is in each frame of a video: GOT-10k's, LaSOT's and OTB's `groundtruth*.txt`, MOT's `gt/gt.txt`,
    and of TrackingNet those in `anno/` beside `frames/`."""
    places = first_folders(folder, depth=3)
    framed = {place.parent for place in places if place.name.lower() == "frames"}
    for place in places:
        annotates = place.name.lower() == "anno" and place.parent in framed
        for name in file_names(place, ".txt"):
            if annotates or name.lower().startswith("groundtruth") or name.lower() == "gt.txt":
                return relative(place / name, folder)
    return None


def unread_labels(folder: Path, layout: str) -> str | None:
    """What labels were seen and how they can be read, as the end of a sentence that begins with the folder.

    Args:
        layout: how the folder can be read without them.
    """
    without = f"write {folder}@{layout} to do without"
    if other := next(iter(other_coco_files(folder).values()), None):
        if other.parent != folder and annotation_files(other.parent):
            return f"holds {other.parent.name}/, a data set of its own in COCO format; give {other.parent}, or {without} its labels"
        return (
            f"holds {relative(other, folder)}, which is in COCO format under a name of its own; write {folder}@coco to read it, "
            f"or {folder}@{layout} to do without"
        )
    for place in first_folders(folder, depth=3):
        names = [name for suffix in (".json", ".jsonl") for name in file_names(place, suffix)[:8]]
        if (name := next((name for name in names if _is_talk(place / name)), None)) is not None:
            return (
                f"holds {relative(place / name, folder)}, which are conversations as LLaVA has them; call it instruct.json, or align.json where "
                f"they are captions, or {without}"
            )
        for kind, suffix, known in (("YOLO", ".txt", _is_yolo), ("Pascal VOC", ".xml", _is_voc)):
            if (name := next((n for n in file_names(place, suffix)[:8] if known(place / n)), None)) is not None:
                return (
                    f"holds {kind} labels ({relative(place / name, folder)}), which are not read; export it in COCO format, or "
                    f"{without}"
                )
    return None


def _is_yolo(path: Path) -> bool:
    """Every line is a class and a box or polygon in shares of the image."""
    lines = first_lines(path, _HEAD)
    return bool(lines) and all(map(_yolo_line, lines))


def _yolo_line(line: str) -> bool:
    first, *rest = line.split()
    try:
        return first.isdigit() and len(rest) >= 4 and all(0 <= float(number) <= 1 for number in rest)
    except ValueError:
        return False


def _is_talk(path: Path) -> bool:
    with path.open("rb") as file:
        return b'"conversations"' in file.read(_HEAD)


def _is_voc(path: Path) -> bool:
    return any("<annotation" in line for line in first_lines(path, _HEAD))
