"""The preset worlds: their numbers, their names, and what a killed drawing leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rice_core.store import Store
from rice_core.world.mini import WORLDS, World, draw, folder_name, training_world, world_called


def test_the_presets() -> None:
    assert list(WORLDS) == [
        *("mini", "mini-words", "mini-hard", "mini-lvis", "mini-rf100"),
        *("mini-videos", "mini-lasot", "mini-trackingnet", "mini-tnl2k"),
        *("mini-llava", "mini-refer"),
    ]
    scenes = [world for world in WORLDS.values() if world.layout in ("coco", "lvis")]
    assert {(world.train, world.val) for world in scenes} == {(600, 300)}
    suite = WORLDS["mini-rf100"]
    assert (suite.train, suite.val, suite.test) == (60, 30, 30)
    videos = WORLDS["mini-videos"]
    assert (videos.train, videos.val, videos.test, videos.size) == (60, 48, 6, 144)


def killed_drawing(worlds: Path, scenes: int) -> None:
    """A process that draws and is killed at its second scene."""
    code = f"""
import os, signal
from pathlib import Path
from rice_core.world.layouts import folder
from rice_core.world.mini import World, draw
write, drawn = folder._write_scene, []
def stop(*given):
    drawn.append(1)
    return os.kill(os.getpid(), signal.SIGKILL) if len(drawn) == 2 else write(*given)
folder._write_scene = stop
draw(World(name="mini", seed=0, train={scenes}, val=1), Path({str(worlds)!r}))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL


def test_killed_drawings_leave_nothing_to_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path)
    worlds = tmp_path / "worlds"
    for _ in range(3):
        killed_drawing(worlds, scenes=3)
    (left,) = worlds.iterdir()  # each cleared up after the one before
    assert left.name.startswith(".mini-seed0-3-1-96.")
    assert (left / "train" / "0000000.png").is_file()
    drawn = draw(World(name="mini", seed=0, train=3, val=1), worlds)
    assert list(worlds.iterdir()) == [drawn]
    # Of another world, nobody comes by: a run sweeps the whole store.
    killed_drawing(worlds, scenes=4)
    assert len(list(worlds.iterdir())) == 2
    assert store.sweep() == 1
    assert list(worlds.iterdir()) == [drawn]


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("mini-seed3-1-2-64", World(name="mini", seed=3, train=1, val=2, size=64)),
        ("mini-hard-seed0-600-300-96", WORLDS["mini-hard"]),
        ("mini-videos-seed0-60-48-144", WORLDS["mini-videos"]),
        ("mini-tnl2k-seed0-16-0-144", WORLDS["mini-tnl2k"]),
        ("mini-llava-seed0-1200-48-96", WORLDS["mini-llava"]),
        ("mini-train-hard-seed1002-9-0-96", training_world(2, scenes=9, level="hard")),
        ("mine-seed0-1-1-96", None),
        ("mini", None),
    ],
)
def test_a_world_is_known_by_its_folders_name(name: str, called: World | None) -> None:
    assert world_called(name) == called
    assert called is None or folder_name(called) == name
