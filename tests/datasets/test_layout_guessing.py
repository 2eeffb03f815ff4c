"""What a folder is: everything legitimate is read, everything else is refused with what was seen and the string to write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from rice_core.datasets import Dataset, Video, open_dataset
from rice_core.datasets.frames import are_videos, numbered
from rice_core.datasets.layout import Sighting
from rice_core.datasets.photos import Photos
from rice_core.datasets.reading import choose
from rice_core.datasets.splits import Judge
from rice_core.errors import UserError
from rice_core.measure.data import open_data

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def photo(path: Path, seed: int, *, box: tuple[int, int, int, int] = (10, 10, 25, 25)) -> None:
    """Noise with a bright box, so that nothing of it is flat and its one object has edges."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(80, 130, (40, 40, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    ImageDraw.Draw(image).rectangle(box, fill=(230, 40, 40))
    image.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def label_map(path: Path, *, mode: str = "L", box: tuple[int, int, int, int] = (10, 10, 25, 25)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (40, 40))
    ImageDraw.Draw(image).rectangle(box, fill=7)
    if mode == "P":
        image = image.convert("P")
    if mode == "RGB":
        image = Image.merge("RGB", (image, image, Image.new("L", (40, 40), 99)))
    image.save(path)


def classes(folder: Path, *names: str, each: int = 10, called: str = "{k:04}.jpg", start: int = 0) -> Path:
    for c, name in enumerate(names):
        for k in range(each):
            photo(folder / name / called.format(k=k, c=c, name=name), 1000 * c + k + start)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(folder)
    message = str(caught.value)
    assert message.startswith(str(folder))
    message = message.removeprefix(str(folder))
    assert ". " not in message.replace("... ", "")
    return message


# -- label masks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
@pytest.mark.parametrize("called", ["{k:04}", "scan {k}", "2007_{k}39"])
def test_masks_beside_pictures_are_no_classes(tmp_path: Path, mode: str, called: str) -> None:
    """Whatever the folders are called, and even where the files are merely counted."""
    for k in range(6):
        box = (4 + 3 * k, 5, 14 + 3 * k, 30)
        photo(tmp_path / "inputs_a" / f"{called.format(k=k)}.jpg", k, box=box)
        label_map(tmp_path / "zones" / f"{called.format(k=k)}.png", mode=mode, box=box)
    message = refused(tmp_path)
    assert "label masks" in message
    assert "zones/" in message
    assert f"{tmp_path}@class-folders" in message
    assert open_dataset(tmp_path, layout="class-folders").classes == ("inputs_a", "zones")


def test_masks_that_are_named_after_their_pictures(tmp_path: Path) -> None:
    for k in range(6):
        photo(tmp_path / "people" / f"walk{k}7.png", k)
        label_map(tmp_path / "people-mask" / f"walk{k}7_mask.png")
    assert "people-mask/walk07_mask.png is one of people/walk07.png" in refused(tmp_path)


def test_coarse_masks_whose_names_say_what_they_belong_to(tmp_path: Path) -> None:
    """The names are no mere count, so that no edge has to agree."""
    for k in (3, 9, 31):
        photo(tmp_path / "walks" / f"street{k}.png", k)
        label_map(tmp_path / "zones" / f"street{k}.png", box=(2, 33, 38, 38))
    assert "label masks" in refused(tmp_path)


@pytest.mark.parametrize("why", ["few alike", "one area", "many values", "another size"])
def test_flat_images_that_are_no_masks(tmp_path: Path, why: str) -> None:
    """Names in common and flat areas are not enough: each of the other signs can be what is missing."""
    for k in (3, 9, 31):
        photo(tmp_path / "photo" / f"street{k}.png", k)
        (tmp_path / "drawing").mkdir(exist_ok=True)
        drawn = Image.new("L", (40, 40), 9)
        if why != "one area":
            ImageDraw.Draw(drawn).rectangle((10, 10, 25, 25), fill=99)
        if why == "many values":
            shade_HW = np.arange(40, dtype=np.uint8)[:, None].repeat(40, 1)
            shade_HW[:, 20:] += 100
            drawn = Image.fromarray(shade_HW)
        if why == "another size":
            drawn = drawn.resize((41, 40), Image.Resampling.NEAREST)
        drawn.save(tmp_path / "drawing" / f"street{k}.png")
        if why == "few alike":
            for other in "abc":
                drawn.save(tmp_path / "drawing" / f"{other}{k}.png")
    assert open_dataset(tmp_path).classes == ("drawing", "photo")


