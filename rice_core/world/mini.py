"""The preset miniature world of `--data mini` and of the demo; no torch is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rice_core.datasets import Dataset
    from rice_core.progress import Progress


@dataclass(frozen=True)
class World:
    """A world that is drawn from numbers alone: the same numbers give the same pixels."""

    name: str
    seed: int
    train: int
    val: int
    size: int = 96
    level: Literal["easy", "hard"] = "easy"
    annotate: Literal["objects", "syllables"] = "objects"


MINI = World(name="mini", seed=0, train=600, val=300)
WORLDS = {
    world.name: world
    for world in (
        MINI,
        # The same pictures; what is told apart are the syllables of their words.
        World(name="mini-words", seed=0, train=600, val=300, annotate="syllables"),
        World(name="mini-hard", seed=0, train=600, val=300, level="hard"),
    )
}
"""What --data takes beside folders."""


def training_world(number: int, *, scenes: int = 15_000, level: Literal["easy", "hard"] = "easy") -> World:
    """What an encoder of training seed `number` sees: a world of its own, of which the probes' worlds show no image."""
    name = "mini-train" if level == "easy" else f"mini-train-{level}"
    return World(name=name, seed=1000 + number, train=scenes, val=0, level=level)


# Noise is chance, random weights are a floor that is not chance, the shipped encoder is supervised on scenes of another
# seed, the oracle is the ceiling.
DEMO_ENCODERS = ("noise", "random-weights", "mini-supervised", "oracle")
DEMO_PROBES = (
    "knn?recipe=mini",
    "linear?recipe=mini",
    "linear-seg?grid=12&recipe=mini",
    "tokens?recipe=mini",
)


def draw(world: World, folder: Path, *, workers: int = 1, progress: Progress | None = None) -> Path:
    """Write the world below `folder` in COCO format, or find it there; returns its folder.

    `workers` processes draw; more than one needs an importable main module. The result does not depend on it.
    """
    from rice_core.world.layouts.coco import write_coco

    target = folder / f"{world.name}-seed{world.seed}-{world.train}-{world.val}-{world.size}"
    return write_coco(
        target,
        seed=world.seed,
        train=world.train,
        val=world.val,
        size=world.size,
        level=world.level,
        annotate=world.annotate,
        workers=workers,
        progress=progress,
    )


def open_data(text: str, worlds: Path) -> Dataset:
    """The data set that a name of WORLDS, drawn below `worlds`, or a folder stands for.

    Raises:
        UserError: the folder is not there or holds no layout that can be read.
    """
    from rice_core.datasets import open_dataset

    if text in WORLDS and not Path(text).is_dir():
        return open_dataset(draw(WORLDS[text], worlds), name=text)
    return open_dataset(Path(text).expanduser())
