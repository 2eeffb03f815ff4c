"""Folders as public data sets and other tools leave them: read where their labels can be, else refused with the next step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rice_core.datasets import open_dataset
from rice_core.datasets.splits import role
from rice_core.errors import UserError


def images(folder: Path, *names: str, each: int = 5, called: str = "{name}_{k}.jpg") -> Path:
    """`each` photographs in a folder a name; without a name in the folder itself."""
    for name in names or (".",):
        for k in range(each):
            path = folder / name / called.format(name=name, k=k, here=folder.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([k, *str(path).encode()]).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder} holds ")
    assert f"{folder}@photos" in message
    return message


# -- class folders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "judged"),
    [
        ("Train", "Val"),
        ("TRAIN", "TEST"),
        ("training_set", "test_set"),
        ("Training set", "Validation set"),
        ("trainset", "testset"),
        ("train_data", "test_data"),
        ("train", "dev"),
        ("train", "eval"),
    ],
)
def test_a_split_goes_by_many_names(tmp_path: Path, train: str, judged: str) -> None:
    images(tmp_path / train, "cats", "dogs")
    images(tmp_path / judged, "cats", "dogs", each=3)
    dataset = open_dataset(tmp_path)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 10, "val": 6}
    assert {sample.path.relative_to(tmp_path).parts[0] for sample in dataset.splits["val"]} == {judged}


@pytest.mark.parametrize(
    "name", ["set", "data", "dataset", "trainer", "tested", "training_material", "devices", "2017"]
)
def test_what_is_no_name_of_a_split(name: str) -> None:
    assert role(name) is None


def test_a_count_that_begins_with_the_name_of_the_split_is_a_count(tmp_path: Path) -> None:
    for split in ("train", "val"):
        images(tmp_path / split, "n01", "n02", each=12, called="ILSVRC_{here}_{k:06}.JPEG")
    assert open_dataset(tmp_path).classes == ("n01", "n02")


@pytest.mark.parametrize("around", ["images", "2750", "PetImages", "data/101_ObjectCategories"])
def test_class_folders_within_a_single_folder_are_not_lost(tmp_path: Path, around: str) -> None:
    images(tmp_path / around, "apple", "pear")
    (tmp_path / "meta").mkdir()
    assert f"whose folders (apple, pear) look like classes; give {tmp_path / around}, or" in refused(tmp_path)
    assert open_dataset(tmp_path / around).classes == ("apple", "pear")


def test_annotations_within_a_single_folder_are_not_lost(tmp_path: Path) -> None:
    """Where its images lie in a single folder too."""
    images(tmp_path / "coco2017" / "val2017", called="{k}.jpg")
    (tmp_path / "coco2017" / "annotations").mkdir()
    (tmp_path / "coco2017" / "annotations" / "instances_val2017.json").write_text("{}")
    assert f"holds nothing but coco2017/, which is a data set of its own; give {tmp_path / 'coco2017'}" in refused(
        tmp_path
    )


def test_photographs_within_a_single_folder_are_photographs(tmp_path: Path) -> None:
    images(tmp_path / "one" / "images", called="{k}.jpg")
    images(tmp_path / "two" / "images", "train2017", "val2017")
    assert [len(open_dataset(tmp_path / name).splits["val"]) for name in ("one", "two")] == [5, 10]


@pytest.mark.parametrize("folders", [("training/image_2", "testing/image_2"), ("train/good", "test/good", "test/torn")])
def test_one_folder_to_train_on_is_no_class(tmp_path: Path, folders: tuple[str, ...]) -> None:
    """KITTI's pictures, MVTec's anomalies: k-NN would find them all to be of the one class."""
    images(tmp_path, *folders, called="{k}_x.png")
    assert "no classes to be told apart" in refused(tmp_path)


def test_splits_below_folders_that_differ_in_their_name_alone(tmp_path: Path) -> None:
    for split in ("seg_train", "seg_test"):
        images(tmp_path / split / split, "forest", "sea")
    images(tmp_path / "seg_pred" / "seg_pred", called="{k}.jpg")
    assert "holds seg_test/, seg_train/, called like parts" in refused(tmp_path)


@pytest.mark.parametrize("names", [("CelebA-HQ-img", "CelebAMask-HQ-mask-anno"), ("color_images", "depth_images")])
def test_folders_whose_names_hold_parts_of_a_layout(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert "called like parts" in refused(images(tmp_path, *names))


@pytest.mark.parametrize(
    "names", [("with_mask", "without_mask"), ("picture_frames", "cables"), ("gold_target", "tree")]
)
def test_classes_whose_names_hold_parts_of_a_layout(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert open_dataset(images(tmp_path, *names)).classes == tuple(sorted(names))


def test_domains_with_a_folder_between_them_and_the_classes(tmp_path: Path) -> None:
    for domain in ("amazon", "webcam"):
        images(tmp_path / domain / "images", "bike", "mug")
    with pytest.raises(UserError, match=r"folders of the same names \(bike, mug\)"):
        open_dataset(tmp_path)


def test_one_folder_of_images_in_each_class_is_its_images(tmp_path: Path) -> None:
    images(tmp_path, "bike/raw/large", "mug/raw/large", called="{k}.jpg")
    assert open_dataset(tmp_path).classes == ("bike", "mug")


def test_the_parts_of_a_layout_alone_are_named(tmp_path: Path) -> None:
    images(tmp_path / "train", "n01", "n02")
    images(tmp_path / "val" / "images", called="{k}.jpg")
    assert "holds images/, called like parts" in refused(tmp_path)


# -- labels that are no folders ----------------------------------------------------------------------------------------

LABELME = json.dumps({"version": "5", "shapes": [{"label": "a", "points": []}], "imagePath": "0.jpg"})
CREATEML = json.dumps([{"image": "0.jpg", "annotations": [{"label": "a", "coordinates": {"x": 1, "y": 1}}]}])
VIA = json.dumps({"0.jpg1": {"filename": "0.jpg", "size": 1, "regions": []}})
SUPERVISELY = json.dumps({"description": "", "objects": [{"classTitle": "cat", "points": {}}]})
TABLES = {
    "labels.csv": "file,what\n0.jpg,dog\n1.jpg,cat\n",
    "train.csv": "image_id,label\n0,3\n1,2\n",
    "sheet.csv": "Name;Species\n./pictures/0.jpg;robin\n",
    "pictures/metadata.csv": "file_name,label\n0.jpg,dog\n",
    "pictures/metadata.jsonl": '{"file_name": "0.jpg", "label": 1}\n',
    "pictures/_classes.csv": "filename, a, b\n0.jpg, 1, 0\n",
    "pictures/_annotations.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n0.jpg,48,48,a,1,1,9,9\n",
    "boxes.csv": "ImageID,Source,LabelName,XMin\n9,x,/m/01,1\n0,x,/m/01,1\n",
    "val.txt": "0.jpg 165\n1.jpg 358\n",
    "list_attr_celeba.txt": "5\nSmiling Young\n0.jpg -1 1\n",
    "pictures/cat_train.txt": "0 -1\n1  1\n",
    "pictures/0.jpg.json": SUPERVISELY,
    "pictures/0.json": LABELME,
    "pictures/_annotations.createml.json": CREATEML,
    "via.json": VIA,
}


@pytest.mark.parametrize("table", TABLES)
def test_labels_in_a_table_are_not_passed_over(tmp_path: Path, table: str) -> None:
    images(tmp_path / "pictures", called="{k}.jpg")
    (tmp_path / table).write_text(TABLES[table])
    assert f"holds labels in {table}, which are not read" in refused(tmp_path)
    assert len(open_dataset(tmp_path, layout="photos").splits["val"]) == 5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("exif.csv", "file,iso,lens\n0.jpg,100,50mm\n"),
        ("attribution.csv", "file,author,license\n0.jpg,Ann,CC-BY\n"),
        ("md5sums.txt", "0cc175b9c0f1b6a831c399e269772661  0.jpg\n92eb5ffee6ae2fec3ad71c777531578f  1.jpg\n"),
        ("names.txt", "0.jpg\n1.jpg\n"),
        ("README.txt", "Photographs of 2019\nby Ann, see 0.jpg and others\n"),
        ("labels.csv", "file,label\nanother.jpg,dog\n"),
        ("labels.txt", "dog\ncat\n"),
        ("0.jpg.json", '{"title": "0.jpg", "description": "a dog"}'),
        ("list.jsonl", "no JSON\n[1]\n"),
        ("empty.csv", ""),
    ],
)
def test_other_tables_beside_photographs_are_no_labels(tmp_path: Path, name: str, text: str) -> None:
    images(tmp_path, called="{k}.jpg")
    (tmp_path / name).write_text(text)
    assert open_dataset(tmp_path).spec.layout == "photos"


def test_a_table_beside_class_folders_does_not_stand_in_their_way(tmp_path: Path) -> None:
    """Imagenette has one."""
    images(tmp_path / "train", "a", "b")
    images(tmp_path / "val", "a", "b")
    (tmp_path / "noisy_imagenette.csv").write_text("path,noisy_labels_0\ntrain/a/a_0.jpg,a\n")
    assert open_dataset(tmp_path).classes == ("a", "b")


def test_panoptic_files_are_not_offered_as_coco(tmp_path: Path) -> None:
    images(tmp_path / "val2017", called="{k}.jpg")
    (tmp_path / "annotations").mkdir()
    body = {"images": [{"id": 0}], "annotations": [{"image_id": 0, "segments_info": []}], "categories": []}
    (tmp_path / "annotations" / "panoptic_val2017.json").write_text(json.dumps(body))
    assert open_dataset(tmp_path).spec.layout == "photos"


def test_labels_beside_class_folders_name_the_way_to_read_the_folders(tmp_path: Path) -> None:
    images(tmp_path, "a", "b")
    body = {"images": [], "annotations": [], "categories": []}
    (tmp_path / "train.json").write_text(json.dumps(body))
    with pytest.raises(UserError, match=f"write {tmp_path}@coco to read it, or {tmp_path}@class-folders to do without"):
        open_dataset(tmp_path)
