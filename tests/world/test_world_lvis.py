"""The miniature world in LVIS's layout: the COCO layout's scenes, a long tail, and what was looked for."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lvis import LVIS, LVISEval, LVISResults

from rice_core.datasets import open_dataset
from rice_core.images import load_image
from rice_core.world.layouts.coco import VAL_START, write_coco
from rice_core.world.layouts.folder import read_manifest
from rice_core.world.layouts.lvis import LOOKED_FOR, tail, write_lvis
from rice_core.world.scenes import draw_scene

TRAIN, VAL = 600, 48


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lvis(tmp_path_factory.mktemp("worlds") / "lvis", seed=0, train=TRAIN, val=VAL)


def body(folder: Path, split: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / f"annotations/lvis_v1_{split}.json").read_text())
    return read


def found(annotations: list[dict[str, Any]]) -> dict[int, dict[int, list[dict[str, Any]]]]:
    """Image -> category -> annotations."""
    images: dict[int, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for annotation in annotations:
        images[annotation["image_id"]][annotation["category_id"]].append(annotation)
    return images


def test_the_reader_gives_back_the_same_scenes(world: Path) -> None:
    dataset = open_dataset(world)
    assert dataset.skipped == ()
    assert dataset.classes == tuple(kind.name for kind in tail("easy"))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": TRAIN, "val": VAL}
    assert {sample.id.split("/")[0] for sample in dataset.splits["train"]} == {"train2017"}
    folders = [sample.id.split("/")[0] for sample in dataset.splits["val"]]
    assert folders.count("train2017") == 3 * folders.count("val2017") > 0
    kind_of = {number: label for label, kind in enumerate(tail("easy")) for number in kind.of}
    for sample in dataset.splits["val"][:3]:
        assert isinstance(sample.key, int)
        scene = draw_scene(0, sample.key)
        np.testing.assert_array_equal(np.asarray(load_image(sample.path)), scene.pixels_HW3)
        truth = [(thing.box_xywh, kind_of[thing.category]) for thing in scene.things]
        assert {(region.box_xywh, region.label) for region in sample.regions} <= set(truth)


def test_an_image_entry_is_lvis_v1s(world: Path) -> None:
    for entry in body(world, "val")["images"]:
        assert "file_name" not in entry
        assert entry["coco_url"].endswith(f"2017/{entry['id']:012d}.png")
        assert {"height", "width", "neg_category_ids", "not_exhaustive_category_ids"} < entry.keys()
    assert all("iscrowd" not in annotation for annotation in body(world, "val")["annotations"])


def test_counts_are_of_train_and_true_and_make_a_long_tail(world: Path) -> None:
    train, val = body(world, "train"), body(world, "val")
    assert train["categories"] == val["categories"]
    images = found(train["annotations"])
    frequencies = []
    for category in train["categories"]:
        shown = [image[category["id"]] for image in images.values() if category["id"] in image]
        assert category["image_count"] == len(shown)
        assert category["instance_count"] == sum(map(len, shown))
        assert category["frequency"] == ("r" if len(shown) <= 10 else "c" if len(shown) <= 100 else "f")
        assert {"synset", "synonyms", "def"} < category.keys()
        frequencies.append(category["frequency"])
    assert {frequency: frequencies.count(frequency) for frequency in "rcf"} == {"r": 12, "c": 24, "f": 4}
    assert {category["image_count"] for category in train["categories"]} > {1, 2, 3, 5, 7, 10}


def test_what_was_looked_for_is_not_there_and_what_is_left_out_is_named(world: Path) -> None:
    """Of a category that an image does not name at all, it may show objects: nobody has looked."""
    kind_of = {number: k for k, kind in enumerate(tail("easy"), start=1) for number in kind.of}
    partly = 0
    for split in ("train", "val"):
        images = found(body(world, split)["annotations"])
        for entry in body(world, split)["images"]:
            shown = [kind_of[thing.category] for thing in draw_scene(0, entry["id"]).things] if split == "val" else []
            annotated, absent = images[entry["id"]], entry["neg_category_ids"]
            assert LOOKED_FOR[0] <= len(absent) <= LOOKED_FOR[1]
            assert not set(absent) & {*annotated, *shown}
            assert set(entry["not_exhaustive_category_ids"]) <= annotated.keys()
            partly += len(entry["not_exhaustive_category_ids"])
            for category in set(shown):
                left_out = shown.count(category) - len(annotated[category])
                assert (left_out > 0) == (category in entry["not_exhaustive_category_ids"])
    assert partly > 5
    first = {thing.category: index for index in range(60) for thing in draw_scene(0, index).things}
    images = found(body(world, "train")["annotations"])
    unlooked = sum(kind_of[category] not in images[index] for category, index in first.items())
    assert unlooked > 5


def test_the_lvis_package_gives_the_truth_full_marks(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "float", float, raising=False)  # lvis 0.5.3 was written for an older numpy
    truth = LVIS(str(world / "annotations/lvis_v1_val.json"))
    fields = ("image_id", "category_id", "bbox", "segmentation")
    results = [{key: a[key] for key in fields} | {"score": 0.9} for a in body(world, "val")["annotations"]]
    judge = LVISEval(truth, LVISResults(truth, results), "segm")
    judge.run()
    scores = judge.get_results()
    assert [scores[key] for key in ("AP", "APr", "APc", "APf")] == pytest.approx([1.0] * 4)


def test_neither_workers_nor_the_size_of_train_change_val(world: Path) -> None:
    one = write_lvis(world.parent / "one", seed=3, train=6, val=4)
    two = write_lvis(world.parent / "two", seed=3, train=6, val=4, workers=2)
    names = sorted(path.relative_to(one) for path in one.rglob("*.*"))
    assert names == sorted(path.relative_to(two) for path in two.rglob("*.*"))
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    more = write_lvis(world.parent / "more", seed=3, train=7, val=4)
    assert body(one, "val")["images"] == body(more, "val")["images"]
    assert body(one, "val")["annotations"] == body(more, "val")["annotations"]


def test_a_world_of_another_layout_is_no_world_of_this_one(world: Path) -> None:
    folder = world.parent / "turned"
    for write, name in ((write_coco, "instances"), (write_lvis, "lvis_v1"), (write_coco, "instances")):
        write(folder, seed=1, train=2, val=1)
        assert (folder / f"annotations/{name}_train.json").is_file()
    pixels = {read_manifest(write(folder, seed=1, train=2, val=1)).pixels for write in (write_coco, write_lvis)}  # type: ignore[union-attr]
    assert len(pixels) == 1


def test_the_hard_level_has_its_own_tail(tmp_path: Path) -> None:
    folder = write_lvis(tmp_path / "hard", seed=0, train=2, val=1, level="hard", difficulty=0.3)
    assert len(open_dataset(folder).classes) == len(tail("hard")) == 6 + 6 * 4 + 48
    assert (folder / "train2017" / f"{VAL_START:012d}.png").exists() != (
        folder / "val2017" / f"{VAL_START:012d}.png"
    ).exists()
