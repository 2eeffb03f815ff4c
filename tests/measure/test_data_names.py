"""What --data takes: names of worlds in their layouts, and folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from rice_core.datasets import Video
from rice_core.errors import UserError
from rice_core.measure.data import open_data
from rice_core.world.mini import WORLDS


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """WORLDS, each of three scenes a split."""
    for name, world in list(WORLDS.items()):
        few = dataclasses.replace(world, train=3, val=2, test=2 * (world.layout not in ("coco", "lvis")))
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


def test_miniature_videos_are_read_as_what_they_are(worlds: Path) -> None:
    """Whole through: what is drawn is what the readers of the real data sets make of it."""
    flagged, hidden, from_1 = set(), set(), set()
    for name in ("mini-videos", "mini-lasot", "mini-trackingnet", "mini-tnl2k"):
        data = open_data(name, worlds)
        assert (data.spec.name, data.spec.layout) == (name, WORLDS[name].layout)
        counts = {"train": 3, "test": 2} | ({"val": 2} if name == "mini-videos" else {})
        assert {split: len(videos) for split, videos in data.splits.items()} == counts
        assert (data.provides, data.skipped) == ({"videos"}, ())
        for split, (video, *_) in data.splits.items():
            assert isinstance(video, Video)
            track = video.track()
            flagged |= {(name, split)} if track.flagged else set()
            from_1 |= {name} if video.origin == 1 else set()
            if len(track.boxes_T4) != len(video.frames):
                hidden.add((name, split, len(track.boxes_T4)))
    assert hidden == {("mini-videos", "test", 1), ("mini-trackingnet", "test", 1)}
    assert from_1 == {"mini-lasot"}
    assert flagged == {
        *(("mini-videos", split) for split in ("train", "val")),
        *(("mini-lasot", split) for split in ("train", "test")),
        ("mini-tnl2k", "test"),
    }


def test_chunks_of_train_are_no_class_folders_that_claim_one_split(worlds: Path) -> None:
    """TrackingNet has twelve; where nothing else knows such a folder it is refused as before."""
    assert open_data("mini-trackingnet", worlds).spec.layout == "trackingnet"
    for split in ("train_0", "train_1"):
        for kind in ("cat", "dog"):
            place = worlds / "pets" / split / kind
            place.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(place / "0.png")
    with pytest.raises(UserError, match=r"pets has two train folders, train_0 and train_1; keep one\.$"):
        open_data(str(worlds / "pets"), worlds)