def test_masks_within_the_class_folders(tmp_path: Path) -> None:
    for c in ("benign", "malignant"):
        for k in range(4):
            photo(tmp_path / c / f"{c} ({k}).png", k)
            label_map(tmp_path / c / f"{c} ({k})_mask.png")
    assert "benign (0)_mask.png is one of benign/benign (0).png" in refused(tmp_path)


def test_splits_of_pictures_beside_splits_of_masks_are_no_photographs(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for k in range(5):
            photo(tmp_path / split / f"s{k}1.png", k)
            label_map(tmp_path / f"{split}annot" / f"s{k}1.png")
    assert "label masks" in refused(tmp_path)


def test_masks_are_no_photographs(tmp_path: Path) -> None:
    """With an image beside the folders they do not look like classes, and masks they are."""
    photo(tmp_path / "cover.jpg", 99)
    for k in range(4):
        photo(tmp_path / "walks" / f"s{k}1.png", k)
        label_map(tmp_path / "zones" / f"s{k}1.png")
    message = refused(tmp_path)
    assert "label masks" in message
    assert f"{tmp_path}@photos" in message


def test_flat_drawings_are_classes(tmp_path: Path) -> None:
    """Binary drawings in every class, as in Omniglot: no folder has pictures of which they could be maps."""
    for c in range(3):
        for k in range(9):
            label_map(tmp_path / f"character{c:02}" / f"{k:04}.png", box=(5 + c, 5, 20 + k, 30))
    assert len(open_dataset(tmp_path).classes) == 3


def test_flat_images_of_one_class_are_no_masks_of_another(tmp_path: Path) -> None:
    """Numbered alike and of one size, but what is flat in one has no edge where the other has one."""
    for k in range(9):
        photo(tmp_path / "cell" / f"{k}.png", k, box=(2, 2, 8, 8))
        label_map(tmp_path / "empty" / f"{k}.png", box=(20, 20, 36, 30))
        Image.new("RGB", (40, 40), (k, 9, 9)).save(tmp_path / "empty" / f"{k}.png") if k % 2 else None
    assert open_dataset(tmp_path).classes == ("cell", "empty")


def test_scanned_digits_are_classes(tmp_path: Path) -> None:
    """Grey on black, numbered, 28 x 28, and some of few values: MNIST as it is unpacked."""
    places = np.random.default_rng(0)
    for digit in "18":
        for k in range(9):
            image = Image.new("L", (112, 112))
            ImageDraw.Draw(image).text(
                (int(places.integers(10, 60)), int(places.integers(0, 20))), digit, fill=255, font_size=90
            )
            (tmp_path / digit).mkdir(exist_ok=True)
            image.resize((28, 28), Image.Resampling.BICUBIC).save(tmp_path / digit / f"{k}.png")
    assert open_dataset(tmp_path).classes == ("1", "8")


# -- names of layouts, splits and depth --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("JPEGImages", "SegmentationClass"),
        ("leftImg8bit", "gtFine"),
        ("images", "labels"),
        ("rgb", "depth"),
        ("train_images", "test_images"),
        ("trainA", "trainB", "testA", "testB"),
    ],
)
def test_folders_called_like_parts_of_a_layout(tmp_path: Path, names: tuple[str, ...]) -> None:
    message = refused(classes(tmp_path, *names, called="{c}{k}.jpg"))
    assert "parts of a layout" in message
    assert f"{sorted(names)[0]}/" in message


