"""REFER's folders as data sets: what is read, what is empty, left out or refused, and that a pickle runs nothing."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refer_folder import BESIDE, SIZE_HW, SQUARE, annotation, reference, write_refer

from mllm.readers.refer import ReferLayout, read_refer
from rice_core.datasets import Dataset, Expression, Region, open_dataset, region_mask
from rice_core.datasets.digests import data_digest
from rice_core.errors import UserError

REFS = [
    reference(1, "train", ["a cat"]),
    reference(2, "val", ["The cat ", "left one"]),
    reference(3, "testA", ["man"]),
]
TRUTH = [annotation(1, [SQUARE]), annotation(2, [SQUARE, BESIDE]), annotation(3, [BESIDE])]
PLACE = "images/mscoco/images/train2014"


def opened(folder: Path) -> Dataset:
    return open_dataset(folder, reader=ReferLayout())


def mask_of(item: Any) -> np.ndarray:
    assert isinstance(item, Expression)
    assert isinstance(item.mask, Region)
    mask_HW = region_mask(item.mask, SIZE_HW)
    assert mask_HW is not None
    return mask_HW


def test_expressions_with_their_pictures_and_masks(tmp_path: Path) -> None:
    write_refer(tmp_path / "refcoco", REFS, TRUTH, pictures=PLACE)
    data = opened(tmp_path)
    assert {split: len(items) for split, items in data.splits.items()} == {"testA": 1, "train": 1, "val": 2}
    assert (data.provides, data.skipped) == ({"expressions"}, ())
    one, two = data.splits["val"]
    assert isinstance(one, Expression)
    assert (one.id, one.text, two.id) == ("refcoco/2/20", "The cat ", "refcoco/2/21")
    # The picture is its number's in instances.json: a reference's own file name is no file.
    assert one.image == tmp_path / PLACE / "COCO_train2014_000000000002.jpg"
    assert (one.image.is_file(), one.cluster, one.size_hw) == (True, one.image.name, SIZE_HW)
    # Polygons are merged: both squares cover 184 pixels, and 16 of them twice.
    assert mask_of(one).sum() == 184
    assert data.notes[-1] == "refcoco testA has 1 expressions, and Table 2 is over 5657"
    assert len(data_digest(data)) == 64


@pytest.mark.parametrize("place", ["", "train2014", "images", "images/train2014", "coco/train2014", PLACE])
def test_pictures_are_found_where_people_have_them(tmp_path: Path, place: str) -> None:
    write_refer(tmp_path / "refcoco", REFS, TRUTH, pictures=place or ".")
    for folder in (tmp_path, tmp_path / "refcoco"):
        assert all(path.is_file() for items in opened(folder).splits.values() for item in items for path in item.files)


def test_several_data_sets_have_splits_of_their_own(tmp_path: Path) -> None:
    write_refer(tmp_path / "refcoco", REFS, TRUTH, pictures="train2014")
    write_refer(tmp_path / "refcocog", [reference(1, "test", ["x"])], TRUTH, file="refs(umd).p", pictures="train2014")
    data = opened(tmp_path)
    assert list(data.splits) == ["refcoco_testA", "refcoco_train", "refcoco_val", "refcocog_test"]
    assert "1 of the 1 pictures of refcoco_train are in a split that is judged on" in data.notes


def test_a_reader_is_sure_of_it(tmp_path: Path) -> None:
    write_refer(tmp_path / "refcoco", REFS, TRUTH, pictures="images")
    sighting = ReferLayout().recognises(tmp_path)
    assert sighting is not None
    assert (sighting.how, sighting.words) == ("sure", "refcoco/refs(unc).p")
    assert ReferLayout().recognises(tmp_path / "images") is None


RLE = {"size": list(SIZE_HW), "counts": [0, 4, SIZE_HW[0] * SIZE_HW[1] - 4]}


@pytest.mark.parametrize(
    ("segmentation", "pixels"),
    [
        (None, 0),
        ([], 0),
        ([[]], 0),
        ([[1.0, 2.0, 3.0, 4.0]], 0),  # pycocotools raises
        ([1.0, 2.0, 3.0, 4.0], 0),
        ({"size": list(SIZE_HW), "counts": [SIZE_HW[0] * SIZE_HW[1]]}, 0),
        ([[1.0, 2.0, 3.0, 4.0], SQUARE], 100),
        ([SQUARE, SQUARE], 100),
        (RLE, 4),
        ([RLE], 4),
    ],
)
def test_what_covers_nothing_is_an_empty_mask_and_counted(tmp_path: Path, segmentation: Any, pixels: int) -> None:
    write_refer(tmp_path / "refclef", [reference(1, "val", ["a", "b"])], [annotation(1, segmentation)])
    read = read_refer(tmp_path)
    assert [int(mask_of(item).sum()) for item in read.splits["val"]] == [pixels, pixels]
    empty = ("refclef: 2 expressions name an object without a mask, which is empty here",)
    assert read.notes == (() if pixels else empty)
    assert read.skipped == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ann_id": 9}, "is of an annotation that instances.json has not"),
        ({"ann_id": [1]}, "is of an annotation that instances.json has not"),
        ({"image_id": 99}, "is of a picture that instances.json has not"),
        ({"ann_id": 1}, "is of an annotation of another picture"),
        ({"split": None}, "has no number or no split"),
        ({"ref_id": "2"}, "has no number or no split"),
        ({"sentences": []}, "has no sentences"),
        ({"sentences": [{"sent": " ", "sent_id": 4}]}, "has a sentence without words or without a number"),
        ({"sentences": ["cat"]}, "has a sentence without words or without a number"),
        ({"ann_id": 4}, "has a polygon that is not finite"),
        ({"ann_id": 5}, "has run lengths for 5 x 4 pixels, and the image has 60 x 40"),
        ({"ref_id": 1, "sentences": [{"sent": "b", "sent_id": 10}]}, "stands there twice"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    truth = [
        *TRUTH,
        annotation(4, [[float("nan"), *SQUARE[1:]]], image_id=2),
        annotation(5, {"size": [4, 5], "counts": [0, 20]}, image_id=2),
    ]
    write_refer(tmp_path / "refclef", REFS[:2], truth)
    refs = [REFS[0], REFS[1] | change]
    (tmp_path / "refclef" / "refs(unc).p").write_bytes(pickle.dumps(refs))
    read = read_refer(tmp_path)
    assert [skip.reason for skip in read.skipped] == [reason]
    assert [item.id for items in read.splits.values() for item in items] == ["refclef/1/10"]


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_something_runs_nothing(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "was run"
    write_refer(tmp_path / "refcoco", REFS, TRUTH, pictures="train2014")
    evil = pickle.dumps([*REFS, Malicious(mark)], protocol=protocol)
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(evil)
    with pytest.raises(
        UserError, match=r"no pickle of plain lists and texts .*system\), and nothing of it was run; unpack"
    ):
        opened(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        pickle.dumps(REFS)[:-9],
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"Pid\n.",
        b"\x82\x01.",
        pickle.dumps(np.float64(1)),
        pickle.dumps({"a": 1}),
        pickle.dumps([1, 2]),
    ],
)
def test_other_pickles_are_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    write_refer(tmp_path / "refcoco", REFS, TRUTH)
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(data)
    with pytest.raises(
        UserError, match=r"refs\(unc\)\.p (is no pickle of plain|holds no list of references).*unpack REFER's"
    ):
        read_refer(tmp_path)


def test_texts_of_python_2_are_read(tmp_path: Path) -> None:
    write_refer(tmp_path / "refcoco", REFS, TRUTH)
    told = b"".join(
        [
            b"(lp0\n(dp1\nS'ref_id'\np2\nI7\nsS'ann_id'\nL1L\nsS'image_id'\nI1\nsS'split'\nS'val'\nsS'sentences'\n",
            b"(lp3\n(dp4\nS'sent_id'\nI70\nsS'sent'\nS'caf\\xc3\\xa9'\nsS'raw'\nVcaf\\u00e9\nsasa.",
        ]
    )
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(told)
    (item,) = read_refer(tmp_path).splits["val"]
    assert (item.id, item.text) == ("refcoco/7/70", "café")


def test_a_folder_is_called_as_it_is_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_refer(tmp_path / "refcoco", REFS, TRUTH, pictures="train2014")
    monkeypatch.chdir(tmp_path / "refcoco")
    assert read_refer(Path()).splits["testA"][0].id == "refcoco/3/30"
    # A folder of people's that is called as a mirror's.
    (tmp_path / "refcoco").rename(tmp_path / "moved")
    write_refer(tmp_path / "RefCOCO" / "refcoco", REFS, TRUTH)
    write_table(tmp_path / "RefCOCO" / "lmms-lab" / "RefCOCO" / "val-0.parquet", [{"question_id": "1"}])
    assert read_refer(tmp_path / "RefCOCO").splits["testA"][0].id == "refcoco/3/30"


def test_a_data_set_without_its_pictures_is_left_out(tmp_path: Path) -> None:
    write_refer(tmp_path / "refcoco", REFS, TRUTH, pictures="train2014")
    refs = [ref | {"image_id": ref["image_id"] + 50} for ref in REFS]
    truth = [each | {"image_id": each["image_id"] + 50} for each in TRUTH]
    write_refer(tmp_path / "refclef", refs, truth)
    data = opened(tmp_path)
    assert list(data.splits) == ["refcoco_testA", "refcoco_train", "refcoco_val"]
    assert [(skip.item, skip.times) for skip in data.skipped] == [("refclef", 4)]
    (tmp_path / "train2014" / "COCO_train2014_000000000001.jpg").unlink()
    assert "refcoco: 1 of 3 pictures that were looked for are not there" in opened(tmp_path).notes
    write_refer(tmp_path / "refclef", refs, truth, pictures="images/saiapr_tc-12")
    assert len(opened(tmp_path).splits) == 6


def test_what_table_2_is_not_over_is_refused(tmp_path: Path) -> None:
    write_refer(tmp_path / "refcocog", REFS, TRUTH, file="refs(google).p")
    with pytest.raises(UserError, match=r"google\)\.p is not what Table 2 is over .*put refs\(umd\)\.p of refcocog"):
        read_refer(tmp_path)
    write_refer(tmp_path / "refcocog", [reference(1, "test", ["x"])], TRUTH, file="refs(umd).p")
    assert list(read_refer(tmp_path).splits) == ["test"]


def test_a_folder_that_lacks_something_says_what(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither refcoco/refs\(unc\)\.p.*unpack REFER's archives into it"):
        read_refer(tmp_path)
    folder = write_refer(tmp_path / "refcoco", REFS, TRUTH)
    with pytest.raises(
        UserError, match=r"of 3 that were looked for none is there; unpack COCO's train2014\.zip into it"
    ):
        opened(tmp_path)
    (folder / "instances.json").write_text("{}")
    with pytest.raises(UserError, match=r"instances\.json has no images and annotations in COCO's form"):
        read_refer(tmp_path)
    (folder / "instances.json").unlink()
    with pytest.raises(UserError, match=r"instances\.json is not there; unpack it"):
        read_refer(tmp_path)


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def test_the_hubs_tables_are_the_same_expressions(tmp_path: Path) -> None:
    write_refer(tmp_path / "own" / "refcoco+", REFS, TRUTH)
    truth = json.loads((tmp_path / "own" / "refcoco+" / "instances.json").read_text())
    rows = [
        ref | {"raw_anns": json.dumps(each), "raw_image_info": json.dumps(image), "image_path": "coco/train2014/x.jpg"}
        for ref, each, image in zip(REFS, truth["annotations"], truth["images"], strict=True)
    ]
    # The files' own splits have other names (testA's is test): the rows say which is which.
    write_table(tmp_path / "hub" / "jxu124" / "refcocoplus" / "data" / "test-00000-of-00001.parquet", rows)
    assert read_refer(tmp_path / "hub").splits == read_refer(tmp_path / "own").splits


def test_mirrors_that_mix_the_splits_are_refused(tmp_path: Path) -> None:
    row = {
        "question_id": "1",
        "question": "?",
        "answer": ["cat"],
        "segmentation": SQUARE,
        "bbox": [1.0],
        "file_name": "x",
    }
    write_table(tmp_path / "a" / "lmms-lab" / "RefCOCO" / "data" / "val-0.parquet", [row])
    write_table(tmp_path / "b" / "refcoco" / "val-0.parquet", [row])
    write_table(tmp_path / "c" / "refcoco" / "val-0.parquet", [{"x": 1}])
    with pytest.raises(UserError, match=r"a has lmms-lab/RefCOCO, which is lmms-lab's copy of refCOCO"):
        open_dataset(tmp_path / "a")
    for place in ("a", "b"):
        with pytest.raises(
            UserError, match=r"lmms-lab's copy of refCOCO, which mixes the splits and keeps one polygon"
        ):
            read_refer(tmp_path / place)
    with pytest.raises(UserError, match=r"has no column ref_id, only x; fetch jxu124/refcoco"):
        read_refer(tmp_path / "c")
