"""Groups of images as the user names them behind a folder: `FOLDER?groups=...`.

FILE.csv   columns `file` and `group`; files as the data set calls them, or by their last names where those are one of a kind
FIELD      a field of each image's entry in the annotation file
/REGEX/    what it finds in the file's name, or what its first brackets find
none       each image stands for itself (files that are there twice stay together)
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rice_core.datasets.nouns import Dataset, Sample
from rice_core.datasets.scenes import Scenes
from rice_core.disk.paths import at_home
from rice_core.errors import UserError


def named_scenes(dataset: Dataset, samples: Sequence[Sample], words: str) -> Scenes:
    """The scenes that `words` name; every image has to be in one.

    Raises:
        UserError: they cannot be read, or leave images without a group.
    """
    if words == "none":
        return Scenes({sample.id: sample.id for sample in samples}, {})
    if len(words) > 2 and words.startswith("/") and words.endswith("/"):
        found, by = _by_name(samples, words[1:-1]), f"what {words} finds in the name"
    elif words.lower().endswith(".csv"):
        found, by = _by_table(samples, at_home(words)), f"the groups of {Path(words).name}"
    else:
        found, by = _by_field(dataset, samples, words), words
    if lacking := [sample.id for sample in samples if not found.get(sample.id)]:
        raise UserError(
            f"groups={words} gives {len(lacking)} of {len(samples)} images no group, such as {lacking[0]}; give every image one, an image "
            "alone a group of its own."
        )
    size = Counter(found.values())
    of = {item: f"group {group}" if size[group] > 1 else item for item, group in found.items()}
    return Scenes(of, {item: by for item, group in found.items() if size[group] > 1})


def _by_name(samples: Sequence[Sample], text: str) -> dict[str, str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"groups=/{text}/ is no regular expression ({error}); mend it.") from None
    found = {sample.id: pattern.search(sample.id) for sample in samples}
    return {item: (match[1] if pattern.groups else match[0]) or "" for item, match in found.items() if match}


def _by_table(samples: Sequence[Sample], path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table of groups ({error}); check it.") from None
    if not rows or not {"file", "group"} <= rows[0].keys():
        raise UserError(f"{path} has no columns file and group; write them in its first line, as in file,group.")
    of: dict[str, str] = {}
    for row in rows:
        group = (row["group"] or "").strip()
        if row["file"] and of.setdefault(row["file"], group) != group:
            raise UserError(
                f"{path} puts {row['file']} into the groups {of[row['file']]!r} and {group!r}; give each file one."
            )
    last = Counter(Path(sample.id).name for sample in samples)
    names = {sample.id: Path(sample.id).name for sample in samples}
    return {item: of.get(item) or (of.get(name, "") if last[name] == 1 else "") for item, name in names.items()}


def _by_field(dataset: Dataset, samples: Sequence[Sample], field: str) -> dict[str, str]:
    if not dataset.annotations:
        raise UserError(
            f"groups={field} names a field of an annotation file, and {dataset.spec.name} has none; write groups=FILE.csv, groups=/REGEX/ or "
            "groups=none."
        )
    entries = [
        entry
        for path in dict.fromkeys(dataset.annotations.values())
        for entry in json.loads(path.read_bytes())["images"]
        if isinstance(entry, dict)
    ]
    values = {
        (entry.get("id"), str(entry.get("file_name", ""))): entry[field]
        for entry in entries
        if entry.get(field) not in (None, "")
    }
    if not values:
        names = sorted({name for entry in entries[:100] for name in entry if entry[name] not in (None, "")})
        raise UserError(
            f"No image of {dataset.spec.name} has a field {field}; write one that tells scenes apart (its entries have {', '.join(names)}), "
            "FILE.csv, /REGEX/ or none."
        )
    by_key: dict[object, list[tuple[str, object]]] = {}
    for (key, name), value in values.items():
        by_key.setdefault(key, []).append((name, value))
    found = {}
    for sample in samples:
        # Two splits' files may use one id for two images.
        mine = by_key.get(sample.key, [])
        fitting = mine if len(mine) == 1 else [each for each in mine if sample.id.endswith(each[0])]
        found[sample.id] = str(fitting[0][1]) if fitting else ""
    return found
