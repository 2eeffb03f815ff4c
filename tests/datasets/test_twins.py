"""Images that are there twice are counted and said, and left in."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from rice_core.datasets import file_digests, joined, open_dataset, open_suite
from rice_core.datasets.describe import describe
from rice_core.datasets.twins import with_twin_notes


def draw(folder: Path, **colour: int) -> Path:
    """Images `split/class/name` of one grey each, so that equal greys are equal bytes."""
    for name, grey in colour.items():
        path = folder / f"{name.replace('_', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), grey).save(path)
    return folder


def notes(folder: Path) -> tuple[str, ...]:
    dataset = open_dataset(folder)
    return with_twin_notes(dataset, file_digests(dataset)).notes


def test_images_of_val_that_train_has_too(tmp_path: Path) -> None:
    draw(tmp_path, train_a_1=1, train_a_2=1, train_b_1=2, val_a_1=1, val_a_2=1, val_b_1=3)
    assert notes(tmp_path) == (
        "2 of 3 images in val are in train too, byte for byte, such as val/a/1.png and train/a/1.png: numbers over val are "
        "too high",
    )


def test_images_in_two_classes(tmp_path: Path) -> None:
    draw(tmp_path, train_a_1=1, train_b_1=1, train_b_2=1, val_a_1=3, val_b_1=4)
    assert notes(tmp_path) == (
        "3 images stand in two classes, byte for byte the same, such as train/a/1.png and train/b/1.png",
    )


def test_images_that_are_all_different_and_twins_in_one_place_need_no_note(tmp_path: Path) -> None:
    draw(tmp_path, train_a_1=1, train_a_2=1, train_b_1=2, val_a_1=3, val_b_1=4)
    assert notes(tmp_path) == ()


def test_files_that_cannot_be_read_are_no_twins(tmp_path: Path) -> None:
    dataset = open_dataset(draw(tmp_path, train_a_1=1, train_b_1=2, val_a_1=3, val_b_1=4))
    for name in ("train/a/1.png", "val/b/1.png"):
        (tmp_path / name).unlink()
    assert with_twin_notes(dataset, file_digests(dataset)).notes == ()


def test_the_data_sets_of_a_suite_share_images_as_they_please(tmp_path: Path) -> None:
    """Each is trained and judged apart."""
    grey = {("one", "train"): 1, ("one", "test"): 2, ("two", "train"): 3, ("two", "test"): 1}
    for (name, split), value in grey.items():
        folder = tmp_path / name / split
        draw(folder, a=value)
        image = {"id": 1, "file_name": "a.png", "width": 8, "height": 8}
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
        body = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "x"}]}
        (folder / "_annotations.coco.json").write_text(json.dumps(body))
    dataset = joined(open_suite(tmp_path))
    assert with_twin_notes(dataset, file_digests(dataset)).notes == ()
    draw(tmp_path / "two/test", a=3)
    dataset = joined(open_suite(tmp_path))
    of_part, note = with_twin_notes(dataset, file_digests(dataset)).notes
    assert of_part.startswith(
        "Of 1 of 2 data sets val shows what train shows: two. Of two: 1 of 1 images in val is in train too"
    )
    assert note.endswith("such as two/test/a.png and two/train/a.png: numbers over val are too high")


def test_what_a_data_set_was_read_as(tmp_path: Path) -> None:
    draw(tmp_path, train_a_1=1, train_b_1=2, train_c_1=3, train_d_1=5, train_e_1=6, train_f_1=7, val_a_1=8, test_a_1=9)
    assert list(describe(open_dataset(tmp_path, name="x"))) == [
        "data set x (class-folders): 6 train, 1 val images, 6 classes",
        "  read as class-folders: a folder a class in train/, judged on val/",
        "  classes: a, b, c, d, e, and 1 more",
        "  left out: test: is a test split beside a val split",
    ]
