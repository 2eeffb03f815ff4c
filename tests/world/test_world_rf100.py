"""The miniature world in Roboflow 100's layout: seven data sets, one a domain, each Roboflow's COCO export."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from rice_core.datasets import open_suite
from rice_core.datasets.suites import rf100_domains
from rice_core.errors import UserError
from rice_core.images import load_image
from rice_core.world.layouts.rf100 import PARTS, write_rf100
from rice_core.world.scenes import Difficulty, draw_scene


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rf100(tmp_path_factory.mktemp("worlds") / "rf100", seed=0, train=8, valid=3, test=6)


def test_it_is_a_suite_with_one_data_set_a_domain(world: Path) -> None:
    suite = open_suite(world)
    assert suite.skipped == ()
    assert len(suite.missing) == 93
    assert sorted(suite.domain.values()) == sorted(set(rf100_domains().values()))
    for part in PARTS:
        dataset = suite.parts[part.name]
        assert dataset.classes == (part.name, *part.categories)
        assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 8, "val": 6}
        labels = {region.label for samples in dataset.splits.values() for s in samples for region in s.regions}
        assert labels
        assert 0 not in labels
    assert len({sample.size_hw for part in suite.parts.values() for sample in part.splits["val"]}) == 4
    assert len({(part.categories, part.level) for part in PARTS}) == len(PARTS)
    assert len({part.difficulty for part in PARTS}) > 4


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_file_is_a_roboflow_export(world: Path, part: object) -> None:
    for split, n in (("train", 8), ("valid", 3), ("test", 6)):
        path = world / part.name / split / "_annotations.coco.json"  # type: ignore[attr-defined]
        body = json.loads(path.read_text())
        assert {"info", "licenses"} < body.keys()
        first, *others = body["categories"]
        assert (first["id"], first["supercategory"]) == (0, "none")
        assert {category["supercategory"] for category in others} == {first["name"]}
        assert [image["id"] for image in body["images"]] == list(range(n))
        for image in body["images"]:
            assert re.fullmatch(r"\d+_png\.rf\.[0-9a-f]{32}\.jpg", image["file_name"])
            picture = load_image(path.parent / image["file_name"])
            assert (picture.height, picture.width) == (image["height"], image["width"])
        assert [annotation["id"] for annotation in body["annotations"]] == list(range(len(body["annotations"])))
        assert all(annotation["segmentation"] == [] for annotation in body["annotations"])
        assert all(annotation["category_id"] > 0 for annotation in body["annotations"])
        assert len(COCO(str(path)).getAnnIds()) == len(body["annotations"])


def test_boxes_are_the_scenes_and_no_scene_is_in_two_data_sets(world: Path) -> None:
    drawn = [path.name.split("_")[0] for path in world.rglob("*.jpg")]
    assert len(drawn) == len(set(drawn)) == 7 * 17
    part = next(part for part in PARTS if part.name == "apex-videogame")
    for sample in open_suite(world).parts[part.name].splits["train"]:
        index = int(sample.path.name.split("_")[0])
        scene = draw_scene(0, index, size=120, difficulty=Difficulty.at(part.difficulty), level="hard")
        lost = np.asarray(load_image(sample.path)).astype(int) - scene.pixels_HW3
        assert np.abs(lost).mean() < 4
        boxes = {thing.box_xywh for thing in scene.things}
        # A quarter of the hard level's textures is not annotated there.
        assert {region.box_xywh for region in sample.regions} <= boxes


def test_it_is_used_again_and_mended_and_takes_no_folder_of_others(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"seed": 2, "train": 1, "valid": 1, "test": 1}
    folder = write_rf100(tmp_path / "w", **asked)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    before = {name: (folder / name).read_bytes() for name in names}
    with monkeypatch.context() as patch:
        patch.setattr("rice_core.world.layouts.folder.draw_scene", lambda *a, **k: pytest.fail("drawn again"))
        write_rf100(folder, **asked)
    (folder / "marbles/test/_annotations.coco.json").unlink()
    write_rf100(folder, **asked)
    assert {name: (folder / name).read_bytes() for name in names} == before
    with pytest.raises(UserError, match="empty folder"):
        write_rf100(tmp_path, **asked)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
