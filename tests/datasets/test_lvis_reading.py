"""LVIS v1: images with addresses instead of names, val images in train2017, beside COCO or alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rice_core.datasets import open_dataset
from rice_core.datasets.coco_files import annotation_files
from rice_core.errors import UserError
from rice_core.measure.data import open_data

HOST = "http://images.cocodataset.org"


def lvis(*places: str) -> dict[str, Any]:
    """One object in each image; entries have the fields of the official files."""
    images = [
        {
            "id": int(Path(place).stem),
            "license": 1,
            "coco_url": f"{HOST}/{place}",
            "flickr_url": "",
            "date_captured": "2013-11-14 16:28:13",
            "height": 20,
            "width": 30,
            "neg_category_ids": [2],
            "not_exhaustive_category_ids": [],
        }
        for place in places
    ]
    annotations = [
        {
            "id": k,
            "image_id": image["id"],
            "category_id": 1,
            "bbox": [2, 3, 10, 10],
            "area": 100.0,
            "segmentation": [[2, 3, 12, 3, 12, 13, 2, 13]],
        }
        for k, image in enumerate(images, start=1)
    ]
    categories = [
        {
            "id": k,
            "name": name,
            "synset": f"{name}.n.01",
            "synonyms": [name],
            "def": "",
            "frequency": "r",
            "image_count": 1,
            "instance_count": 1,
        }
        for k, name in enumerate(("aerosol_can", "zucchini"), start=1)
    ]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def draw(folder: Path, *places: str) -> None:
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20)).save(folder / place)


TRAIN = ("train2017/000000000009.jpg", "train2017/000000000025.jpg")
VAL = ("train2017/000000000030.jpg", "val2017/000000000139.jpg")


def write(folder: Path, place: str = "annotations") -> Path:
    (folder / place).mkdir(parents=True, exist_ok=True)
    for split, places in (("train", TRAIN), ("val", VAL)):
        (folder / place / f"lvis_v1_{split}.json").write_text(json.dumps(lvis(*places)))
    draw(folder, *TRAIN, *VAL)
    return folder


@pytest.mark.parametrize("place", ["annotations", "."])
def test_images_are_found_by_their_addresses(tmp_path: Path, place: str) -> None:
    dataset = open_dataset(write(tmp_path, place))
    assert dataset.skipped == ()
    assert dataset.spec.layout == "coco"
    assert dataset.classes == ("aerosol_can", "zucchini")
    assert {split: tuple(s.id for s in samples) for split, samples in dataset.splits.items()} == {
        "train": TRAIN,
        "val": VAL,
    }
    assert [sample.key for sample in dataset.splits["val"]] == [30, 139]
    assert all(sample.regions[0].label == 0 for sample in dataset.splits["val"])
    assert dataset.annotations["val"] == tmp_path / place / "lvis_v1_val.json"


def test_images_below_images_are_found_too(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "images").mkdir()
    for split in ("train2017", "val2017"):
        (tmp_path / split).rename(tmp_path / "images" / split)
    assert [sample.id for sample in open_dataset(tmp_path).splits["val"]] == [f"images/{place}" for place in VAL]


def test_an_image_in_another_split_of_the_same_name_is_not_taken(tmp_path: Path) -> None:
    """The address says which folder: a file of the same name elsewhere is another image."""
    write(tmp_path)
    (tmp_path / VAL[0]).rename(tmp_path / "val2017/000000000030.jpg")
    dataset = open_dataset(tmp_path)
    assert [sample.id for sample in dataset.splits["val"]] == [VAL[1]]
    assert "has no file '000000000030.jpg'" in dataset.skipped[0].reason


def test_an_image_without_address_is_listed_and_costs_no_other(tmp_path: Path) -> None:
    write(tmp_path)
    body = lvis(*TRAIN)
    del body["images"][0]["coco_url"]
    (tmp_path / "annotations/lvis_v1_train.json").write_text(json.dumps(body))
    dataset = open_dataset(tmp_path)
    assert [sample.id for sample in dataset.splits["train"]] == [TRAIN[1]]
    (skipped,) = dataset.skipped
    assert skipped.item == "annotations/lvis_v1_train.json: image 9"
    assert skipped.reason == "has no file_name and no coco_url"


def test_test_images_without_annotations_are_no_split(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "annotations/lvis_v1_image_info_test_dev.json").write_text('{"images": []}')
    (skipped,) = open_dataset(tmp_path).skipped
    assert skipped.reason == "is neither train nor val"


def both(folder: Path) -> Path:
    """A COCO folder in which LVIS's files lie too."""
    write(folder)
    for split, places in (("train", TRAIN), ("val", VAL)):
        body = lvis(*(f"{split}2017/{Path(place).name}" for place in places))
        body["categories"] = [{"id": 1, "name": "bottle"}]
        for image in body["images"]:
            image["file_name"] = Path(image["coco_url"]).name
        draw(folder, *(f"{split}2017/{Path(place).name}" for place in places))
        (folder / f"annotations/instances_{split}2017.json").write_text(json.dumps(body))
    return folder


def test_beside_coco_it_is_read_where_asked_for(tmp_path: Path) -> None:
    folder = both(tmp_path / "coco")
    assert open_dataset(folder).classes == ("bottle",)
    assert sorted(annotation_files(folder)) == ["train2017", "val2017"]
    dataset = open_dataset(folder, layout="lvis")
    assert dataset.classes == ("aerosol_can", "zucchini")
    assert dataset.spec.fingerprint != open_dataset(folder).spec.fingerprint
    asked = open_data(f"{folder}@lvis", tmp_path)
    assert asked.spec.name == "coco@lvis"
    assert asked.spec.fingerprint == dataset.spec.fingerprint


def test_a_folder_that_is_called_so_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "set@2024")
    assert open_data(f"{tmp_path}/set@2024", tmp_path).spec.name == "set@2024"
    both(tmp_path / "x@lvis")
    assert open_data(f"{tmp_path}/x@lvis", tmp_path).classes == ("bottle",)
    assert open_data(f"{tmp_path}/x@lvis@lvis", tmp_path).classes == ("aerosol_can", "zucchini")


def test_lvis_asked_for_and_not_there(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    with pytest.raises(UserError, match=r"no lvis_v1_\*\.json"):
        open_data(f"{tmp_path}@lvis", tmp_path)