@pytest.mark.parametrize(
    "names",
    [
        ("mask", "no_mask"),
        ("labels", "barcodes"),
        ("text", "image"),
        ("0", "1", "2"),
        ("n01440764", "n01443537"),
        ("test_positive", "test_negative"),
    ],
)
def test_classes_that_sound_like_parts_of_a_layout(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Numbered alike in every class, as most exports are."""
    dataset = open_dataset(classes(tmp_path, *names))
    assert dataset.spec.layout == "class-folders"
    assert dataset.classes == tuple(sorted(names))


def test_parts_of_a_layout_below_the_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        classes(tmp_path / split, "img", called="x{k}.jpg")
    assert "img/" in refused(tmp_path)


def test_towns_are_no_classes(tmp_path: Path) -> None:
    """Cityscapes' pictures alone: the towns of val are none of train's."""
    classes(tmp_path / "train", "aachen", "bochum", called="{name}_{k}.png")
    classes(tmp_path / "val", "frankfurt", "lindau", called="{name}_{k}.png")
    message = refused(tmp_path)
    assert "(frankfurt, lindau) of which none is in train/ (aachen, bochum)" in message
    named = classes(tmp_path / "of-train", "aachen", "bochum", called="{name}_{k}_leftImg8bit.png")
    assert "parts of a layout" in refused(named)


def test_the_classes_are_deeper(tmp_path: Path) -> None:
    for domain in ("art", "clipart", "photo"):
        classes(tmp_path / domain, "bike", "clock", each=2)
    message = refused(tmp_path)
    assert "(bike, clock)" in message
    assert f"give one of them, as {tmp_path / 'art'}" in message
    for name in ("cifar", "pets"):
        for split in ("train", "test"):
            classes(tmp_path / "many" / name / split, name, each=2)
    assert "(test, train)" in refused(tmp_path / "many")
    for name in ("sun", "birds"):
        classes(tmp_path / "other" / name / "train", name, each=2)
    assert "(train)" in refused(tmp_path / "other")


def test_images_below_the_class_folders_are_theirs(tmp_path: Path) -> None:
    for name, batches in (("cat", ("monday", "tuesday")), ("dog", ("wednesday",))):
        classes(tmp_path / name, *batches)
    assert open_dataset(tmp_path).classes == ("cat", "dog")


def test_a_folder_around_a_data_set(tmp_path: Path) -> None:
    for split in ("train", "val"):
        classes(tmp_path / "in" / "side" / split, "cat", "dog", start=len(split))
    assert f"give {tmp_path / 'in' / 'side'}" in refused(tmp_path)


# -- splits that cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["val", "test", "validation"])
@pytest.mark.parametrize("full", [True, False])
def test_a_split_that_cannot_be_judged_on_is_not_passed_over(tmp_path: Path, bad: str, full: bool) -> None:
    classes(tmp_path / "train", "n01", "n02")
    (tmp_path / bad).mkdir()
    if full:
        photo(tmp_path / bad / "ILSVRC2012_val_00000001.JPEG", 1)
    message = refused(tmp_path)
    assert f"{bad}/ has {'images in no class folder' if full else 'no images'}" in message
    assert f"give {tmp_path / 'train'} to judge on a fifth of it" in message
    dataset = open_dataset(tmp_path, layout="class-folders")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 16, "val": 4}
    assert [(s.item, s.reason) for s in dataset.skipped] == [(bad, "holds no folder a class")]
    assert len(open_dataset(tmp_path / "train").splits["val"]) == 4


def test_a_flat_test_split_beside_val_is_named_as_left_out(tmp_path: Path) -> None:
    classes(tmp_path / "train", "a", "b")
    classes(tmp_path / "val", "a", "b", start=500)
    photo(tmp_path / "test" / "1.jpg", 1)
    photo(tmp_path / "train" / "loose.jpg", 2)
    photo(tmp_path / "sheet.jpg", 3)
    skipped = {s.item: s.reason for s in open_dataset(tmp_path).skipped}
    assert skipped == {
        "test": "holds no folder a class",
        "train/loose.jpg": "lies in no class folder",
        "sheet.jpg": "lies beside the splits",
    }


def test_a_class_called_train(tmp_path: Path) -> None:
    """CIFAR-100 has one. Beside folders that look like classes it could be a split too."""
    classes(tmp_path, "plane", "ship", "train")
    assert f"{tmp_path}@class-folders" in refused(tmp_path)
    dataset = open_data(f"{tmp_path}@class-folders", tmp_path)
    assert dataset.classes == ("plane", "ship", "train")
    assert dataset.skipped == ()
    inside = classes(tmp_path / "split" / "train", "plane", "train").parent
    classes(inside / "test", "plane", "train", start=500)
    assert open_dataset(inside).classes == ("plane", "train")


def test_classes_that_train_lacks_are_said(tmp_path: Path) -> None:
    classes(tmp_path / "train", "Cat", "dog")
    classes(tmp_path / "val", "cat", "dog", "emu", start=500)
    assert open_dataset(tmp_path).notes == (
        "2 of 3 classes in val have nothing in train: cat, emu",
        "cat in val is written Cat in train",
    )


# -- views, frames, videos ---------------------------------------------------------------------------------------------


def test_views_of_the_same_things_are_no_classes(tmp_path: Path) -> None:
    for k in (139, 285, 632, 724, 776, 785, 802, 872, 885, 1000):
        photo(tmp_path / "hazy" / f"{k:012}.jpg", k)
        photo(tmp_path / "clear" / f"{k:012}.jpg", k + 1)
    assert "such as 000000000139" in refused(tmp_path)


def test_a_count_that_is_divided_alike_over_the_splits_is_no_pairing(tmp_path: Path) -> None:
    """The same every-so-many of each class in val: what one seed gives for classes of one size."""
    val = {3, 4, 11, 17, 23, 29, 30, 41, 48, 55}
    for c, name in enumerate(("cat", "dog")):
        for k in range(60):
            photo(tmp_path / ("val" if k in val else "train") / name / f"{k:03}.jpg", 100 * c + k)
    assert open_dataset(tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("stems", "counted"),
    [
        (["0001", "0002", "0003"], True),
        (["a_5", "a_10", "a_15"], True),
        (["img1b", "img2b", "img4b"], True),
        (["000139", "000285", "000632"], False),
        (["a1", "b2"], False),
        (["cat"], False),
        ([], False),
    ],
)
def test_what_is_a_count(stems: list[str], counted: bool) -> None:
    assert numbered(stems) is counted


def video(folder: Path, frames: int = 24, step: int = 1) -> Path:
    """A box that crosses a still background."""
    background = int(folder.name[-1])
    for k in range(frames):
        photo(folder / f"{step * k + 1:08}.jpg", background, box=(k, 5, k + 14, 30))
    return folder


def test_frames_of_videos_are_no_classes(tmp_path: Path) -> None:
    for name in ("video1", "video2", "video3"):
        video(tmp_path / name)
    assert "frames of a video" in (message := refused(tmp_path))
    assert "groundtruth.txt, x,y,w,h a line" in message
    assert open_dataset(tmp_path, layout="class-folders").classes == ("video1", "video2", "video3")


def test_what_is_no_video(tmp_path: Path) -> None:
    """A class whose images are counted; views that are named by their angle, as in COIL-100; shades of grey."""
    assert not are_videos(sorted(classes(tmp_path / "set", "a", "b", each=24).iterdir()))
    assert not are_videos([video(tmp_path / f"object{k}", step=5) for k in range(3)])
    for k in range(24):
        (tmp_path / "greys").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 4 * k).save(tmp_path / "greys" / f"{k}.png")
    assert not are_videos([tmp_path / "greys"])
    assert are_videos([video(tmp_path / "video1")])


@pytest.mark.parametrize(
    "truth", ["walk1/groundtruth.txt", "walk1/groundtruth_rect.txt", "walk1/gt/gt.txt", "person/walk1/groundtruth.txt"]
)
def test_videos_with_their_truth(tmp_path: Path, truth: str) -> None:
    parts = Path(truth).parts
    base = tmp_path / Path(*parts[: parts.index("walk1")])
    for name in ("walk1", "walk2"):
        video(base / name, frames=3)
    (tmp_path / truth).parent.mkdir(exist_ok=True)
    (tmp_path / truth).write_text("1,2,3,4\n")
    if "gt" in parts:
        message = refused(tmp_path)
        assert truth in message
        assert "MOT" in message
        assert "x,y,w,h a line, to groundtruth.txt" in message
        assert f"{tmp_path}@photos" in message
    else:
        (read,) = open_dataset(tmp_path).splits["all"]
        assert read.id == Path(truth).parent.as_posix()
    assert len(open_data(f"{tmp_path}@photos", tmp_path).splits["val"]) == 6


# -- labels that nothing reads -----------------------------------------------------------------------------------------


def test_yolo_labels_are_not_passed_over(tmp_path: Path) -> None:
    for split in ("train", "val"):
        photo(tmp_path / "images" / split / "a.jpg", 1)
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.25 0.1\n3 0.1 0.2 0.1 1\n")
    message = refused(tmp_path)
    assert "YOLO labels (labels/train/a.txt)" in message
    assert "COCO format" in message


@pytest.mark.parametrize("text", ["a dog on a lawn\n", "0 12 30 40 50\n", "5\n", ""])
def test_other_texts_beside_photographs_are_no_labels(tmp_path: Path, text: str) -> None:
    photo(tmp_path / "a.jpg", 1)
    (tmp_path / "a.txt").write_text(text)
    assert open_dataset(tmp_path).spec.layout == "photos"


def test_voc_labels_are_not_passed_over(tmp_path: Path) -> None:
    photo(tmp_path / "JPEGImages/a.jpg", 1)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/a.xml").write_text("<annotation>\n<object/></annotation>")
    assert "Pascal VOC labels (Annotations/a.xml)" in refused(tmp_path)


def body(*names: str) -> str:
    images = [{"id": k, "file_name": name, "width": 40, "height": 40} for k, name in enumerate(names)]
    boxes = [{"id": k, "image_id": k, "category_id": 1, "bbox": [1, 1, 9, 9]} for k in range(len(names))]
    return json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "x"}]}, indent=1)


@pytest.mark.parametrize("place", ["mine.json", "annotations/mine.json"])
def test_a_coco_file_of_another_name_is_read_where_asked_for(tmp_path: Path, place: str) -> None:
    for k in range(5):
        photo(tmp_path / "images" / f"{k}.jpg", k)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(body(*(f"{k}.jpg" for k in range(5))))
    message = refused(tmp_path)
    assert place in message
    assert f"{tmp_path}@coco" in message
    dataset = open_data(f"{tmp_path}@coco", tmp_path)
    assert dataset.provides == {"labels", "regions", "dense-labels"}
    assert sum(map(len, dataset.splits.values())) == 5
    (tmp_path / place).write_text(json.dumps({"images": [], "note": "no annotations here"}))
    assert open_dataset(tmp_path).spec.layout == "photos"


def test_annotations_say_what_images_in_folders_are(tmp_path: Path) -> None:
    """COCO's own file is no doubtful sign: the folders of its images are not asked about."""
    for split in ("train", "val"):
        classes(tmp_path / split, "north", "south", each=2)
        names = [f"{side}/000{k}.jpg" for side in ("north", "south") for k in range(2)]
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / f"annotations/instances_{split}.json").write_text(body(*names))
    classes(tmp_path / "training", "north", "south", each=2)  # a second train folder, were folders what counts
    assert open_dataset(tmp_path).classes == ("x",)
    assert Photos().recognises(tmp_path) is None


