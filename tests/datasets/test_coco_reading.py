"""COCO-format folders: every bad entry is named with its reason and costs no other one."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from rice_core.datasets import Dataset, data_digest, label_map, open_dataset, region_mask
from rice_core.datasets.digests import fingerprint
from rice_core.datasets.regions import ANY, ANYWHERE
from rice_core.digest import file_digest
from rice_core.errors import UserError
from rice_core.features import BACKGROUND, IGNORE

SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]


def instances(n: int = 5, start: int = 0) -> dict[str, Any]:
    """n images of 30 x 20 pixels with one good object each."""
    images = [{"id": k, "file_name": f"{k}.png", "width": 30, "height": 20} for k in range(start, start + n)]
    annotations = [
        {"id": 10 * k, "image_id": k, "category_id": 7, "bbox": [2, 3, 10, 10], "segmentation": [SQUARE], "iscrowd": 0}
        for k in range(start, start + n)
    ]
    categories = [{"id": 9, "name": "cat"}, {"id": 7, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def write(folder: Path, body: dict[str, Any], annotation: str, images: str) -> None:
    (folder / annotation).parent.mkdir(parents=True, exist_ok=True)
    (folder / annotation).write_text(json.dumps(body))
    (folder / images).mkdir(parents=True, exist_ok=True)
    for image in body["images"]:
        name = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(name, str) and name.strip() and ".." not in name and not name.startswith("/"):
            Image.new("RGB", (30, 20)).save(folder / images / Path(name).name)


def read(folder: Path, body: dict[str, Any]) -> Dataset:
    write(folder, body, "annotations/instances_train.json", "train")
    return open_dataset(folder)


def samples(dataset: Dataset) -> dict[str, Any]:
    return {sample.id: sample for split in dataset.splits.values() for sample in split}


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        (("annotations/instances_train2017.json", "annotations/instances_val2017.json"), ("train2017", "val2017")),
        (("annotations/instances_train.json", "annotations/instances_val.json"), ("train2017", "val2017")),
        (("annotations/instances_train2017.json", "annotations/instances_val2017.json"), ("train", "val")),
        (("annotations/instances_train.json", "annotations/instances_val.json"), ("images/train", "images/val")),
        (("annotations/instances_train.json", "annotations/instances_val.json"), ("images", "images")),
        (("train/_annotations.coco.json", "valid/_annotations.coco.json"), ("train", "valid")),
        (("train/_annotations.coco.json", "test/_annotations.coco.json"), ("train", "test")),
    ],
)
def test_the_places_where_annotations_and_images_are(
    tmp_path: Path, annotations: tuple[str, str], images: tuple[str, str]
) -> None:
    for start, annotation, folder in zip((0, 50), annotations, images, strict=True):
        write(tmp_path, instances(3, start), annotation, folder)
    dataset = open_dataset(tmp_path)
    assert dataset.spec.layout == "coco"
    assert dataset.skipped == ()
    assert [s.id for s in dataset.splits["train"]] == [f"{images[0]}/{k}.png" for k in range(3)]
    assert [s.id for s in dataset.splits["val"]] == [f"{images[1]}/{k}.png" for k in range(50, 53)]
    assert dataset.provides == {"labels", "regions", "dense-labels"}


def test_classes_go_by_category_id_and_are_joined_by_name(tmp_path: Path) -> None:
    write(tmp_path, instances(2), "annotations/instances_train.json", "train")
    other = instances(2, 50)
    other["categories"] = [{"id": 1, "name": "emu"}, {"id": 7, "name": "cat"}]
    write(tmp_path, other, "annotations/instances_val.json", "val")
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ("dog", "cat", "emu")
    assert dataset.splits["train"][0].regions[0].label == 0
    assert dataset.splits["val"][0].regions[0].label == 1


def test_a_test_split_beside_val_is_left_out_and_listed(tmp_path: Path) -> None:
    for start, split in enumerate(("train", "valid", "test", "extra")):
        write(tmp_path, instances(2, 10 * start), f"{split}/_annotations.coco.json", split)
    dataset = open_dataset(tmp_path)
    assert {s.item.split("/")[0]: s.reason for s in dataset.skipped} == {
        "test": "is a test split beside a val split",
        "extra": "is neither train nor val",
    }
    assert [s.id for s in dataset.splits["val"]] == ["valid/10.png", "valid/11.png"]


def test_two_train_sets_are_refused(tmp_path: Path) -> None:
    for split in ("train2014", "train2017"):
        write(tmp_path, instances(2), f"annotations/instances_{split}.json", split)
    with pytest.raises(UserError, match="two train sets, train2014 and train2017"):
        open_dataset(tmp_path)


def test_one_file_is_divided(tmp_path: Path) -> None:
    write(tmp_path, instances(20), "annotations/instances_default.json", "images")
    dataset = open_dataset(tmp_path)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 16, "val": 4}


NO_MASK = {"segmentation": []}
# What is changed in annotation 2, and the words of the reason.
IGNORED: list[tuple[dict[str, Any], str]] = [
    ({"bbox": [40, 3, 5, 5]}, "box outside the image"),
    ({"bbox": [-50, 3, 5, 5]}, "box outside the image"),
    ({"bbox": [27, 3, 10, 5]}, "mostly outside"),
    ({"bbox": [2, 3, 0, 5]}, "without area"),
    ({"bbox": [2, 3, 5, -1]}, "without area"),
    ({"bbox": [2, 3, float("nan"), 5]}, "not finite"),
    ({"bbox": [2, float("-inf"), 5, 5]}, "not finite"),
    ({"bbox": [2, 3, 5]}, "four numbers"),
    ({"bbox": [2, 3, 5, "x"]}, "four numbers"),
    ({"bbox": [2, 3, 5, 10**400]}, "four numbers"),
    ({"bbox": None}, "four numbers"),
    ({"category_id": 8}, "unknown category"),
    ({"category_id": [7]}, "unknown category"),
]
MENDED: list[tuple[dict[str, Any], str]] = [
    ({"bbox": [40, 3, 5, 5]}, "box outside the image"),
    ({"bbox": None}, "four numbers"),
    ({"bbox": ["2", "3", "10", "10"]}, "box of text"),
    ({"id": 10}, "id of an earlier annotation"),
    ({"category_id": "7"}, "names '7'"),
    ({"segmentation": [SQUARE, [1, 2, 3, 4]]}, "fewer than three points beside others"),
    ({"segmentation": SQUARE}, "not lists of x, y, x, y"),
]
NO_MASKS: list[tuple[dict[str, Any], str]] = [
    ({"segmentation": [SQUARE[:7]]}, "three or more"),
    ({"segmentation": [SQUARE[:4]]}, "three or more"),
    ({"segmentation": [[]]}, "three or more"),
    ({"segmentation": [[*SQUARE[:6], "x", 1]]}, "three or more"),
    ({"segmentation": [[*SQUARE[:6], float("nan"), 1]]}, "not finite"),
    ({"segmentation": [[0, 0, 1e9, 0, 1e9, 1e9]]}, "far outside"),
    ({"segmentation": [[1, 1, 5, 5, 9, 9]]}, "without area"),
    ({"segmentation": "mask.png"}, "neither polygons nor run lengths"),
    ({"segmentation": {"counts": [600]}}, "without a size"),
    ({"segmentation": {"size": [30, 20], "counts": [0, 600]}}, "20 x 30 pixels"),
    ({"segmentation": {"size": [20, 30], "counts": [0, 5]}}, "do not fill"),
    ({"segmentation": {"size": [20, 30], "counts": "0"}}, "do not fill"),
    ({"segmentation": {"size": [20, 30], "counts": "P"}}, "cannot be read"),
    ({"segmentation": {"size": [20, 30], "counts": [-1, 601]}}, "cannot be read"),
    ({"segmentation": {"size": [20, 30], "counts": [600]}}, "cover no pixel"),
]


@pytest.mark.parametrize(("change", "reason"), IGNORED)
def test_truth_that_cannot_be_used_is_ignored_and_costs_no_other(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    body = instances(3)
    body["annotations"][2] |= NO_MASK | change
    dataset = read(tmp_path, body)
    (skipped,) = dataset.skipped
    assert reason in skipped.reason
    assert skipped.reason.endswith("and is ignored: neither object nor background")
    assert skipped.item.startswith("annotations/instances_train.json: annotation")
    found = samples(dataset)
    assert [len(found[f"train/{k}.png"].regions) for k in range(3)] == [1, 1, 0]
    (ignored,) = found["train/2.png"].crowds
    assert ignored.label == ANY
    labels = label_map(found["train/2.png"], (20, 30), (20, 30))
    assert set(np.unique(labels)) <= {BACKGROUND, IGNORE}
    if ignored.box_xywh == ANYWHERE:
        assert (labels == IGNORE).all()


@pytest.mark.parametrize(("change", "reason"), [*MENDED, *NO_MASKS])
def test_a_flaw_costs_the_field_that_has_it(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    body = instances(3)
    body["annotations"][2] |= change
    dataset = read(tmp_path, body)
    assert dataset.skipped == ()
    assert any(note.startswith("annotations/instances_train.json, ") and reason in note for note in dataset.notes)
    (region,) = samples(dataset)["train/2.png"].regions
    assert region.box_xywh == (2, 3, 10, 10)
    assert region.segmentation == (None if (change, reason) in NO_MASKS else [SQUARE])


def test_an_annotation_of_no_image_is_listed(tmp_path: Path) -> None:
    body = instances(3)
    body["annotations"][1]["image_id"], body["annotations"][2]["image_id"] = 99, None
    dataset = read(tmp_path, body)
    assert ["no image of the file" in skip.reason for skip in dataset.skipped] == [True, True]


BAD_IMAGES: list[tuple[dict[str, Any], str]] = [
    ({"file_name": "../train/2.png"}, "leaves the folder"),
    ({"file_name": "a/../../2.png"}, "leaves the folder"),
    ({"file_name": "/etc/passwd"}, "leaves the folder"),
    ({"file_name": "..\\2.png"}, "leaves the folder"),
    ({"file_name": "C:\\2.png"}, "leaves the folder"),
    ({"file_name": "2.png\0"}, "leaves the folder"),
    ({"file_name": "\udc80.png"}, "no valid Unicode"),
    ({"file_name": "none/9.png"}, "has no file"),
    ({"file_name": "."}, "has no file"),
    ({"file_name": ""}, "no file_name"),
    ({"file_name": 5}, "no file_name"),
    ({"file_name": "1.png"}, "as an earlier image does"),
    ({"file_name": None, "coco_url": None}, "no file_name and no coco_url"),
    ({"file_name": None, "coco_url": "2.png"}, "without folder and file"),
    ({"file_name": None, "coco_url": "http://x//2.png"}, "without folder and file"),
    ({"file_name": None, "coco_url": "http://x/../2.png"}, "leaves the folder"),
    ({"file_name": None, "coco_url": "http://x/train/..\\2.png"}, "leaves the folder"),
    ({"file_name": None, "coco_url": "http://x/train/\udc80.png"}, "no valid Unicode"),
    ({"file_name": None, "coco_url": "http://x/train/9.png"}, "has no file '9.png'"),
    ({"id": 1}, "id of an earlier image"),
    ({"id": None}, "no usable id"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_IMAGES)
def test_a_bad_image_is_listed_and_costs_no_other(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    write(tmp_path, instances(3), "annotations/instances_train.json", "train")
    body = instances(3)
    body["images"][2] |= change
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(body))
    dataset = open_dataset(tmp_path)
    assert any(reason in skipped.reason for skipped in dataset.skipped)
    assert sorted(samples(dataset)) == ["train/0.png", "train/1.png"]


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"width": "30"}, {"height": float("nan")}, {"width": 10**6, "height": 10**6}]
)
def test_an_image_without_a_usable_size_is_read_without(tmp_path: Path, change: dict[str, Any]) -> None:
    body = instances(3)
    body["images"][2] |= change
    dataset = read(tmp_path, body)
    assert [samples(dataset)[f"train/{k}.png"].size_hw for k in range(3)] == [(20, 30), (20, 30), None]
    assert any("images without a usable size: 1 (the first: image 2 has" in note for note in dataset.notes)


def test_annotations_of_a_left_out_image_are_not_listed_again(tmp_path: Path) -> None:
    write(tmp_path, instances(3), "annotations/instances_train.json", "train")
    (tmp_path / "train/0.png").unlink()
    dataset = open_dataset(tmp_path)
    assert [skipped.item.split(": ")[1] for skipped in dataset.skipped] == ["image 0"]


def test_samples_know_their_entry_and_the_splits_their_file(tmp_path: Path) -> None:
    body = instances(2)
    body["images"][1]["id"] = body["annotations"][1]["image_id"] = "b"
    write(tmp_path, body, "annotations/instances_train.json", "train")
    write(tmp_path, instances(1, 50), "annotations/instances_val.json", "val")
    dataset = open_dataset(tmp_path)
    assert {sample.id: sample.key for sample in samples(dataset).values()} == {
        "train/0.png": 0,
        "train/1.png": "b",
        "val/50.png": 50,
    }
    files = {split: tmp_path / f"annotations/instances_{split}.json" for split in ("train", "val")}
    assert dataset.annotations == files
    # Neither is part of what a record is keyed by.
    bare = {split: tuple(replace(s, key=None) for s in part) for split, part in dataset.splits.items()}
    assert data_digest(replace(dataset, splits=bare, annotations={})) == data_digest(dataset)
    digests = {path.relative_to(tmp_path).as_posix(): file_digest(path) for path in files.values()}
    assert fingerprint("coco", dataset.classes, bare, digests) == dataset.spec.fingerprint


def test_both_parts_of_a_divided_file_name_it(tmp_path: Path) -> None:
    dataset = read(tmp_path, instances(5))
    assert dataset.annotations == dict.fromkeys(("train", "val"), tmp_path / "annotations/instances_train.json")


def test_the_fingerprint_and_digest_of_a_folder_are_what_they_were(tmp_path: Path) -> None:
    """Records are keyed by them."""
    write(tmp_path, instances(3), "annotations/instances_train.json", "train")
    write(tmp_path, instances(2, 50), "annotations/instances_val.json", "val")
    dataset = open_dataset(tmp_path, name="x")
    files = {sample.id: "" for sample in samples(dataset).values()}
    assert dataset.spec.fingerprint == "89563cc32672f9bcdb96"
    assert data_digest(dataset, files).startswith("410bbdadac9ac028")


def test_entries_that_are_no_objects(tmp_path: Path) -> None:
    body = instances(3)
    body["images"].append("x")
    body["annotations"].append(None)
    body["categories"] += [[], {"id": 7, "name": "again"}, {"id": 3}]
    dataset = read(tmp_path, body)
    assert len(dataset.skipped) == 4
    assert dataset.classes == ("category 3", "dog", "cat")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"images": 3, "annotations": [], "categories": []}',
        '{"images": [], "annotations": {}, "categories": []}',
        "[" * 100_000,
    ],
)
def test_a_file_that_is_not_coco_is_a_user_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train.json").write_text(text)
    with pytest.raises(UserError, match="export it again"):
        open_dataset(tmp_path)


def test_no_image_left_names_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(instances(2)))
    with pytest.raises(UserError, match=r"image 0: has no file '0\.png'"):
        open_dataset(tmp_path)


def test_a_symbolic_link_to_another_disk_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "disk", instances(2), "annotations/instances_train.json", "train")
    (tmp_path / "set").mkdir()
    for name in ("annotations", "train"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "disk" / name)
    assert len(samples(open_dataset(tmp_path / "set"))) == 2


def test_crowds_are_kept_apart_from_objects_and_counted_in_one_line(tmp_path: Path) -> None:
    body = instances(5)
    for entry in body["annotations"][1:4]:
        entry["iscrowd"] = 1
    dataset = read(tmp_path, body)
    found = samples(dataset)
    assert [len(found[f"train/{k}.png"].regions) for k in range(5)] == [1, 0, 0, 0, 1]
    assert [len(found[f"train/{k}.png"].crowds) for k in range(5)] == [0, 1, 1, 1, 0]
    assert found["train/1.png"].crowds[0].box_xywh == (2, 3, 10, 10)
    assert found["train/1.png"].crowds[0].segmentation == [SQUARE]
    (line,) = dataset.skipped
    assert line.item == "annotations/instances_train.json: 3 crowd regions (iscrowd 1; annotation 10 the first)"
    assert line.reason == "are neither objects nor background"
    assert line.times == 3


def test_crowds_alone_provide_nothing(tmp_path: Path) -> None:
    body = instances(2)
    for entry in body["annotations"]:
        entry["iscrowd"] = 1
    assert read(tmp_path, body).provides == frozenset()


def test_a_crowd_is_checked_as_an_object_is(tmp_path: Path) -> None:
    body = instances(3)
    body["annotations"][0] |= {"iscrowd": 1, "bbox": [200, 3, 5, 5], "segmentation": []}
    body["annotations"][1] |= {"iscrowd": 1, "segmentation": {"size": [20, 30], "counts": [5]}}
    dataset = read(tmp_path, body)
    assert [line.reason.split(",")[0] for line in dataset.skipped] == [
        "has a box outside the image",
        "are neither objects nor background",
    ]
    assert any("has run lengths that do not fill the mask" in note for note in dataset.notes)
    found = samples(dataset)
    assert [found[f"train/{k}.png"].crowds[0].box_xywh for k in (0, 1)] == [ANYWHERE, (2, 3, 10, 10)]


@pytest.mark.parametrize(
    ("value", "crowd"),
    [
        (0, 0),
        (1, 1),
        (False, 0),
        (True, 1),
        (None, 0),
        (0.0, 0),
        (1.0, 1),
        ("0", 0),
        ("1", 1),
        (" False ", 0),
        ("true", 1),
    ],
)
def test_iscrowd_as_tools_write_it(tmp_path: Path, value: object, crowd: int) -> None:
    body = instances(2)
    body["annotations"][0]["iscrowd"] = value
    first = samples(read(tmp_path, body))["train/0.png"]
    assert (len(first.regions), len(first.crowds)) == (1 - crowd, crowd)


@pytest.mark.parametrize("value", [2, -1, 0.5, "yes", "", "None", [], [0], {}, float("nan")])
def test_an_iscrowd_that_says_neither_is_no_guess(tmp_path: Path, value: object) -> None:
    body = instances(2)
    body["annotations"][0]["iscrowd"] = value
    dataset = read(tmp_path, body)
    first = samples(dataset)["train/0.png"]
    assert (first.regions, [crowd.label for crowd in first.crowds]) == ((), [ANY])
    assert [line.reason.split("(")[0] for line in dataset.skipped] == ["has an iscrowd that is neither 0 nor 1 "]


def test_the_digest_knows_crowds_and_is_what_it_was_without_any(tmp_path: Path) -> None:
    body = instances(2)
    files = {f"train/{k}.png": "0" * 64 for k in range(2)}
    objects = read(tmp_path, body)
    body["annotations"][0]["iscrowd"] = 1
    crowd = read(tmp_path, body)
    moved = replace(
        crowd,
        splits={
            name: tuple(
                replace(s, crowds=tuple(replace(c, box_xywh=(2.0, 3.0, 10.0, 9.0)) for c in s.crowds)) for s in split
            )
            for name, split in crowd.splits.items()
        },
    )
    bare = replace(
        crowd, splits={name: tuple(replace(s, crowds=()) for s in split) for name, split in crowd.splits.items()}
    )
    assert len({data_digest(each, files) for each in (objects, crowd, moved, bare)}) == 4
    # Of a build that knew no crowds.
    assert data_digest(objects, files) == "6576bbd23ad14bed691e8f5683dfd96d836ea1aa078ad0d5d20d3f323dfa4165"


def test_a_box_over_the_border_is_cut(tmp_path: Path) -> None:
    body = instances(2)
    body["annotations"][0]["bbox"] = [-2.5, 15, 10, 6]
    dataset = read(tmp_path, body)
    assert samples(dataset)["train/0.png"].regions[0].box_xywh == (0, 15, 7.5, 5)
    assert samples(dataset)["train/1.png"].regions[0].box_xywh == (2, 3, 10, 10)


def test_a_box_without_mask_and_an_image_without_size(tmp_path: Path) -> None:
    body = instances(2)
    del body["images"][0]["width"], body["images"][0]["height"]
    body["annotations"][0]["segmentation"] = []
    del body["annotations"][1]["segmentation"]
    found = samples(read(tmp_path, body))
    assert found["train/0.png"].size_hw is None
    assert found["train/1.png"].size_hw == (20, 30)
    assert all(sample.regions[0].segmentation is None for sample in found.values())


def test_ids_may_be_strings_and_whole_floats(tmp_path: Path) -> None:
    body = instances(2)
    body["images"][0]["id"], body["annotations"][0]["image_id"] = "a", "a"
    body["annotations"][1]["image_id"] = 1.0
    dataset = read(tmp_path, body)
    assert dataset.skipped == ()
    assert all(len(sample.regions) == 1 for sample in samples(dataset).values())


def test_no_objects_at_all_provides_nothing(tmp_path: Path) -> None:
    body = instances(2)
    body["annotations"] = []
    assert read(tmp_path, body).provides == frozenset()


def test_masks_agree_with_pycocotools_over_a_whole_file(tmp_path: Path) -> None:
    body = instances(2)
    # Rows 4 to 8 of columns 5 to 24, down the columns.
    counts = [104, *([5, 15] * 19), 5, 111]
    body["annotations"][1]["segmentation"] = {"size": [20, 30], "counts": counts}
    dataset = read(tmp_path, body)
    oracle = COCO(str(tmp_path / "annotations/instances_train.json"))
    for number, annotation in enumerate(oracle.loadAnns(oracle.getAnnIds())):
        sample = samples(dataset)[f"train/{number}.png"]
        want = oracle.annToMask(annotation).astype(bool)
        np.testing.assert_array_equal(region_mask(sample.regions[0], (20, 30)), want)
        np.testing.assert_array_equal(label_map(sample, (20, 30), (20, 30)) >= 0, want)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 40) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "counts", "id"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(["images", "annotations", "categories"]),
    st.sampled_from(["id", "file_name", "width", "height", "image_id", "category_id", "bbox", "segmentation", "name"]),
    json_values,
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_field_is_read_or_listed(tmp_path: Path, part: str, field: str, value: Any) -> None:
    body = copy.deepcopy(GOOD)
    body[part][0][field] = value
    (tmp_path / "annotations").mkdir(exist_ok=True)
    (tmp_path / "train").mkdir(exist_ok=True)
    for k in range(2):
        (tmp_path / f"train/{k}.png").touch()
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(body))
    dataset = open_dataset(tmp_path)
    for sample in samples(dataset).values():
        assert label_map(sample, (4, 4), (20, 30)).shape == (4, 4)
    assert "train/1.png" in samples(dataset)


GOOD = instances(2)
