"""Roboflow exports side by side, as RF100 is on disk: names, domains, splits, and what is wrong with some."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from rice_core.datasets import is_suite, open_dataset, open_suite
from rice_core.datasets.suites import joined, rf100_domains
from rice_core.errors import UserError


def export(folder: Path, *, splits: tuple[str, ...] = ("train", "valid", "test"), images: bool = True) -> Path:
    """A Roboflow export of two images a split: ids from 0 in each, a category 0 that nothing uses."""
    for split in splits:
        (folder / split).mkdir(parents=True)
        names = [f"{split}{k}_jpg.rf.{k:032x}.jpg" for k in range(2)]
        body = {
            "info": {"year": "2022", "version": "2"},
            "licenses": [{"id": 1, "url": "", "name": "CC BY 4.0"}],
            "categories": [
                {"id": 0, "name": "animals", "supercategory": "none"},
                {"id": 1, "name": "cat", "supercategory": "animals"},
                {"id": 2, "name": "dog", "supercategory": "animals"},
            ],
            "images": [
                {"id": k, "license": 1, "file_name": name, "height": 20, "width": 30, "date_captured": ""}
                for k, name in enumerate(names)
            ],
            "annotations": [
                {
                    "id": k,
                    "image_id": k,
                    "category_id": k + 1,
                    "bbox": [2, 3, 10, 10.5],
                    "area": 105,
                    "segmentation": [],
                    "iscrowd": 0,
                }
                for k in range(2)
            ],
        }
        (folder / split / "_annotations.coco.json").write_text(json.dumps(body))
        for name in names if images else ():
            Image.new("RGB", (30, 20)).save(folder / split / name)
    return folder


def test_the_hundred_are_those_of_the_papers_columns() -> None:
    domains = rf100_domains()
    assert len(domains) == 100
    assert list(Counter(domains.values()).items()) == [
        ("aerial", 7),
        ("videogames", 7),
        ("microscopic", 11),
        ("underwater", 5),
        ("documents", 8),
        ("electromagnetic", 12),
        ("real world", 50),
    ]
    assert domains["4-fold-defect"] == "microscopic"
    assert domains["solar-panels-taxvb"] == "electromagnetic"


def test_an_exports_ids_and_categories_reach_the_samples(tmp_path: Path) -> None:
    dataset = open_dataset(export(tmp_path / "x"))
    assert dataset.classes == ("animals", "cat", "dog")
    assert [s.item for s in dataset.skipped] == ["test/_annotations.coco.json"]
    first, second = dataset.splits["train"]
    assert first.id == f"train/train0_jpg.rf.{0:032x}.jpg"
    assert (first.key, second.key) == (0, 1)
    assert [region.label for region in (*first.regions, *second.regions)] == [1, 2]
    assert first.regions[0].box_xywh == (2, 3, 10, 10.5)
    assert first.regions[0].segmentation is None


def test_a_suite_is_judged_on_test_and_one_data_set_on_valid(tmp_path: Path) -> None:
    for name in ("aquarium-qlnqy", "acl-x-ray"):
        export(tmp_path / name)
    suite = open_suite(tmp_path)
    assert list(suite.parts) == ["acl-x-ray", "aquarium-qlnqy"]
    part = suite.parts["aquarium-qlnqy"]
    assert part.spec.name == "aquarium-qlnqy"
    assert all(sample.id.startswith("test/") for sample in part.splits["val"])
    assert part.annotations["val"] == tmp_path / "aquarium-qlnqy/test/_annotations.coco.json"
    assert [(s.item, s.reason) for s in part.skipped] == [
        ("valid/_annotations.coco.json", "is a val split, and the test split is judged on")
    ]
    other = open_suite(tmp_path, judge="val").parts["aquarium-qlnqy"]
    assert all(sample.id.startswith("valid/") for sample in other.splits["val"])
    assert other.spec.fingerprint == open_dataset(tmp_path / "aquarium-qlnqy").spec.fingerprint
    assert other.spec.fingerprint != part.spec.fingerprint


def test_names_come_with_versions_and_strangers_belong_to_no_domain(tmp_path: Path) -> None:
    for name in ("aquarium-qlnqy-2", "bccd-ouzjz.v2i.coco", "Apex-Videogame-2", "my-own-3", "coins-1apki"):
        export(tmp_path / name)
    suite = open_suite(tmp_path, name="rf100")
    assert suite.name == "rf100"
    assert suite.domain == {
        "apex-videogame": "videogames",
        "aquarium-qlnqy": "underwater",
        "bccd-ouzjz": "microscopic",
        "coins-1apki": "real world",
        "my-own-3": "other",
    }
    assert list(suite.parts) == list(suite.domain)
    assert len(suite.missing) == 96
    assert not set(suite.missing) & set(suite.parts)
    assert suite.skipped == ()


def test_two_versions_of_one_data_set_are_refused(tmp_path: Path) -> None:
    for name in ("acl-x-ray", "aquarium-qlnqy-1", "aquarium-qlnqy-2"):
        export(tmp_path / name)
    with pytest.raises(UserError, match="aquarium-qlnqy twice, as aquarium-qlnqy-1 and aquarium-qlnqy-2; keep one"):
        open_suite(tmp_path)


def test_what_is_wrong_with_a_folder_is_listed_and_costs_no_other(tmp_path: Path) -> None:
    for name in ("acl-x-ray", "aquarium-qlnqy"):
        export(tmp_path / name)
    export(tmp_path / "apex-videogame", images=False)
    export(tmp_path / "bccd-ouzjz", splits=("train", "valid"))
    (export(tmp_path / "cell-towers") / "test/_annotations.coco.json").write_text("{")
    (tmp_path / "coins-1apki/images").mkdir(parents=True)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").touch()
    suite = open_suite(tmp_path)
    assert list(suite.parts) == ["acl-x-ray", "aquarium-qlnqy"]
    reasons = {skip.item: skip.reason for skip in suite.skipped}
    assert list(reasons) == ["apex-videogame", "bccd-ouzjz", "cell-towers", "coins-1apki"]
    assert "No image" in reasons["apex-videogame"]
    assert "no train and test split" in reasons["bccd-ouzjz"]
    assert "is no JSON" in reasons["cell-towers"]
    assert "export it in Roboflow's COCO format" in reasons["coins-1apki"]
    assert set(reasons) < set(suite.missing)
    # A mean without them is not the suite's, and a folder whose download broke off is one of them as well.
    assert list(suite.domain) == [
        "acl-x-ray",
        "apex-videogame",
        "aquarium-qlnqy",
        "bccd-ouzjz",
        "cell-towers",
        "coins-1apki",
    ]
    assert suite.domain["coins-1apki"] == "real world"


def test_a_part_of_rf100_says_so_and_a_suite_of_ones_own_does_not(tmp_path: Path) -> None:
    for name in ("acl-x-ray", "aquarium-qlnqy", "mine"):
        export(tmp_path / "some" / name)
    (tmp_path / "some/pictures").mkdir()
    some = open_suite(tmp_path / "some")
    assert list(some.domain) == ["acl-x-ray", "aquarium-qlnqy", "mine"]
    note, shared = joined(some).notes
    assert shared.startswith("Of 3 of 3 data sets val shows what train shows: acl-x-ray, aquarium-qlnqy, mine.")
    assert note == "2 of RF100's 100 data sets are there: means are over those of this folder, not over RF100."
    for name in ("mine", "yours"):
        export(tmp_path / "own" / name)
    assert [note[:30] for note in joined(open_suite(tmp_path / "own")).notes] == ["Of 2 of 2 data sets val shows "]


def test_counts_of_a_part_reach_the_whole(tmp_path: Path) -> None:
    for name in ("acl-x-ray", "aquarium-qlnqy"):
        path = export(tmp_path / name) / "test/_annotations.coco.json"
        body = json.loads(path.read_text())
        body["annotations"] += [body["annotations"][0] | {"id": 900 + k, "iscrowd": 1} for k in range(3)]
        path.write_text(json.dumps(body))
    whole = joined(open_suite(tmp_path))
    assert [(skip.item.split(":")[0], skip.times) for skip in whole.skipped if "crowd" in skip.item] == [
        ("acl-x-ray/test/_annotations.coco.json", 3),
        ("aquarium-qlnqy/test/_annotations.coco.json", 3),
    ]


def test_fewer_than_two_data_sets_are_no_suite(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        open_suite(tmp_path / "none")
    export(tmp_path / "acl-x-ray")
    export(tmp_path / "bccd-ouzjz", images=False)
    with pytest.raises(UserError, match=r"holds 1 data sets .* The first reason: bccd-ouzjz: No image"):
        open_suite(tmp_path)
    with pytest.raises(UserError, match="holds 0 data sets"):
        open_suite(tmp_path / "acl-x-ray")


def test_a_suite_does_not_pass_for_a_data_set(tmp_path: Path) -> None:
    """Each of its data sets would be a class."""
    export(tmp_path / "acl-x-ray")
    assert not is_suite(tmp_path)
    export(tmp_path / "bccd-ouzjz")
    assert is_suite(tmp_path)
    assert not is_suite(tmp_path / "acl-x-ray")
    assert not is_suite(tmp_path / "none")
    with pytest.raises(UserError, match=r"holds 2 data sets; give one of them, as .*acl-x-ray"):
        open_dataset(tmp_path)


def test_judging_on_test_needs_train_and_test(tmp_path: Path) -> None:
    for k, place in enumerate(
        ("one/a/1.png", "one/b/2.png", "photos/1.png", "cut/train/a/1.png", "cut/train/b/3.png", "cut/val/a/2.png")
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (k, 7, 7)).save(tmp_path / place)
    export(tmp_path / "single", splits=("test",))
    for name in ("one", "photos", "cut", "single"):
        assert open_dataset(tmp_path / name).splits["val"]
        with pytest.raises(UserError, match="no train and test split"):
            open_dataset(tmp_path / name, judge="test")
    Image.new("RGB", (4, 4)).save(tmp_path / "cut/train/a/3.png")
    (tmp_path / "cut/test/a").mkdir(parents=True)
    (tmp_path / "cut/val/a/2.png").rename(tmp_path / "cut/test/a/2.png")
    judged = open_dataset(tmp_path / "cut", judge="test")
    assert [sample.id for sample in judged.splits["val"]] == ["test/a/2.png"]