def test_coco_files_beside_those_that_are_read_are_listed(tmp_path: Path) -> None:
    photo(tmp_path / "train/a.jpg", 1)
    for name in ("annotations/instances_train.json", "annotations/captions_train.json", "labels.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(body("a.jpg"))
    (skipped,) = open_dataset(tmp_path).skipped
    assert skipped.item == "labels.json"
    assert skipped.reason == "is in COCO format too, and annotations/instances_train.json is read"


# -- choosing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stub:
    layout: str
    sighting: Sighting | None

    def recognises(self, folder: Path) -> Sighting | None:
        return self.sighting

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        raise NotImplementedError


def test_the_sure_one_reads_and_two_sure_ones_are_asked_about(tmp_path: Path) -> None:
    sure, other = (Stub(name, Sighting("sure", f"{name} words")) for name in ("one", "two"))
    doubtful = Stub("three", Sighting("doubtful", "is odd; give another"))
    last, blind = Stub("four", Sighting("last resort", "images")), Stub("five", None)
    assert choose(tmp_path, (doubtful, sure, last)) is sure
    assert choose(tmp_path, (blind, last)) is last
    assert choose(tmp_path, (blind, blind)) is blind
    with pytest.raises(UserError, match=r"is odd; give another\.$"):
        choose(tmp_path, (last, doubtful))
    with pytest.raises(UserError, match=r"one \(one words\) and two \(two words\); write .*@one"):
        choose(tmp_path, (sure, other))


def test_a_layout_that_is_none(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    with pytest.raises(
        UserError,
        match=r"'phtos' is no layout .*coco, got10k, lasot, llava, lvis, refer, tnl2k, trackingnet, videos, voc, class-folders, photos",
    ):
        open_data(f"{tmp_path}@phtos", tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        open_data(f"{tmp_path}/none@photos", tmp_path)
    with pytest.raises(UserError, match="holds no annotations/instances"):
        open_data(f"{tmp_path}@coco", tmp_path)
    assert open_data(f"{tmp_path}@photos", tmp_path).spec == open_data(str(tmp_path), tmp_path).spec


# -- real ones ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real inputs are not beside this checkout")
def test_real_coco_and_a_real_video_are_read() -> None:
    dataset = open_dataset(SHARED / "coco")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 60, "val": 40}
    assert dataset.saw == "annotations/instances_train2017.json and annotations/instances_val2017.json"
    for folder in (SHARED / "tracking", SHARED / "tracking/crossing"):
        (video,) = open_dataset(folder).splits["all"]
        assert isinstance(video, Video)
        assert (video.id, video.origin, len(video.frames)) == ("crossing", 1, 120)
        assert video.track().boxes_T4[0].tolist() == [205, 151, 17, 50]
    assert are_videos([SHARED / "tracking/crossing"])
    assert not are_videos([SHARED / "coco/train2017"])
