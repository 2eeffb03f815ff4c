"""`--annotations FILE --images FOLDER`: any file in COCO's format, wherever it lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rice_core.cli import main
from rice_core.datasets import open_dataset
from rice_core.errors import UserError
from rice_core.measure.config import RunConfig, load_config
from rice_core.measure.data import open_annotated, open_data
from rice_core.measure.plan import plan_of
from rice_core.store import Store


def instances(keys: range, prefix: str = "") -> dict[str, Any]:
    return {
        "images": [{"id": k, "file_name": f"{prefix}{k}.png", "width": 30, "height": 20} for k in keys],
        "annotations": [{"id": k, "image_id": k, "category_id": 1 + k % 2, "bbox": [2, 3, 10, 10]} for k in keys],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photographs, and beside their folder two annotation files of five each and one of all."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(10):
        Image.new("RGB", (30, 20), (20 * k, 0, 0)).save(folder / f"{k}.png")
    labels = tmp_path / "labels"
    labels.mkdir()
    for name, keys in (("train", range(5)), ("val", range(5, 10)), ("all", range(10))):
        (labels / f"{name}.json").write_text(json.dumps(instances(keys)))
    return folder


def test_two_files_are_train_and_val(photos: Path) -> None:
    labels = photos.parent / "labels"
    words = [f"train={labels}/train.json", f"val={labels}/val.json"]
    dataset = open_annotated(words, str(photos))
    assert {split: [sample.id for sample in part] for split, part in dataset.splits.items()} == {
        "train": [f"{k}.png" for k in range(5)],
        "val": [f"{k}.png" for k in range(5, 10)],
    }
    assert dataset.annotations == {"train": labels / "train.json", "val": labels / "val.json"}
    assert (dataset.spec.name, dataset.spec.layout) == ("photos", "coco")
    assert dataset.provides == {"labels", "regions", "dense-labels"}
    assert dataset.saw == "train/train.json and val/val.json"
    # No folder of the machine is part of what a record is called by.
    assert str(photos.parent) not in dataset.spec.model_dump_json()
    assert [len(part) for part in open_annotated(words, str(photos), limit=2).splits.values()] == [2, 2]


def test_one_file_is_divided_as_it_is_in_a_folder_of_its_own(photos: Path) -> None:
    one = photos.parent / "labels" / "all.json"
    dataset = open_annotated([str(one)], str(photos))
    assert dataset.spec.name == "all"
    assert dataset.annotations == {"train": one, "val": one}
    (photos / "annotations").mkdir()
    (photos / "annotations" / "instances_all.json").write_bytes(one.read_bytes())
    inside = open_dataset(photos)
    assert {split: [s.id for s in part] for split, part in dataset.splits.items()} == {
        split: [s.id for s in part] for split, part in inside.splits.items()
    }


def test_what_was_mended_and_left_out_is_said(photos: Path) -> None:
    body = instances(range(10))
    body["annotations"][3]["segmentation"] = "mask.png"
    body["annotations"][4]["category_id"] = 5
    (photos / "labels.json").write_text(json.dumps(body))
    dataset = open_annotated([str(photos / "labels.json")], str(photos))
    assert any("labels.json, segmentations that cannot be used: 1" in note for note in dataset.notes)
    assert [skip.item for skip in dataset.skipped] == ["labels.json: annotation 4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.json"], "there is no file"),
        (["train=train.json"], "train and val have to be there both"),
        (["val=val.json"], "train and val have to be there both"),
        (["train.json", "val.json"], "do not say which is for what; write --annotations FILE, or"),
        (["train.json", "val=val.json"], "train and val have to be there both, or one file alone"),
        (["train=train.json", "train=val.json"], "are both for train"),
        (["test=val.json"], "'test' is neither train nor val"),
        (["train=all.json", "val=val.json"], r"5 images are in train and in val, 5\.png the first"),
    ],
)
def test_what_is_not_clear_is_refused(
    words: list[str], message: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent / "labels")
    with pytest.raises(UserError, match=message):
        open_annotated(words, str(photos))


def test_images_that_are_elsewhere_are_a_sentence(photos: Path) -> None:
    one = photos.parent / "labels" / "all.json"
    with pytest.raises(UserError, match=r"can be used; give --images the folder that the names.*has no file '0\.png'"):
        open_annotated([str(one)], str(one.parent))
    with pytest.raises(UserError, match=r"--images .*/nowhere is no folder"):
        open_annotated([str(one)], str(photos.parent / "nowhere"))
    with pytest.raises(UserError, match=r"all\.json is a file; .* write --annotations .*all\.json --images FOLDER"):
        open_data(str(one), photos)


@pytest.mark.parametrize("name", ["all.json", "2024-01.json", "_annotations.coco.json", "labels.json"])
def test_names_start_from_the_folder_that_is_given(name: str, photos: Path) -> None:
    """Folders in it that look as if they were of the split, or of a tool's layout, hold other images of the same names."""
    one = (photos.parent / "labels" / "all.json").rename(photos.parent / "labels" / name)
    for other in (
        photos / "all",
        photos / "2024-01",
        photos / "images",
        photos / "data",
        one.parent / "data",
        one.parent,
    ):
        other.mkdir(exist_ok=True)
        (other / "0.png").write_bytes((photos / "0.png").read_bytes())
    dataset = open_annotated([str(one)], str(photos))
    assert {sample.id for part in dataset.splits.values() for sample in part} == {f"{k}.png" for k in range(10)}
    elsewhere = open_annotated([str(one)], str(photos.parent / "photos" / ".." / "photos"))
    assert sum(map(len, elsewhere.splits.values())) == 10


