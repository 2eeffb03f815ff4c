"""What --data takes: names of worlds in their layouts, and folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rice_core.errors import UserError
from rice_core.measure.data import open_data
from rice_core.world.mini import WORLDS


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """WORLDS, each of three scenes a split."""
    for name, world in list(WORLDS.items()):
        few = dataclasses.replace(world, train=3, val=2, test=2 * (world.layout == "rf100"))
        monkeypatch.setitem(WORLDS, name, few)
    return tmp_path


def test_each_layout_is_opened_by_its_name(worlds: Path) -> None:
    mini, lvis = open_data("mini", worlds), open_data("mini-lvis", worlds)
    assert [data.spec.name for data in (mini, lvis)] == ["mini", "mini-lvis"]
    assert [data.annotations["val"].name for data in (mini, lvis)] == ["instances_val.json", "lvis_v1_val.json"]
    suite = open_data("mini-rf100", worlds)
    assert suite.spec.name == "mini-rf100"
    assert {tuple(map(len, part.splits.values())) for part in suite.parts.values()} == {(3, 2)}
    assert "test" in str(suite.parts["marbles"].annotations["val"])


def test_a_suite_is_told_from_a_data_set(worlds: Path) -> None:
    assert not open_data("mini-lvis", worlds / "lvis").parts
    joined = open_data("mini-rf100", worlds)
    assert joined.provides == {"suite"}
    assert len(joined.parts) == 7
    assert {sample.id.split("/")[0] for sample in joined.splits["val"]} == set(joined.parts)
    assert len(joined.splits["train"]) == sum(len(part.splits["train"]) for part in joined.parts.values())
    few = open_data("mini-rf100", worlds, limit=1)
    assert len(few.splits["val"]) == 7
    assert all(len(part.splits["val"]) == 1 for part in few.parts.values())
    (folder,) = worlds.glob("mini-rf100*")
    assert open_data(str(folder), worlds).spec.name == folder.name
    assert open_data(str(folder / "marbles"), worlds).spec.name == "marbles"


def test_a_folder_of_a_worlds_name_is_that_folder(worlds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (worlds / "mini-rf100").mkdir()
    monkeypatch.chdir(worlds)
    with pytest.raises(UserError, match="holds no images"):
        open_data("mini-rf100", worlds)
