"""ADE20K, PASCAL VOC and Cityscapes on disk: label maps beside pictures, as `linear-seg` sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from probes.knn import Knn
from probes.linear_seg import LinearSeg
from rice_core.datasets import Dataset, label_map, open_dataset
from rice_core.errors import UserError
from rice_core.features import BACKGROUND, IGNORE
from rice_core.measure.data import open_data
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.record import Record
from rice_core.spec import EncoderSpec
from rice_core.store import Store


def put(path: Path, values: npt.NDArray[np.uint8], mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette([(7 * k) % 256 for k in range(768)])
    image.save(path)


def picture(path: Path, height: int, width: int, seed: int = 0) -> None:
    put(path, np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def halves(left: int, right: int, height: int = 48, width: int = 80) -> npt.NDArray[np.uint8]:
    values = np.full((height, width), left, dtype=np.uint8)
    values[:, width // 2 :] = right
    return values


def ade(folder: Path, images: int = 6, *, table: bool = True) -> Path:
    for split, start in (("training", 0), ("validation", 100)):
        for k in range(start, start + images):
            picture(folder / "images" / split / f"x{k}.jpg", 48, 80, k)
            put(folder / "annotations" / split / f"x{k}.png", halves(1 + k % 2, 3))
    if table:
        rows = [
            "Idx\tRatio\tTrain\tVal\tName",
            "1\t0.1\t9\t9\twall",
            "2\t0.1\t9\t9\tbuilding, edifice",
            "3\t0.1\t9\t9\tsky",
        ]
        (folder / "objectInfo150.txt").write_text("\n".join(rows) + "\n")
    return folder


def voc(folder: Path) -> Path:
    for k, split in enumerate(("train", "train", "val")):
        picture(folder / "JPEGImages" / f"2007_{k}.jpg", 48, 80, k)
        put(folder / "SegmentationClass" / f"2007_{k}.png", halves(0, 20), "P")
        lists = folder / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        with (lists / f"{split}.txt").open("a") as file:
            file.write(f"2007_{k}\n")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "2007_0.xml").write_text("<annotation></annotation>\n")
    return folder


def cityscapes(folder: Path) -> Path:
    for split, city in (("train", "aachen"), ("val", "ulm"), ("test", "bonn")):
        picture(folder / "leftImg8bit" / split / city / f"{city}_0_1_leftImg8bit.png", 48, 80)
        for kind, values in (("labelIds", halves(7, 33)), ("instanceIds", halves(1, 2))):
            put(folder / "gtFine" / split / city / f"{city}_0_1_gtFine_{kind}.png", values)
    return folder


def of(data: Dataset, split: str, size_hw: tuple[int, int] = (2, 4)) -> list[list[int]]:
    sample = data.samples(split)[0]
    return label_map(sample, size_hw, (48, 80)).tolist()


def test_ade20k_is_read_by_its_table(tmp_path: Path) -> None:
    data = open_dataset(ade(tmp_path))
    assert (data.spec.layout, data.classes, data.provides) == (
        "ade20k",
        ("wall", "building", "sky"),
        {"dense-labels"},
    )
    assert {split: len(items) for split, items in data.splits.items()} == {"train": 6, "val": 6}
    assert data.samples("train")[1].id == "images/training/x1.jpg"
    assert label_map(data.samples("train")[1], (1, 4), (48, 80)).tolist() == [[1, 1, 2, 2]]


def test_what_ade20k_does_not_name_is_ignored(tmp_path: Path) -> None:
    ade(tmp_path)
    put(tmp_path / "annotations" / "training" / "x0.png", halves(0, 3))
    assert of(open_dataset(tmp_path), "train") == [[IGNORE, IGNORE, 2, 2]] * 2


def test_without_the_table_ade20k_has_to_be_said(tmp_path: Path) -> None:
    ade(tmp_path, table=False)
    with pytest.raises(UserError, match=r"nothing says that the classes are ADE20K's.*@ade20k"):
        open_dataset(tmp_path)
    data = open_data(f"{tmp_path}@ade20k", tmp_path)
    assert (len(data.classes), len(set(data.classes)), data.classes[0], data.classes[-1]) == (150, 150, "wall", "flag")
    for path in sorted((tmp_path / "images" / "training").iterdir()):
        path.rename(path.with_name(f"ADE_train_{path.name}"))
    for path in sorted((tmp_path / "annotations" / "training").iterdir()):
        path.rename(path.with_name(f"ADE_train_{path.name}"))
    assert open_dataset(tmp_path).spec.layout == "ade20k"


def test_a_table_out_of_order_is_refused(tmp_path: Path) -> None:
    ade(tmp_path)
    (tmp_path / "objectInfo150.txt").write_text("Idx\tName\n2\twall\n1\tsky\n")
    with pytest.raises(UserError, match="does not number its classes"):
        open_dataset(tmp_path)


def test_voc_has_background_and_a_rim(tmp_path: Path) -> None:
    voc(tmp_path)
    values = halves(0, 20)
    values[:, :20] = 255
    put(tmp_path / "SegmentationClass" / "2007_0.png", values, "P")
    data = open_dataset(tmp_path)
    assert (data.spec.layout, len(data.classes), data.classes[19]) == ("voc", 20, "tvmonitor")
    assert {split: [s.id for s in data.samples(split)] for split in data.splits} == {
        "train": ["JPEGImages/2007_0.jpg", "JPEGImages/2007_1.jpg"],
        "val": ["JPEGImages/2007_2.jpg"],
    }
    assert of(data, "train") == [[IGNORE, BACKGROUND, 19, 19]] * 2


def test_voc_with_classes_of_its_own_is_refused(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n")
    with pytest.raises(UserError, match=r"labelmap.txt gives classes of its own"):
        open_dataset(tmp_path)


def test_cityscapes_has_the_nineteen_classes(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    values = halves(7, 33)
    values[:24] = np.arange(80, dtype=np.uint8) % 34
    values[0, 0] = 255
    put(tmp_path / "gtFine" / "train" / "aachen" / "aachen_0_1_gtFine_labelIds.png", values)
    data = open_dataset(tmp_path)
    assert (data.spec.layout, len(data.classes), data.classes[:2]) == ("cityscapes", 19, ("road", "sidewalk"))
    assert of(data, "val", (1, 2)) == [[0, 18]]
    upper = label_map(data.samples("train")[0], (48, 80), (48, 80))[0, :34].tolist()
    train_ids = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    train_ids |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert upper == [train_ids.get(value, IGNORE) for value in range(34)]
    assert [(skip.item, skip.reason) for skip in data.skipped] == [("leftImg8bit/test", "has no public label maps")]


def test_the_squash_is_that_of_regions(tmp_path: Path) -> None:
    """A pixel takes what lies under its centre, in a picture that is not square."""
    ade(tmp_path, images=1)
    values = np.full((48, 80), 1, np.uint8)
    values[16:, 30:] = 3
    put(tmp_path / "annotations" / "training" / "x0.png", values)
    # Centres of three rows: 8, 24, 40; of four columns: 10, 30, 50, 70.
    assert of(open_dataset(tmp_path), "train", (3, 4)) == [[0, 0, 0, 0], [0, 2, 2, 2], [0, 2, 2, 2]]


def test_one_split_is_divided_and_maps_that_miss_are_named(tmp_path: Path) -> None:
    ade(tmp_path)
    for path in (tmp_path / "annotations" / "validation").iterdir():
        path.unlink()
    (tmp_path / "annotations" / "training" / "x2.png").unlink()
    data = open_dataset(tmp_path)
    assert {split: len(items) for split, items in data.splits.items()} == {"train": 4, "val": 1}
    assert "there is no val split, so 1 of 5 images are val" in data.saw
    assert ("images/training/x2.jpg", "has no label map annotations/training/x2.png") in {
        (skip.item, skip.reason) for skip in data.skipped
    }
    assert len(data.skipped) == 7
    for path in (tmp_path / "annotations" / "training").iterdir():
        path.unlink()
    with pytest.raises(
        UserError, match=r"no picture with a label map.*The first reason: images/training/x0.jpg has no"
    ):
        open_dataset(tmp_path, layout="ade20k")


def measured(folder: Path, store: Path, encoder: str = "synthetic:oracle") -> tuple[Record, Record]:
    plan = Plan.over((EncoderSpec.parse(encoder),), (LinearSeg(grid=6), Knn()), open_dataset(folder))
    seg, knn = Runner(Store(store), Settings(device="cpu"), Progress(quiet=True)).run(plan).records
    return seg, knn


def test_linear_seg_runs_on_them_and_nothing_else_does(tmp_path: Path) -> None:
    folder = ade(tmp_path / "ade")
    seg, knn = measured(folder, tmp_path / "store")
    assert (seg.status, seg.cell.dataset.layout) == ("done", "ade20k")
    miou = seg.metric("miou")
    assert miou is not None
    assert miou.value == pytest.approx(100)
    assert seg.metric("macc").chance == pytest.approx(100 / 3)  # type: ignore[union-attr]  # three classes, no background
    assert knn.status == "not_applicable"
    assert "knn needs labels" in str(knn.error)


def test_a_map_that_cannot_be_used_costs_its_image_alone(tmp_path: Path) -> None:
    folder = ade(tmp_path / "ade")
    maps = folder / "annotations" / "training"
    put(maps / "x0.png", halves(1, 3, 40, 80))
    put(maps / "x1.png", halves(2, 200))
    put(maps / "x2.png", np.zeros((48, 80, 3), np.uint8))
    (maps / "x3.png").write_bytes(b"")
    seg, _ = measured(folder, tmp_path / "store")
    assert seg.status == "done"
    assert {skip.item.split("/")[-1]: skip.reason for skip in seg.skipped} == {
        "x0.jpg": "has a label map (x0.png) of 80x40 pixels, and is 80x48",
        "x1.jpg": "has a label map (x1.png) with the value 200, which is no class of its layout",
        "x2.jpg": "has a label map (x2.png) that holds no whole number a pixel (its mode is RGB)",
        "x3.jpg": "has a label map (x3.png) that is no image in a known format, or its header is damaged",
    }


def test_a_changed_map_is_another_data_set(tmp_path: Path) -> None:
    folder = ade(tmp_path / "ade")
    first, _ = measured(folder, tmp_path / "store")
    put(folder / "annotations" / "validation" / "x100.png", halves(3, 1))
    second, _ = measured(folder, tmp_path / "store")
    assert first.evidence is not None
    assert second.evidence is not None
    assert first.evidence.data != second.evidence.data
    put(folder / "annotations" / "validation" / "x100.png", halves(1, 3))
    again, _ = measured(folder, tmp_path / "store")
    assert again.evidence is not None
    assert again.evidence.data == first.evidence.data