def test_a_file_with_an_equals_sign_and_a_comma_is_itself(photos: Path) -> None:
    odd = photos.parent / "labels" / "a=b,c.json"
    odd.write_bytes((odd.parent / "all.json").read_bytes())
    assert open_annotated([str(odd)], str(photos)).spec.name == "a=b,c"


def test_a_plan_and_a_run_by_the_command_line(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = photos.parent / "labels"
    words = ["-e", "noise", "-p", "knn?k=3", "--annotations", f"train={labels}/train.json,val={labels}/val.json"]
    more = ["--images", str(photos), "--store", str(photos.parent / "store")]
    for command in ("plan", "run"):
        with pytest.raises(SystemExit) as left:
            main([command, *words, *more])
        assert left.value.code in (0, None)
    said = "".join(capsys.readouterr())
    assert "data set photos (coco): 5 train, 5 val images, 2 classes" in said
    (record,) = list(Store(photos.parent / "store").records())
    assert (record.status, record.cell.dataset.name) == ("done", "photos")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--annotations", "all.json"], "--images is missing"),
        (["--images", "."], "--annotations is missing"),
        (["--annotations", "all.json", "--images", ".", "--data", "."], "Give either --data, or --annotations"),
        (["--annotations", "all.json", "--images", ".", "--config", "x.yaml"], "Give either --config or"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], message: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos.parent / "labels")
    asked = [] if "--config" in words else ["-e", "noise", "-p", "knn"]
    with pytest.raises(SystemExit):
        main(["plan", *asked, *words])
    assert message in "".join(capsys.readouterr())


def test_a_configuration_says_the_same(photos: Path, tmp_path: Path) -> None:
    labels = photos.parent / "labels"
    path = tmp_path / "run.yaml"
    text = f"encoders: [noise]\nprobes: [knn]\nannotations: ['{labels}/all.json']\nimages: {photos}\n"
    path.write_text(text)
    plan = plan_of(load_config(path), Store(tmp_path / "store"))
    assert [dataset.spec.name for dataset in plan.datasets.values()] == ["all"]
    path.write_text(text.replace(f"images: {photos}\n", ""))
    with pytest.raises(UserError, match="annotations need images"):
        load_config(path)
    path.write_text("encoders: [noise]\nprobes: [knn]\n")
    with pytest.raises(UserError, match="write data, or annotations and images"):
        load_config(path)
    assert RunConfig(encoders=("noise",), probes=("knn",), data=("mini",)).images is None
