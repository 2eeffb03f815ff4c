"""Layout `llava`: what people have who train LLaVA-NeXT and judge it, in one folder.

    FOLDER/LLaVA-Pretrain/blip_laion_cc_sbu_558k.json and its pictures                        split align
    FOLDER/LLaVA-NeXT-Data/llava_next_raw_format_processed.json and its pictures              split instruct
    FOLDER/lmms-lab-encoder/DocVQA, FOLDER/echo840/OCRBench ...                               a split each, called as lmms-eval's tasks

The files may also lie in the folder itself, be called align.json and instruct.json, or hold an entry a line (.jsonl).
Pictures are looked for beside their file, in images/ beside it, or one folder up. Benchmarks: `mllm.evaluate.tables`. Some of it is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mllm.evaluate.tables import TableQuestions, find_tables
from mllm.readers.talks import Talks, read_talks
from rice_core.datasets import Dataset, Judge
from rice_core.datasets.digests import fingerprint
from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Conversation
from rice_core.digest import file_digest
from rice_core.errors import UserError
from rice_core.record import Skipped
from rice_core.spec import DatasetSpec

FILES = {
    "align": ("blip_laion_cc_sbu_558k.json", "align.json", "align.jsonl"),
    "instruct": (
        "llava_next_raw_format_processed.json",
        "llava_v1_5_mix665k.json",
        "instruct.json",
        "instruct.jsonl",
    ),
}
"""By split."""
FOLDERS = {
    "align": ("", "LLaVA-Pretrain", "liuhaotian/LLaVA-Pretrain"),
    "instruct": (
        "",
        *("LLaVA-NeXT-Data", "LLaVA-NeXT-Data/llava_next_raw_format"),
        *("lmms-lab/LLaVA-NeXT-Data", "lmms-lab/LLaVA-NeXT-Data/llava_next_raw_format"),
    ),
}
"""Where they are looked for."""
_LOOKED_FOR = 64
"""Conversations whose pictures are looked for when the folder is opened: each of 779,000 would take minutes on a network's disk."""


class LlavaLayout:
    """Its reader."""

    layout = "llava"

    def recognises(self, folder: Path) -> Sighting | None:
        """By the names of its files."""
        found = [file for files in (*_found(folder).values(), *find_tables(folder).values()) for file in files]
        return Sighting("sure", found[0].relative_to(folder).as_posix()) if found else None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        """Raises:
        UserError: nothing that it knows is there, a file is there twice, cannot be read, or has none of its pictures.
        """
        files = {split: _only(found, split) for split, found in _found(folder).items() if found}
        tables = find_tables(folder)
        if not files and not tables:
            raise UserError(
                f"{folder} has neither LLaVA-Pretrain/{FILES['align'][0]} nor LLaVA-NeXT-Data/{FILES['instruct'][0]}, nor a benchmark; "
                "load some into it from the hub (liuhaotian/LLaVA-Pretrain, lmms-lab/LLaVA-NeXT-Data, lmms-lab-encoder/DocVQA ...)."
            )
        splits: dict[str, Sequence[Conversation]] = {}
        skipped: list[Skipped] = []
        notes = []
        for split, file in files.items():
            talks, left_out = read_talks(file, split, file.parent)
            splits[split], missing = _with_pictures(talks, folder)
            skipped += left_out
            notes += [f"{split}: {missing}"] if missing else []
        splits |= {task: TableQuestions.of(task, found) for task, found in tables.items()}
        digests = {split: file_digest(file) for split, file in files.items()}
        spec = DatasetSpec(name=name, layout=self.layout, fingerprint=fingerprint(self.layout, (), splits, digests))
        seen = [file.relative_to(folder).as_posix() for file in files.values()]
        saw = " and ".join([*seen, *([f"{len(tables)} tables of questions"] if tables else [])])
        return Dataset(
            spec,
            (),
            splits,
            frozenset((["conversations"] if files else []) + (["questions"] if tables else [])),
            tuple(skipped),
            annotations=files,
            saw=saw,
            notes=tuple(notes),
        )


def _found(folder: Path) -> dict[str, list[Path]]:
    return {
        split: [path for place in FOLDERS[split] for name in names if (path := folder / place / name).is_file()]
        for split, names in FILES.items()
    }


def _only(found: list[Path], split: str) -> Path:
    if len(found) > 1:
        raise UserError(f"{found[0]} and {found[1]} would both be the {split} split; keep one of them in the folder.")
    return found[0]


def _with_pictures(talks: Talks, folder: Path) -> tuple[Talks, str]:
    """With the folder that its pictures are in, and what is to be known of them.

    Raises:
        UserError: none of those that are looked for is anywhere.
    """
    places = sorted({*np.linspace(0, len(talks) - 1, _LOOKED_FOR).astype(int).tolist()})
    names = [image.relative_to(talks.images) for k in places for image in talks[k].images]
    if not names:
        return talks, ""
    there = {root: sum((root / name).is_file() for name in names) for root in _roots(talks.file, folder)}
    root = max(there, key=there.__getitem__)
    if not there[root]:
        raise UserError(
            f"{talks.file} names pictures such as {names[0]}, and of {len(names)} that were looked for none is there; unpack them into "
            f"{talks.file.parent}."
        )
    lost = len(names) - there[root]
    found = replace(talks, images=root)
    return found, f"{lost} of {len(names)} pictures that were looked for are not there" if lost else ""


def _roots(file: Path, folder: Path) -> Iterator[Path]:
    """Folders that the pictures may be in, none above the data set's."""
    for place in (file.parent, file.parent.parent):
        if place == folder or folder in place.parents:
            yield place
            yield place / "images"
