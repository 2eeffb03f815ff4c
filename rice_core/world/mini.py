"""The preset miniature world of `--data mini` and of the demo; no torch is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class World:
    """A world that is drawn from numbers alone: the same numbers give the same pixels."""

    name: str
    seed: int
    train: int
    val: int
    size: int = 96


MINI = World(name="mini", seed=0, train=600, val=300)

# Noise is chance, random weights are a floor that is not chance, the shipped encoder is supervised on scenes of another
# seed, the oracle is the ceiling.
DEMO_ENCODERS = ("noise", "random-weights", "mini-supervised", "oracle")
DEMO_PROBES = (
    "knn?recipe=mini",
    "linear?recipe=mini",
    "linear-seg?grid=12&recipe=mini",
    "tokens?recipe=mini",
)


def draw(world: World, folder: Path) -> Path:
    """Write the world below `folder` in COCO format, or find it there; returns its folder."""
    from rice_core.world.layouts.coco import write_coco

    target = folder / f"{world.name}-seed{world.seed}-{world.train}-{world.val}-{world.size}"
    return Path(write_coco(target, seed=world.seed, train=world.train, val=world.val, size=world.size))
