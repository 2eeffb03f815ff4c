"""COCO format as FiftyOne, Label Studio and Roboflow write it: other names, other places, other separators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rice_core.datasets import Dataset, open_dataset
from rice_core.errors import UserError

NAMES = [f"{k:06}.jpg" for k in range(10)]


def export(folder: Path, annotations: str, images: str, *, prefix: str = "", first: int = 0) -> Path:
    """Ten images with one box each; ids from 0, no segmentation, no area."""
    body: dict[str, Any] = {
        "images": [
            {"id": first + k, "file_name": prefix + name, "width": 30, "height": 20} for k, name in enumerate(NAMES)
        ],
        "annotations": [
            {"id": first + k, "image_id": first + k, "category_id": k % 2, "bbox": [2, 3, 10 + k, 10]}
            for k in range(10)
        ],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    (folder / annotations).parent.mkdir(parents=True, exist_ok=True)
    (folder / images).mkdir(parents=True, exist_ok=True)
    (folder / annotations).write_text(json.dumps(body, indent=2))
    for name in NAMES:
        Image.new("RGB", (30, 20)).save(folder / images / name)
    return folder


def read(dataset: Dataset) -> dict[str, tuple[str, float]]:
    """Image -> the class and width of its one object."""
    return {
        sample.id: (dataset.classes[sample.regions[0].label], sample.regions[0].box_xywh[2])
        for samples in dataset.splits.values()
        for sample in samples
    }


@pytest.mark.parametrize(
    ("annotations", "images", "prefix"),
    [
        ("labels.json", "data", ""),
        ("result.json", "images", "images/"),
        ("result.json", "images", "images\\"),
        ("result.json", "images", ""),
        ("_annotations.coco.json", ".", ""),
    ],
)
def test_an_export_is_read_as_coco(tmp_path: Path, annotations: str, images: str, prefix: str) -> None:
    dataset = open_dataset(export(tmp_path, annotations, images, prefix=prefix))
    assert dataset.spec.layout == "coco"
    assert dataset.skipped == ()
    assert dataset.provides == {"labels", "regions", "dense-labels"}
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 8, "val": 2}
    place = "" if images == "." else f"{images}/"
    assert read(dataset) == {f"{place}{name}": (("cat", "dog")[k % 2], 10 + k) for k, name in enumerate(NAMES)}


def test_fiftyone_with_splits(tmp_path: Path) -> None:
    for first, split in ((0, "train"), (50, "validation")):
        export(tmp_path, f"{split}/labels.json", f"{split}/data", first=first)
    dataset = open_dataset(tmp_path)
    assert [sample.id for sample in dataset.splits["val"]] == [f"validation/data/{name}" for name in NAMES]
    assert dataset.annotations["train"] == tmp_path / "train/labels.json"


def test_a_file_with_a_backslash_in_its_name_comes_first(tmp_path: Path) -> None:
    export(tmp_path, "result.json", "images", prefix="images\\")
    Image.new("RGB", (30, 20)).save(tmp_path / f"images\\{NAMES[0]}")
    assert f"images\\{NAMES[0]}" in read(open_dataset(tmp_path))


def test_a_whole_path_into_the_folder_is_understood_and_no_other(tmp_path: Path) -> None:
    inside = export(tmp_path / "a", "labels.json", "data", prefix=f"{tmp_path}/a/data/")
    assert set(read(open_dataset(inside))) == {f"data/{name}" for name in NAMES}
    for prefix in ("/nowhere/data/", "../a/data/", "..\\a\\data\\", "C:\\data\\", f"{tmp_path}/a/../a/data/"):
        outside = export(tmp_path / "b", "labels.json", "data", prefix=prefix)
        with pytest.raises(UserError, match="leaves the folder"):
            open_dataset(outside)


@pytest.mark.parametrize(("annotations", "images"), [("labels.json", "data"), ("result.json", "images")])
def test_another_export_of_the_same_name_says_so(tmp_path: Path, annotations: str, images: str) -> None:
    """FiftyOne's classification and Label Studio's own JSON are called alike."""
    export(tmp_path, annotations, images)
    (tmp_path / annotations).write_text('{"classes": ["a"], "labels": {"000000": 0}}')
    with pytest.raises(UserError, match="is not in COCO format, export it again"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, layout="photos").splits["val"]) == 10


def test_an_export_in_a_folder_below_is_named(tmp_path: Path) -> None:
    export(tmp_path / "linux", "result.json", "images")
    export(tmp_path / "windows", "result.json", "images")
    with pytest.raises(UserError, match="holds linux/, a data set of its own in COCO format"):
        open_dataset(tmp_path)
