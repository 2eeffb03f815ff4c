"""Temporaries: what a kill left goes, what a living process writes stays, and nothing else is touched."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rice_core.disk import temporaries
from rice_core.disk.files import write_atomically
from rice_core.disk.temporaries import beside, is_abandoned, sweep, sweep_beside

DAY = 24 * 3600


def renamed_host(path: Path) -> Path:
    """The same name, given on another machine."""
    return path.with_name(path.name.replace(temporaries._HOST, "elsewhere-1"))


def aged(path: Path, seconds: float) -> Path:
    for each in (path, *path.rglob("*")):
        os.utime(each, (time.time() - seconds,) * 2)
    return path


def test_files_and_folders_of_dead_processes_go_and_nothing_else(tmp_path: Path, left_by_a_dead_process) -> None:
    deep = tmp_path / "worlds" / "deep"
    deep.mkdir(parents=True)
    dead_file, dead_folder = left_by_a_dead_process(deep / "a.json"), left_by_a_dead_process(tmp_path / "worlds" / "w")
    dead_file.write_bytes(b"half")
    (dead_folder / "train").mkdir(parents=True)
    (dead_folder / "train" / "0.png").write_bytes(b"half")
    mine_file, mine_folder = beside(deep / "a.json"), beside(tmp_path / "w")
    mine_file.write_bytes(b"half")
    mine_folder.mkdir()
    others = [deep / name for name in (".x.tmp", "x.tmp", ".a.host.12.tmp", ".vimrc.swp", ".a.b.0.zzzzzzzz.tmp")]
    for other in others:
        other.write_bytes(b"precious")
        aged(other, 30 * DAY)
    assert sweep(tmp_path) == 2
    assert not dead_file.exists()
    assert not dead_folder.exists()
    assert mine_file.exists()
    assert mine_folder.exists()
    assert all(other.exists() for other in others)


def test_a_number_that_another_process_has_now_is_no_life(tmp_path: Path) -> None:
    """The parent's number is alive, but the process that began at tick 1 is long gone."""
    name = beside(tmp_path / "a.json").name
    pid, began = str(os.getpid()), temporaries._of_process(os.getpid())[1]
    assert began is not None
    assert f".{pid}-{began}." in name
    reused = tmp_path / name.replace(f".{pid}-{began}.", f".{pid}-1.")
    reused.touch()
    own = tmp_path / name
    own.touch()
    assert (is_abandoned(reused), is_abandoned(own)) == (True, False)


def test_a_process_that_was_killed_and_never_asked_after_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = temporaries._of_process(child.pid)[1]
    assert temporaries.is_alive(child.pid, began)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    assert not temporaries.is_alive(child.pid, began)
    child.wait()


@pytest.mark.parametrize(("hours", "goes"), [(23, False), (25, True)])
def test_another_machines_goes_when_it_is_old(tmp_path: Path, hours: int, goes: bool) -> None:
    folder = renamed_host(beside(tmp_path / "world"))
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "0.png").write_bytes(b"half")
    aged(folder, 30 * DAY)
    os.utime(folder / "train" / "0.png", (time.time() - 3600 * hours,) * 2)  # the last that was drawn
    assert sweep(tmp_path) == goes
    assert folder.exists() == (not goes)


@pytest.mark.parametrize(
    "name",
    [
        ".mini-seed0-600-300-96.0123abcd.tmp",
        ".mini-seed0-600-300-96.0123abcd.old.tmp",
        ".step-00000012.tmp",
        ".encoder.tmp",
        ".shard-000003.tar.tmp",
        ".head.safetensors.0123abcd.tmp",
    ],
)
def test_what_earlier_versions_left_goes_when_it_is_old(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    aged(tmp_path / name, 3600)
    assert sweep(tmp_path) == 0
    aged(tmp_path / name, 25 * 3600)
    assert sweep(tmp_path) == 1
    assert not (tmp_path / name).exists()


def test_links_are_neither_followed_nor_removed(tmp_path: Path, left_by_a_dead_process) -> None:
    outside, store = tmp_path / "outside", tmp_path / "store"
    outside.mkdir()
    store.mkdir()
    dead = left_by_a_dead_process(store / "a")
    precious = outside / dead.name
    precious.write_bytes(b"precious")
    dead.symlink_to(outside)
    (store / "linked").symlink_to(outside)
    assert sweep(store) == 0
    assert precious.read_bytes() == b"precious"
    assert dead.is_symlink()
    inside = left_by_a_dead_process(store / "b")
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    assert sweep(store) == 1
    assert not inside.exists()
    assert precious.read_bytes() == b"precious"


def test_beside_a_name_only_its_own_are_swept(tmp_path: Path, left_by_a_dead_process) -> None:
    mini, longer = (left_by_a_dead_process(tmp_path / name) for name in ("mini", "mini.v2"))
    mini.mkdir()
    longer.mkdir()
    assert sweep_beside(tmp_path / "mini") == 1
    assert (mini.exists(), longer.exists()) == (False, True)


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "x\n.y", "a.b.c"])
def test_any_name_that_a_file_can_have_can_be_written_and_recognised(
    tmp_path: Path, name: str, left_by_a_dead_process
) -> None:
    write_atomically(tmp_path / name, b"1")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    left_by_a_dead_process(tmp_path / name).touch()
    assert sweep(tmp_path) == 1
