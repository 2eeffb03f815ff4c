"""Labels of images in a table or in a file an image: a CSV, `IMAGE NUMBER` lines, or JSON of a tool.

Photographs have tables beside them too (checksums, a camera's settings, places): a table counts as labels where its lines
name images of the folder and a column, or the file itself, is called after something that is told apart.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rice_core.datasets.walk import file_names, first_folders, first_lines, image_names, relative

_WORDS = tuple(
    """label class categor breed species target annotation diagnos attribute list_attr identit ground_truth groundtruth xmin
    bbox""".split()  # noqa: SIM905
)
_JSON = (("shapes", "imagePath"), ("coordinates", "label", "image"), ("regions", "filename"), ("objects", "classTitle"))
"""Keys that LabelMe's, CreateML's, VIA's and Supervisely's files have in their first lines."""
_HEAD = 1 << 18
_DEPTH = 2
_ENDINGS, _MOST = (".csv", ".tsv", ".txt", ".jsonl", ".json"), 8


def label_table(folder: Path) -> str | None:
    """A file with labels of the images in a folder, named from the folder on."""
    places = first_folders(folder, depth=_DEPTH)
    tables = [place / name for place in places for name in file_names(place, *_ENDINGS)[:_MOST]]
    told = [path for path in tables if (rows := _rows(path)) and _is_told(path, rows)]
    if not told:
        return None
    stems = {Path(name).stem for place in places for name in image_names(place)}
    found = (path for path in told if path.suffix.lower() == ".json" or _names_some(_rows(path), stems))
    return next((relative(path, folder) for path in found), None)


def _rows(path: Path) -> list[list[str]]:
    """The first lines in columns; of JSON the keys it has, and of JSON a line keys and values."""
    lines = first_lines(path, _HEAD)
    match path.suffix.lower():
        case ".json":
            text = path.read_bytes()[:_HEAD].decode(errors="replace")
            return [list(keys) for keys in _JSON if all(f'"{key}"' in text for key in keys)]
        case ".jsonl":
            return [row for line in lines for row in _of_object(line)]
        case ".txt":
            return [line.split() for line in lines]
    between = max(",;\t", key=lines[0].count) if lines else ","
    try:
        return list(csv.reader(lines, delimiter=between))
    except csv.Error:
        return []


def _of_object(line: str) -> Iterator[list[str]]:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return
    if isinstance(body, dict):
        yield [str(key) for key in body]
        yield [str(value)[:999] for value in body.values()]


def _is_told(path: Path, rows: list[list[str]]) -> bool:
    if path.suffix.lower() == ".json" or any(word in path.stem.lower() for word in _WORDS):
        return True
    if path.suffix.lower() == ".txt":  # as Places365 and Pascal VOC have it: IMAGE NUMBER, the number perhaps -1
        return all(len(row) == 2 and row[1].removeprefix("-").isdigit() for row in rows)
    return any(word in cell.lower() for cell in rows[0] for word in _WORDS)


def _names_some(rows: list[list[str]], stems: set[str]) -> bool:
    """Whether a row with more than a name in it names an image."""
    return any(
        len(row) > 1 and any(PurePosixPath(cell.strip().replace("\\", "/")).stem in stems for cell in row)
        for row in rows
    )
