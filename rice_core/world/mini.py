"""The preset miniature world of `--data mini` and of the demo; no torch is imported here."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rice_core.progress import Progress


@dataclass(frozen=True)
class World:
    """A world that is drawn from numbers alone: the same numbers give the same pixels."""

    name: str
    seed: int
    train: int
    val: int
    size: int = 96
    """Side of an image in pixels; of a video's frames the height, and their width is 4/3 of it."""
    level: Literal["easy", "hard"] = "easy"
    annotate: Literal["objects", "syllables"] = "objects"
    layout: Literal["coco", "lvis", "rf100", "got10k", "lasot", "trackingnet", "tnl2k", "llava", "refer"] = "coco"
    """rf100 is a suite: seven data sets, each of as many scenes. The next four hold videos: train, val and test count clips. llava: train counts
    captions, and conversations, val the questions of each benchmark. refer: all three count pictures with expressions."""
    test: int = 0
    """Of a suite, of videos and of expressions alone."""


MINI = World(name="mini", seed=0, train=600, val=300)
WORLDS = {
    world.name: world
    for world in (
        MINI,
        # The same pictures; what is told apart are the syllables of their words.
        World(name="mini-words", seed=0, train=600, val=300, annotate="syllables"),
        World(name="mini-hard", seed=0, train=600, val=300, level="hard"),
        # The same pictures once more, annotated with rare, common and frequent categories.
        World(name="mini-lvis", seed=0, train=600, val=300, layout="lvis"),
        World(name="mini-rf100", seed=0, train=60, val=30, test=30, layout="rf100"),
        World(name="mini-videos", seed=0, train=60, val=48, test=6, size=144, layout="got10k"),
        World(name="mini-lasot", seed=0, train=16, val=0, test=24, size=144, layout="lasot"),
        World(name="mini-trackingnet", seed=0, train=16, val=0, test=12, size=144, layout="trackingnet"),
        World(name="mini-tnl2k", seed=0, train=16, val=0, test=16, size=144, layout="tnl2k"),
        World(name="mini-llava", seed=0, train=1200, val=48, layout="llava"),
        World(name="mini-refer", seed=0, train=600, val=100, test=100, layout="refer"),
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
    """Write the world below `folder` in its layout, or find it there; returns its folder.

    `workers` processes draw; more than one needs an importable main module. The result does not depend on it.
    """
    from rice_core.world.layouts.coco import write_coco
    from rice_core.world.layouts.got10k import write_got10k
    from rice_core.world.layouts.lasot import write_lasot
    from rice_core.world.layouts.llava import write_llava
    from rice_core.world.layouts.lvis import write_lvis
    from rice_core.world.layouts.refer import write_refer
    from rice_core.world.layouts.rf100 import write_rf100
    from rice_core.world.layouts.tnl2k import write_tnl2k
    from rice_core.world.layouts.trackingnet import write_trackingnet

    target, train, val, test = folder / folder_name(world), world.train, world.val, world.test
    asked: dict[str, Any] = {"seed": world.seed, "size": world.size, "workers": workers, "progress": progress}
    match world.layout:
        case "coco":
            return write_coco(target, train=train, val=val, level=world.level, annotate=world.annotate, **asked)
        case "lvis":
            return write_lvis(target, train=train, val=val, level=world.level, **asked)
        case "rf100":
            return write_rf100(target, train=train, valid=val, test=test, **asked)
        case "got10k":
            return write_got10k(target, train=train, val=val, test=test, **asked)
        case "lasot":
            return write_lasot(target, train=train, test=test, **asked)
        case "trackingnet":
            return write_trackingnet(target, train=train, test=test, **asked)
        case "tnl2k":
            return write_tnl2k(target, train=train, test=test, **asked)
        case "llava":
            return write_llava(target, train=train, val=val, **asked)
        case "refer":
            return write_refer(target, train=train, val=val, test=test, **asked)


def folder_name(world: World) -> str:
    """Of a drawn world: its name and numbers."""
    return f"{world.name}-seed{world.seed}-{world.train}-{world.val}-{world.size}"


def world_called(name: str) -> World | None:
    """The world whose `folder_name` that is, of WORLDS or of a training; None where there is none."""
    match = re.fullmatch(r"(?P<world>.+)-seed(?P<seed>\d+)-(?P<train>\d+)-(?P<val>\d+)-(?P<size>\d+)", name)
    trained_on = {each.name: each for each in (training_world(0), training_world(0, level="hard"))}
    preset = (WORLDS | trained_on).get(match["world"]) if match else None
    if match is None or preset is None:
        return None
    seed, train, val, size = (int(match[number]) for number in ("seed", "train", "val", "size"))
    return replace(preset, seed=seed, train=train, val=val, size=size)
