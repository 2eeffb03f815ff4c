"""What --data takes: names of worlds in their layouts, and folders."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rice_core.datasets import limit
from rice_core.errors import UserError
from rice_core.store import Store
from rice_core.world.mini import (
    WORLDS,
    World,
    draw,
    folder_name,
    is_suite,
    open_data,
    open_suite_data,
    training_world,
    world_called,
)


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """WORLDS, each of three scenes a split."""
    for name, world in list(WORLDS.items()):
        few = dataclasses.replace(world, train=3, val=2, test=2 * (world.layout == "rf100"))
        monkeypatch.setitem(WORLDS, name, few)
    return tmp_path


def test_the_presets() -> None:
    assert list(WORLDS) == ["mini", "mini-words", "mini-hard", "mini-lvis", "mini-rf100"]
    assert {(world.train, world.val) for world in WORLDS.values() if world.layout != "rf100"} == {(600, 300)}
    suite = WORLDS["mini-rf100"]
    assert (suite.train, suite.val, suite.test) == (60, 30, 30)


def test_each_layout_is_opened_by_its_name(worlds: Path) -> None:
    mini, lvis = open_data("mini", worlds), open_data("mini-lvis", worlds)
    assert [data.spec.name for data in (mini, lvis)] == ["mini", "mini-lvis"]
    assert [data.annotations["val"].name for data in (mini, lvis)] == ["instances_val.json", "lvis_v1_val.json"]
    suite = open_suite_data("mini-rf100", worlds)
    assert suite.name == "mini-rf100"
    assert {tuple(map(len, part.splits.values())) for part in suite.parts.values()} == {(3, 2)}
    assert "test" in str(suite.parts["marbles"].annotations["val"])
    assert "valid" in str(open_suite_data("mini-rf100", worlds, judge="val").parts["marbles"].annotations["val"])


def test_a_suite_is_told_from_a_data_set(worlds: Path) -> None:
    assert is_suite("mini-rf100")
    assert not is_suite("mini-lvis")
    assert not is_suite(str(worlds))
    joined = open_data("mini-rf100", worlds)
    assert joined.provides == {"suite"}
    assert len(joined.parts) == 7
    assert {sample.id.split("/")[0] for sample in joined.splits["val"]} == set(joined.parts)
    assert len(joined.splits["train"]) == sum(len(part.splits["train"]) for part in joined.parts.values())
    few = limit(joined, 1)
    assert len(few.splits["val"]) == 7
    assert all(len(part.splits["val"]) == 1 for part in few.parts.values())
    (folder,) = worlds.iterdir()
    assert is_suite(str(folder))
    assert open_suite_data(str(folder), worlds).name == folder.name
    assert open_data(str(folder / "marbles"), worlds).spec.name == "marbles"


def test_a_folder_of_a_worlds_name_is_that_folder(worlds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (worlds / "mini-rf100").mkdir()
    monkeypatch.chdir(worlds)
    assert not is_suite("mini-rf100")
    with pytest.raises(UserError, match="holds no images"):
        open_data("mini-rf100", worlds)


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
        ("mini-train-hard-seed1002-9-0-96", training_world(2, scenes=9, level="hard")),
        ("mine-seed0-1-1-96", None),
        ("mini", None),
    ],
)
def test_a_world_is_known_by_its_folders_name(name: str, called: World | None) -> None:
    assert world_called(name) == called
    assert called is None or folder_name(called) == name
