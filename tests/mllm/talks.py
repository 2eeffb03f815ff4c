"""A small data set of conversations about pictures of one colour, and what a stage is handed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from rice_core.datasets.nouns import Conversation, Dataset, Turn
from rice_core.ranks import Ranks
from rice_core.spec import DatasetSpec

ALONE = Ranks(0, 1, torch.device("cpu"))
COLOURS = ("red", "green", "blue", "yellow")


def talks(folder: Path, n: int = 10, text_alone: tuple[int, ...] = (3, 7)) -> Dataset:
    """Splits `align` and `instruct` of n conversations; some of the second have no picture."""
    folder.mkdir(parents=True, exist_ok=True)
    captions, asked = [], []
    for k in range(n):
        colour, path = COLOURS[k % len(COLOURS)], folder / f"{k}.png"
        Image.new("RGB", (40 + 7 * k, 60 - 3 * k), colour).save(path)
        caption = Turn("user", "<image>\nDescribe the image concisely."), Turn("assistant", f"a {colour} picture")
        captions.append(Conversation(f"align/{k}", caption, (path,)))
        if k in text_alone:
            turns, images = (Turn("user", "Hi"), Turn("assistant", "Yes")), ()
        else:
            turns = Turn("user", "<image>\nWhat colour is the picture?"), Turn("assistant", colour)
            images = (path,)
        asked.append(Conversation(f"instruct/{k}", turns, images))
    spec = DatasetSpec(name="talks", layout="llava", fingerprint="f")
    splits: Any = {"align": tuple(captions), "instruct": tuple(asked)}
    return Dataset(spec, (), splits, frozenset({"conversations"}))


def stage_work(folder: Path, stop: int | None = None, ranks: Ranks = ALONE) -> Any:
    """Stops with a KeyboardInterrupt before that step; `said` is what was left out."""
    said: dict[str, str] = {}

    def progress(sequence: Any, what: str) -> Any:
        for each in sequence:
            if each == stop:
                raise KeyboardInterrupt
            yield each

    def skip(item: str, reason: str, times: int = 1) -> None:
        said[item] = reason

    return SimpleNamespace(
        ranks=ranks, folder=folder, companions=(), workers=0, progress=progress, skip=skip, said=said
    )
