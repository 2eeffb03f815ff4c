"""The readers of GOT-10k, LaSOT, TrackingNet, TNL2K and of anybody's own videos, on folders as their downloads leave them."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from rice_core.datasets import Dataset, Video, data_digest, file_digests, limit, open_dataset
from rice_core.datasets.class_folders import ClassFolders
from rice_core.datasets.describe import describe
from rice_core.datasets.foreign import tracking_truth
from rice_core.datasets.layout import Reader
from rice_core.datasets.reading import _installed, choose
from rice_core.datasets.videos.got10k import Got10k, selected
from rice_core.datasets.videos.lasot import Lasot, _test_numbers
from rice_core.datasets.videos.own import Videos
from rice_core.datasets.videos.source import over
from rice_core.datasets.videos.tnl2k import Tnl2k, _test_names
from rice_core.datasets.videos.trackingnet import TrackingNet
from rice_core.errors import UserError
from rice_core.left_out import left_out

READERS: dict[str, Reader] = {r.layout: r for r in (Got10k(), Lasot(), Tnl2k(), TrackingNet(), Videos())}


def frames(folder: Path, names: Iterable[object], suffix: str = ".jpg") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}{suffix}").write_bytes(b"")  # no reader decodes one
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rows(n: int) -> str:
    return "".join(f"{k}.5,20,40,30\n" for k in range(n))


def opened(folder: Path, layout: str, judge: str = "val") -> Dataset:
    return READERS[layout].open(folder, name="set", judge=judge)  # type: ignore[arg-type]


def seen(folder: Path) -> str:
    """The layout that a folder is read as."""
    return choose(folder, _installed([])).layout


def ids(data: Dataset) -> dict[str, list[str]]:
    return {split: [video.id for video in videos] for split, videos in data.splits.items()}


def only(data: Dataset) -> Video:
    (video,) = [item for items in data.splits.values() for item in items]
    assert isinstance(video, Video)
    return video


def said(data: Dataset) -> str:
    return "\n".join(left_out(data.skipped, most=99))


# -- GOT-10k -----------------------------------------------------------------------------------------------------------


def got10k(
    folder: Path, split: str, numbers: Sequence[int] = (1, 2), n: int = 5, listed: Sequence[int] | None = None
) -> Path:
    for number in numbers:
        video = frames(folder / split / f"GOT-10k_{split.title()}_{number:06}", [f"{k:08}" for k in range(1, n + 1)])
        write(video / "groundtruth.txt", rows(1 if split == "test" else n))
        if split != "test":
            write(video / "absence.label", "0\n" * (n - 1) + "1\n")
            write(video / "cover.label", "8\n0\n" + "3\n" * (n - 2))
            write(video / "cut_by_image.label", "1\n" + "0\n" * (n - 1))
            write(
                video / "meta_info.ini",
                "[METAINFO]\nurl: https://a/b\nobject_class: anteater\nmotion_class: walking\nresolution: (64, 48)\n",
            )
    names = [f"GOT-10k_{split.title()}_{number:06}" for number in (numbers if listed is None else listed)]
    write(folder / split / "list.txt", "".join(f"{name}\n" for name in names))
    return folder


def test_got10k_by_its_own_splits(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        got10k(tmp_path, split)
    assert seen(tmp_path) == "got10k"
    data = opened(tmp_path, "got10k")
    assert list(data.splits) == ["train", "val", "test"]
    assert ids(data)["val"] == ["GOT-10k_Val_000001", "GOT-10k_Val_000002"]
    assert data.provides == {"videos"}
    assert data.skipped == ()
    video = data.splits["val"][0]
    assert isinstance(video, Video)
    assert (video.origin, video.attributes["class"], video.attributes["resolution"]) == (0, "anteater", "(64, 48)")
    track = video.track()
    assert track.boxes_T4[2].tolist() == [2.5, 20, 40, 30]
    assert track.absent_T.tolist() == [False, True, False, False, True]
    assert track.flags["cover"].tolist() == [8, 0, 3, 3, 3]
    assert track.flags["absence"].tolist() == [0, 0, 0, 0, 1]
    assert track.flags["cut_by_image"].tolist() == [1, 0, 0, 0, 0]
    assert track.flagged
    hidden = data.splits["test"][0]
    assert isinstance(hidden, Video)
    assert (len(hidden.frames), hidden.track().boxes_T4.shape, hidden.track().flagged) == (5, (1, 4), False)
    again = pickle.loads(pickle.dumps(video))
    assert again.track().boxes_T4.tolist() == track.boxes_T4.tolist()
    assert list(again.frames) == list(video.frames)
    assert next(iter(describe(data))) == "data set set (got10k): 2 train, 2 val, 2 test videos, 30 frames"


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_of_got10k_alone(tmp_path: Path, split: str) -> None:
    folder = got10k(tmp_path, split) / split
    assert seen(folder) == "got10k"
    assert list(opened(folder, "got10k").splits) == [split]
    moved = folder.rename(tmp_path / "mine")
    assert list(opened(moved, "got10k").splits) == [split]


def test_got10k_partly_there_is_counted(tmp_path: Path) -> None:
    got10k(tmp_path, "train", [1, 2, 9], listed=range(1, 9))
    (tmp_path / "train/GOT-10k_Train_000002/groundtruth.txt").unlink()
    (tmp_path / "train/GOT-10k_Train_000001/absence.label").unlink()
    data = opened(tmp_path, "got10k")
    assert ids(data) == {"train": ["GOT-10k_Train_000001"]}
    assert not only(data).track().absent_T[4]
    assert "6 times, first GOT-10k_Train_000003: is in train/list.txt and not in the folder" in said(data)
    assert "GOT-10k_Train_000009: is not in train/list.txt" in said(data)
    assert "GOT-10k_Train_000002: has no groundtruth.txt" in said(data)
    write(tmp_path / "train/list.txt", "".join(f"GOT-10k_Train_{k:06}\n" for k in range(1, 9336)))
    (line,) = [skip for skip in opened(tmp_path, "got10k").skipped if "list.txt" in skip.reason]
    assert (line.item, line.times) == ("GOT-10k_Train_000003 and 9331 more videos", 9332)


def test_got10k_as_its_parts_are_unpacked(tmp_path: Path) -> None:
    got10k(tmp_path / "a", "train", [1])
    (tmp_path / "a/train/list.txt").unlink()
    part = tmp_path / "full_data" / "train_data" / "GOT-10k_Train_split_01"
    part.parent.mkdir(parents=True)
    (tmp_path / "a/train").rename(part)
    assert seen(tmp_path) == "got10k"
    assert ids(opened(tmp_path, "got10k")) == {"train": ["GOT-10k_Train_000001"]}


def test_vottrain_as_published_and_corrected() -> None:
    """Of the 1,000 videos that VOT forbids, the lists of pytracking and OSTrack have all but 110."""
    all_ids = [f"GOT-10k_Train_{k:06}" for k in range(1, 9336)]
    train, val = set(selected(all_ids, "vottrain")), set(selected(all_ids, "votval"))
    assert (len(train), len(val), len(train & val)) == (7086, 1249, 0)
    new_train, new_val = (set(selected(all_ids, f"{which}-corrected")) for which in ("vottrain", "votval"))  # type: ignore[arg-type]
    forbidden = set(all_ids) - new_train - new_val
    assert (len(forbidden), len(new_train & new_val)) == (1000, 0)
    assert {f"GOT-10k_Train_{k:06}" for k in (4, 13, 15, 20, 24)} <= forbidden
    assert (len(forbidden & train), len(forbidden & val), len(forbidden - train - val)) == (765, 125, 110)
    assert (len(new_train), len(new_val)) == (7081, 1254)
    assert selected(["GOT-10k_Val_000001", "mine-1"], "vottrain") == ()
    # Rows 3784 and 8998 of list.txt are the first of the published list.
    assert {"GOT-10k_Train_003785", "GOT-10k_Train_008999"} <= train


# -- LaSOT -------------------------------------------------------------------------------------------------------------


def lasot(folder: Path, name: str, n: int = 5, images: int = 5, flags: bool = True) -> Path:
    video = folder / name.rpartition("-")[0] / name
    frames(video / "img", [f"{k:08}" for k in range(1, images + 1)])
    write(video / "groundtruth.txt", "".join(f"{k + 1},20,40,30\n" for k in range(n)))
    if flags:
        write(video / "full_occlusion.txt", ",".join("01000"[:n]) + "\n")
        write(video / "out_of_view.txt", ",".join("00010"[:n]))
    write(video / "nlp.txt", "white airplane landing\n")
    return video


def test_lasot_by_its_280(tmp_path: Path) -> None:
    assert sum(map(len, _test_numbers().values())) == 280
    assert len(_test_numbers()) == 70
    for name in ("airplane-1", "airplane-2", "airplane-13", "zebra-20", "zebra-10"):
        lasot(tmp_path, name)
    assert seen(tmp_path) == "lasot"
    data = opened(tmp_path, "lasot")
    assert ids(data) == {"train": ["airplane-2", "zebra-20"], "test": ["airplane-1", "airplane-13", "zebra-10"]}
    video = data.splits["test"][0]
    assert isinstance(video, Video)
    assert (video.origin, dict(video.attributes)) == (1, {"class": "airplane", "sentence": "white airplane landing"})
    track = video.track()
    assert track.boxes_T4[0].tolist() == [1, 20, 40, 30]
    # An absent frame may have a positive box: flags decide, never size.
    assert track.absent_T.tolist() == [False, True, False, True, False]
    assert track.flagged
    assert seen(tmp_path / "airplane") == "lasot"
    assert ids(opened(tmp_path / "airplane", "lasot")) == {
        "train": ["airplane-2"],
        "test": ["airplane-1", "airplane-13"],
    }


def test_lasot_five_rows_seven_images(tmp_path: Path) -> None:
    lasot(tmp_path, "airplane-1", 5, 7)
    data = opened(tmp_path, "lasot")
    video = only(data)
    assert [path.name for path in video.frames] == [f"{k:08}.jpg" for k in range(1, 6)]
    assert len(video.track().boxes_T4) == 5
    assert said(data) == "left out: airplane-1: is read without 2 frames past the annotation"


def test_lasot_unpacked_twice_deep_and_its_own_lists(tmp_path: Path) -> None:
    for name in ("airplane-1", "airplane-2", "airplane-3", "mine-1"):
        lasot(tmp_path / "LaSOTBenchmark" / name.rpartition("-")[0], name)
    lasot(tmp_path / "LaSOTBenchmark", "airplane-2")
    assert seen(tmp_path) == "lasot"
    data = opened(tmp_path, "lasot")
    assert ids(data) == {"train": ["airplane-2", "airplane-3"], "test": ["airplane-1"]}
    assert "mine-1: is in neither list of LaSOT" in said(data)
    assert "is there twice" in said(data)
    write(tmp_path / "LaSOTBenchmark/testing_set.txt", "airplane-3\r\nmine-1\r\n")
    write(tmp_path / "LaSOTBenchmark/training_set.txt", "airplane-2\n")
    data = opened(tmp_path, "lasot")
    assert ids(data) == {"train": ["airplane-2"], "test": ["airplane-3", "mine-1"]}
    assert "airplane-1: is in neither list" in said(data)


def test_a_folder_in_the_layout_of_lasot_is_one_split(tmp_path: Path) -> None:
    lasot(tmp_path, "mine-1")
    lasot(tmp_path, "other-1", flags=False)
    data = opened(tmp_path, "lasot")
    assert seen(tmp_path) == "lasot"
    assert ids(data) == {"all": ["mine-1", "other-1"]}
    assert "1 videos have not both of full_occlusion.txt and out_of_view.txt, such as other-1" in data.notes[0]
    assert not data.splits["all"][1].track().flagged  # type: ignore[union-attr]


def test_lasots_extension_counts_from_nought_and_is_a_set_of_its_own(tmp_path: Path) -> None:
    lasot(tmp_path, "atv-1")
    assert only(opened(tmp_path, "lasot")).origin == 0
    assert ids(opened(tmp_path, "lasot")) == {"test": ["atv-1"]}
    lasot(tmp_path, "airplane-1")
    data = opened(tmp_path, "lasot")
    assert ids(data) == {"test": ["airplane-1"]}
    assert "atv-1: is of LaSOT's extension" in said(data)


def test_attributes_of_the_toolkits(tmp_path: Path) -> None:
    lasot(tmp_path, "airplane-1")
    write(tmp_path / "annos/att/airplane-1.txt", "0,1,0,0,1,0,0,0,0,0,0,0,0,1\n")
    assert only(opened(tmp_path, "lasot")).attributes["subsets"] == "POC,CM,ARC"


def test_flags_that_do_not_fit(tmp_path: Path) -> None:
    video = lasot(tmp_path, "airplane-1")
    write(video / "out_of_view.txt", "0,0,0,0,1,1")
    data = opened(tmp_path, "lasot")
    assert only(data).track().absent_T.tolist() == [False, True, False, False, True]
    assert "airplane-1: has 1 more flags out_of_view than rows" in said(data)
    write(video / "out_of_view.txt", "0,0,0,0")
    with pytest.raises(UserError, match=r"airplane-1 has 4 flags in out_of_view\.txt for 5 boxes"):
        opened(tmp_path, "lasot")


# -- TrackingNet -------------------------------------------------------------------------------------------------------


def trackingnet(folder: Path, chunk: str, names: Sequence[str], n: int = 12, extracted: bool = True) -> Path:
    for name in names:
        write(folder / chunk / "anno" / f"{name}.txt", rows(1 if chunk.lower() == "test" else n))
        if extracted:
            frames(folder / chunk / "frames" / name, range(n))
    (folder / chunk / "zips").mkdir(exist_ok=True)
    return folder


def test_trackingnet_counts_frames_from_nought_without_zeros(tmp_path: Path) -> None:
    trackingnet(tmp_path, "TRAIN_0", ["a_0", "b_1"])
    trackingnet(tmp_path, "TRAIN_11", ["c"])
    trackingnet(tmp_path, "TEST", ["d"])
    assert seen(tmp_path) == "trackingnet"
    data = opened(tmp_path, "trackingnet")
    assert ids(data) == {"train": ["TRAIN_0/a_0", "TRAIN_0/b_1", "TRAIN_11/c"], "test": ["TEST/d"]}
    train, test = data.splits["train"][0], data.splits["test"][0]
    assert isinstance(train, Video)
    assert isinstance(test, Video)
    assert [path.stem for path in train.frames] == [str(k) for k in range(12)]
    assert train.track().boxes_T4[10, 0] == 10.5
    assert not train.track().flagged
    assert (len(test.frames), test.track().boxes_T4.shape) == (12, (1, 4))


@pytest.mark.parametrize("chunk", ["Train_3", "train_0", "Test", "TEST"])
def test_chunks_of_trackingnet_in_any_case_and_alone(tmp_path: Path, chunk: str) -> None:
    trackingnet(tmp_path, chunk, ["a"])
    split = "test" if chunk.lower() == "test" else "train"
    for folder in (tmp_path, tmp_path / chunk):
        assert seen(folder) == "trackingnet"
        assert ids(opened(folder, "trackingnet")) == {split: [f"{chunk.upper()}/a"]}


def test_chunks_of_trackingnet_are_no_splits_of_class_folders(tmp_path: Path) -> None:
    for chunk in ("TRAIN_0", "TRAIN_1", "TEST"):
        trackingnet(tmp_path, chunk, ["a", "b"])
    assert open_dataset(tmp_path).spec.layout == "trackingnet"
    # They are not looked through for classes: there may be 30,000 videos.
    assert tracking_truth(tmp_path) == "TEST/anno/a.txt"
    assert ClassFolders().recognises(tmp_path) is None


def test_the_first_frame_of_trackingnet_has_number_nought(tmp_path: Path) -> None:
    trackingnet(tmp_path, "TRAIN_0", ["a", "b"])
    (tmp_path / "TRAIN_0/frames/a/0.jpg").unlink()
    data = opened(tmp_path, "trackingnet")
    assert ids(data) == {"train": ["TRAIN_0/b"]}
    assert "TRAIN_0/a: has a gap: frame 0 is missing of 0 to 11" in said(data)


def test_trackingnet_that_is_not_extracted_is_counted(tmp_path: Path) -> None:
    trackingnet(tmp_path, "TRAIN_0", ["a"])
    trackingnet(tmp_path, "TRAIN_0", [f"v{k}" for k in range(500)], extracted=False)
    trackingnet(tmp_path, "TRAIN_1", [f"w{k}" for k in range(500)], extracted=False)
    frames(tmp_path / "TRAIN_0/frames/unknown", range(3))
    data = opened(tmp_path, "trackingnet")
    assert ids(data) == {"train": ["TRAIN_0/a"]}
    (line,) = [skip for skip in data.skipped if "not extracted" in skip.reason]
    assert (line.item, line.times) == ("TRAIN_0/v0 and 999 more videos", 1000)
    assert "TRAIN_0/unknown: has frames and no file in anno/" in said(data)
    alone = trackingnet(tmp_path / "other", "TRAIN_2", ["a", "b"], extracted=False)
    assert seen(alone) == "trackingnet"
    with pytest.raises(UserError, match=r"holds annotations of 2 videos and no frames of them; extract zips/"):
        opened(alone, "trackingnet")


# -- TNL2K -------------------------------------------------------------------------------------------------------------


def tnl2k(folder: Path, name: str, n: int = 5, images: Sequence[object] | None = None, suffix: str = ".jpg") -> Path:
    frames(folder / name / "imgs", images or [f"{k:05}" for k in range(1, n + 1)], suffix)
    write(folder / name / "groundtruth.txt", rows(n))
    write(folder / name / "language.txt", "the bird on the left\n")
    return folder / name


def test_tnl2k_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    video = tnl2k(tmp_path / "TNL2K_test_subset", "mine", 3, [1, 2], ".png")
    frames(video / "imgs", [10])
    for other in ("Thumbs.db", ".DS_Store", "notes.txt"):
        write(video / "imgs" / other, "")
    write(video / "firstFrame_bbox.jpg", "")
    assert seen(tmp_path) == "tnl2k"
    data = opened(tmp_path, "tnl2k")
    assert ids(data) == {"test": ["mine"]}
    assert [path.name for path in only(data).frames] == ["1.png", "2.png", "10.jpg"]
    assert only(data).attributes["sentence"] == "the bird on the left"
    assert "frames of 1 videos are read by their numbers, which is another order" in data.notes[-1]
    assert "nothing says where an object is out of sight" in data.notes[0]


def test_tnl2k_by_its_700(tmp_path: Path) -> None:
    assert len(_test_names()) == 700
    for name in ("Assian_video_Z03_done", "Arrow_Video_ZZ04_done", "monitor_manypeople"):
        tnl2k(tmp_path, name)
    assert ids(opened(tmp_path, "tnl2k")) == {
        "train": ["Arrow_Video_ZZ04_done"],
        "test": ["Assian_video_Z03_done", "monitor_manypeople"],
    }
    write(tmp_path / "TNL2K_train_set.txt", "Assian_video_Z03_done\nmonitor_manypeople\n")
    write(tmp_path / "TNL2K_testing_set.txt", "Arrow_Video_ZZ04_done\nmonitor_manypeople\n")
    assert ids(opened(tmp_path, "tnl2k")) == {
        "train": ["Assian_video_Z03_done"],
        "test": ["Arrow_Video_ZZ04_done", "monitor_manypeople"],
    }


def test_tnl2k_a_video_called_alike_in_train_and_test(tmp_path: Path) -> None:
    tnl2k(tmp_path / "TNL2K_train", "monitor_manypeople")
    tnl2k(tmp_path / "TNL2K_test", "monitor_manypeople")
    data = opened(tmp_path, "tnl2k")
    assert ids(data) == {"train": ["train/monitor_manypeople"], "test": ["monitor_manypeople"]}
    assert "1 videos are called alike in train and test, such as monitor_manypeople" in data.notes[1]


def test_tnl2k_flags_of_its_toolkit(tmp_path: Path) -> None:
    tnl2k(tmp_path, "Assian_video_Z03_done")
    assert not only(opened(tmp_path, "tnl2k")).track().flagged
    write(tmp_path / "annos/absent/Assian_video_Z03_done.txt", "0 \n1 \n0 \n0 \n0 \n1 \n")
    write(tmp_path / "annos/att/Assian_video_Z03_done_attribute.txt", "1\n" + "0\n" * 15 + "1\n")
    data = opened(tmp_path, "tnl2k")
    track = only(data).track()
    assert track.absent_T.tolist() == [False, True, False, False, False]
    assert track.flagged
    assert only(data).attributes["subsets"] == "CM,MS"
    assert data.notes == ()
    # advSamp_monitor_bikeyellow has 929 boxes and 930 flags.
    assert "has 1 more flags absent than rows" in said(data)


def test_tnl2k_outside_its_splits(tmp_path: Path) -> None:
    tnl2k(tmp_path / "train", "mine")
    tnl2k(tmp_path, "other")
    data = opened(tmp_path, "tnl2k")
    assert ids(data) == {"train": ["mine"]}
    assert "other: is in no folder of a split and in neither list of TNL2K" in said(data)


def test_tnl2k_more_boxes_than_images(tmp_path: Path) -> None:
    tnl2k(tmp_path, "mine", 7, range(1, 6))
    data = opened(tmp_path, "tnl2k")
    assert (len(only(data).frames), len(only(data).track().boxes_T4)) == (5, 5)
    assert "mine: is read without 2 rows past the last frame" in said(data)


# -- anybody's own -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", ["groundtruth.txt", "groundtruth_rect.txt", "gt.txt", "GroundTruth.TXT"])
@pytest.mark.parametrize("images", ["", "img", "imgs", "frames", "Frames", "color", "clip_a"])
def test_videos_of_ones_own(tmp_path: Path, truth: str, images: str) -> None:
    for place in ("walk", "more/run"):
        frames(tmp_path / place / images, [f"{k:04}" for k in range(3)])
        write(tmp_path / place / truth, rows(3))
    assert seen(tmp_path) == "videos"
    data = opened(tmp_path, "videos")
    assert ids(data) == {"all": ["more/run", "walk"]}
    origin = 1 if "rect" in truth else 0
    assert {video.origin for video in data.splits["all"] if isinstance(video, Video)} == {origin}
    assert any("count pixels from 1" in note for note in data.notes) == bool(origin)
    assert (seen(tmp_path / "walk"), only(opened(tmp_path / "walk", "videos")).id) == ("videos", "walk")
    write(tmp_path / "origin.txt", f"{1 - origin}\n")
    other = opened(tmp_path, "videos")
    assert {video.origin for video in other.splits["all"] if isinstance(video, Video)} == {1 - origin}
    assert other.spec.fingerprint != data.spec.fingerprint
    write(tmp_path / "origin.txt", "2\n")
    with pytest.raises(UserError, match=r"origin\.txt says neither 0 nor 1"):
        opened(tmp_path, "videos")


def test_annotations_in_a_folder_of_their_own(tmp_path: Path) -> None:
    for name in ("walk", "run", "lost"):
        frames(tmp_path / "frames" / name, range(3))
    for name in ("walk", "run"):
        write(tmp_path / "anno" / f"{name}.txt", rows(3))
    assert seen(tmp_path) == "videos"
    data = opened(tmp_path, "videos")
    assert ids(data) == {"all": ["run", "walk"]}
    assert "lost: has no file in anno/" in said(data)


def test_splits_of_ones_own(tmp_path: Path) -> None:
    for place in ("Train/walk", "val/walk", "val/run"):
        frames(tmp_path / place, range(3))
        write(tmp_path / place / "groundtruth.txt", rows(3))
    data = opened(tmp_path, "videos")
    assert ids(data) == {"train": ["train/walk"], "val": ["run", "walk"]}
    assert "called alike in train and val, such as walk" in data.notes[0]
    with pytest.raises(UserError, match="has no train and test split"):
        opened(tmp_path, "videos", judge="test")


def test_several_objects_of_one_video(tmp_path: Path) -> None:
    frames(tmp_path / "Jogging/img", range(3))
    for k in (1, 2):
        write(tmp_path / f"Jogging/groundtruth_rect.{k}.txt", f"{k},2,3,4\n" * 3)
    frames(tmp_path / "Human4/img", range(3))
    write(tmp_path / "Human4/groundtruth_rect.1.txt", "")
    write(tmp_path / "Human4/groundtruth_rect.2.txt", rows(3))
    frames(tmp_path / "Both/img", range(3))
    write(tmp_path / "Both/groundtruth_rect.txt", rows(3))
    write(tmp_path / "Both/groundtruth.txt", rows(3))
    data = opened(tmp_path, "videos")
    assert ids(data) == {"all": ["Human4.2", "Jogging.1", "Jogging.2"]}
    assert "Human4" not in said(data)
    assert "Both: has groundtruth.txt and groundtruth_rect.txt, and nothing says which counts" in said(data)
    assert data.splits["all"][2].track().boxes_T4[0, 0] == 2  # type: ignore[union-attr]


def test_what_of_a_folder_cannot_be_used_is_named(tmp_path: Path) -> None:
    cases = {
        "fine": (range(5), 5),
        "short": (range(5), 3),
        "gap": ([0, 1, 3, 4], 5),
        "nought": ((), 5),
        "empty": (range(3), 0),
    }
    for name, (numbers, n) in cases.items():
        frames(tmp_path / name / "img", numbers)
        write(tmp_path / name / "groundtruth.txt", rows(n))
    frames(tmp_path / "bare/img", range(3))
    frames(tmp_path / "__MACOSX/fine", ["0"])
    frames(tmp_path / ".hidden", range(3))
    (tmp_path / "void").mkdir()
    frames(tmp_path / "odd/img", range(2))
    write(tmp_path / "odd/groundtruth.txt", "1,2,3,4\n1,2,3,4,5,6,7,8\n")
    write(tmp_path / "fine/img/Thumbs.db", "")
    frames(tmp_path / "one/img", range(4))
    write(tmp_path / "one/groundtruth.txt", "0,0,0,0\n")  # of zero size: kept, whoever follows it names it
    data = opened(tmp_path, "videos")
    assert ids(data) == {"all": ["fine", "one", "short"]}
    assert {skip.item: skip.reason for skip in data.skipped} == {
        "bare/img": "has images and no groundtruth.txt",
        "empty": "has no row in its annotation; write x,y,w,h a line",
        "gap": "has a gap: frame 2 is missing of 0 to 4; copy or extract its frames again",
        "nought": "has an annotation and no frames, or several folders of images of which none is called img",
        "odd": "odd/groundtruth.txt has in row 2 8 numbers, a polygon as VOT has them; write the upright box around each, x,y,w,h",
        "short": "is read without 2 frames past the annotation",
    }
    one = next(video for video in data.splits["all"] if video.id == "one")
    assert isinstance(one, Video)
    assert (len(one.frames), one.track().boxes_T4.tolist()) == (4, [[0, 0, 0, 0]])
    assert not one.track().usable_T[0]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["MOT17-02/gt/gt.txt", "MOT17-02/img1/000001.jpg"], "MOT's layout (MOT17-02/gt/gt.txt)"),
        (["train/MOT17-02/seqinfo.ini", "train/MOT17-02/img1/000001.jpg"], "MOT's layout (train/MOT17-02/seqinfo.ini)"),
        (["JPEGImages/480p/bear/0.jpg", "Annotations/480p/bear/0.png"], "DAVIS's layout (Annotations/480p/bear/)"),
        (["JPEGImages/bear/0.jpg", "Annotations/bear/0.png"], "DAVIS's layout (Annotations/bear/)"),
    ],
)
def test_videos_of_another_kind_are_refused_with_what_to_write(tmp_path: Path, files: list[str], said: str) -> None:
    for file in files:
        write(tmp_path / file, "1,1,1,2,3,4,1,1,1\n")
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)
    assert said in str(caught.value)
    assert "x,y,w,h a line, to groundtruth.txt beside the frames of a video" in str(caught.value)
    with pytest.raises(UserError, match=r"holds no frames beside a groundtruth\.txt"):
        opened(tmp_path, "videos")


def test_vots_list_is_not_got10ks(tmp_path: Path) -> None:
    """VOT has list.txt as well, frames in color/, and polygons, which are no boxes."""
    write(tmp_path / "list.txt", "bolt1\n")
    frames(tmp_path / "bolt1/color", [f"{k:08}" for k in range(1, 4)])
    write(tmp_path / "bolt1/groundtruth.txt", "1,2,3,2,3,4,1,4\n" * 3)
    with pytest.raises(
        UserError, match=r"can be read as videos. The first reason: bolt1 .* in row 1 8 numbers, a polygon"
    ):
        open_dataset(tmp_path)
    write(tmp_path / "bolt1/groundtruth.txt", rows(3))
    assert seen(tmp_path) == "videos"


def test_a_lasot_video_alone_counts_from_one(tmp_path: Path) -> None:
    folder = lasot(tmp_path, "airplane-1")
    assert seen(folder) == "lasot"
    assert (ids(opened(folder, "lasot")), only(opened(folder, "lasot")).origin) == ({"test": ["airplane-1"]}, 1)


@pytest.mark.parametrize("layout", ["lasot", "tnl2k"])
def test_videos_without_their_folder_of_frames_are_counted(tmp_path: Path, layout: str) -> None:
    write_one, names = (lasot, "airplane-{}") if layout == "lasot" else (tnl2k, "mine{}")
    for k in range(1, 21):
        folder = write_one(tmp_path, names.format(k))  # type: ignore[operator]
        if k > 1:
            images = folder / ("img" if layout == "lasot" else "imgs")
            images.rename(images.with_name("zips"))
    data = opened(tmp_path, layout)
    assert only(data).id == names.format(1)
    (line,) = [skip for skip in data.skipped if skip.times > 1]
    assert (line.times, "not extracted" in line.reason) == (19, True)


def test_frames_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "film/groundtruth.txt", rows(3))
    write(tmp_path / "film/film.mp4", "")
    with pytest.raises(UserError, match=r"holds film/groundtruth.txt and no images; extract the frames of each film"):
        open_dataset(tmp_path)
    frames(tmp_path / "net/TRAIN_0/frames/a", range(3))
    with pytest.raises(UserError, match=r"holds TRAIN_0/ as TrackingNet has it and no anno/ in it"):
        open_dataset(tmp_path / "net")


def test_names_that_are_no_text_and_what_others_leave(tmp_path: Path) -> None:
    for name in (b"walk", b"run\xff"):
        folder = tmp_path / "set" / os.fsdecode(name)
        frames(folder / "img", range(3))
        frames(folder / "@eaDir", range(3))
        write(folder / "groundtruth.txt", rows(4))
    (tmp_path / "set/walk/img" / os.fsdecode(b"2\xff.jpg")).write_bytes(b"")
    data = opened(tmp_path / "set", "videos")
    assert ids(data) == {"all": ["walk"]}
    assert [skip.item for skip in data.skipped] == [r"run\xff"]
    assert data_digest(data)


def test_groups_are_of_images(tmp_path: Path) -> None:
    frames(tmp_path / "walk", range(3))
    write(tmp_path / "walk/groundtruth.txt", rows(3))
    with pytest.raises(UserError, match=r"holds no images whose scenes could be told apart; leave out \?groups="):
        open_dataset(tmp_path, groups="/walk/")


def test_two_folders_of_one_split_and_one_name_twice(tmp_path: Path) -> None:
    got10k(tmp_path / "got", "val")
    (tmp_path / "got/val").rename(tmp_path / "got/validation")
    got10k(tmp_path / "got", "val")
    with pytest.raises(UserError, match=r"has two val folders, val and validation; keep one, or give one of them"):
        open_dataset(tmp_path / "got")
    for place in ("test/walk", "Testing/run"):
        frames(tmp_path / "own" / place, range(3))
        write(tmp_path / "own" / place / "groundtruth.txt", rows(3))
    with pytest.raises(UserError, match="has two test folders, Testing and test"):
        open_dataset(tmp_path / "own")
    for parent in ("test", "TNL2K_test"):
        tnl2k(tmp_path / "tnl2k" / parent, "mine")
    data = open_dataset(tmp_path / "tnl2k")
    assert ids(data) == {"test": ["mine"]}
    assert "mine: is there twice in one split" in said(data)


def test_what_is_over_goes_by_the_name_that_is_told_apart(tmp_path: Path) -> None:
    for place in ("train/walk", "val/walk"):
        frames(tmp_path / place, range(5))
        write(tmp_path / place / "groundtruth.txt", rows(3))
    assert [skip.item for skip in opened(tmp_path, "videos").skipped] == ["walk", "train/walk"]


# -- all of them -------------------------------------------------------------------------------------------------------


def each(folder: Path) -> dict[str, Path]:
    got10k(folder / "got10k", "train", [1, 2, 3])
    for name in ("airplane-1", "airplane-9", "bear-2"):
        lasot(folder / "lasot", name)
    trackingnet(folder / "trackingnet", "TRAIN_0", ["a", "b", "c"])
    for name in ("a", "b", "c"):
        tnl2k(folder / "tnl2k" / "train", name)
        frames(folder / "videos" / name, range(5))
        write(folder / "videos" / name / "groundtruth.txt", rows(5))
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("above", ["GOT", "data/sets", "data/sets/all"])
@pytest.mark.parametrize("layout", ["got10k", "trackingnet", "tnl2k"])
def test_a_known_data_set_further_down_is_not_taken_for_ones_own(tmp_path: Path, layout: str, above: str) -> None:
    place = each(tmp_path / "each")[layout]
    (tmp_path / above).parent.mkdir(parents=True, exist_ok=True)
    place.rename(tmp_path / above)
    top = tmp_path / Path(above).parts[0] if "/" in above else tmp_path
    for name in tmp_path.iterdir():
        if name not in (top, tmp_path / above):
            shutil.rmtree(name)
    with pytest.raises(UserError, match="a data set of its own") as refused:
        seen(top)
    assert str(tmp_path / above) in str(refused.value)


def test_flags_beside_the_boxes_of_ones_own_videos_count(tmp_path: Path) -> None:
    for name, file in (("a", "full_occlusion.txt"), ("b", "absence.label"), ("c", "")):
        write(frames(tmp_path / name, range(3)) / "groundtruth.txt", rows(3))
        if file:
            write(tmp_path / name / file, "0\n1\n0\n")
    data = READERS["videos"].open(tmp_path, name="set", judge="val")
    tracks = [video.track() for video in data.splits["all"] if isinstance(video, Video)]
    assert [track.absent_T.tolist() for track in tracks] == [[False, True, False]] * 2 + [[False] * 3]
    assert [track.flagged for track in tracks] == [True, True, False]
    (tmp_path / "a" / "full_occlusion.txt").write_text("0,0,,0\n")
    assert "write a flag of each frame" in said(opened(tmp_path, "videos"))


@pytest.mark.parametrize("layout", READERS)
def test_one_layout_alone_is_seen_among_all_that_are_installed(tmp_path: Path, layout: str) -> None:
    folder = each(tmp_path / "sets")[layout]
    data = open_dataset(folder)
    assert data.spec.layout == layout
    assert sum(map(len, data.splits.values())) == 3


@pytest.mark.parametrize("layout", READERS)
def test_where_two_are_sure_the_user_is_asked(tmp_path: Path, layout: str) -> None:
    folder = each(tmp_path / "sets")[layout]
    write(folder / "annotations/instances_val2017.json", "{}")
    with pytest.raises(UserError, match=rf"looks like coco .* and {layout} .*; write .*@coco or the like to say which"):
        open_dataset(folder)
    assert open_dataset(folder, layout=layout).spec.layout == layout


@pytest.mark.parametrize("layout", READERS)
def test_a_fingerprint_follows_annotations_and_videos_and_no_place(tmp_path: Path, layout: str) -> None:
    first = opened(each(tmp_path / "one")[layout], layout)
    folder = each(tmp_path / "two")[layout]
    assert opened(folder, layout).spec.fingerprint == first.spec.fingerprint
    (video, *_) = next(iter(opened(folder, layout).splits.values()))
    assert isinstance(video, Video)
    truth = video.truth.files[0]
    truth.write_text(truth.read_text().replace("20", "20.25", 1))
    changed = opened(folder, layout)
    assert changed.spec.fingerprint != first.spec.fingerprint
    truth.unlink()
    assert opened(folder, layout).spec.fingerprint not in {first.spec.fingerprint, changed.spec.fingerprint}


@pytest.mark.parametrize("layout", READERS)
def test_videos_are_limited_and_opened_without_being_looked_into(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = each(tmp_path)[layout]
    data = limit(opened(folder, layout), 2)
    assert sum(map(len, data.splits.values())) == sum(min(2, len(v)) for v in opened(folder, layout).splits.values())
    monkeypatch.setattr("rice_core.datasets.videos.opening.LOOKED_THROUGH", 2)
    monkeypatch.setattr("rice_core.datasets.videos.tnl2k.LOOKED_THROUGH", 2)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("was read")

    monkeypatch.setattr("rice_core.datasets.videos.source.read_rows", never)
    monkeypatch.setattr("rice_core.datasets.listed.image_names", never)
    assert sum(map(len, opened(folder, layout).splits.values())) == 3


def test_a_digest_of_videos_whose_frames_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = each(tmp_path)["lasot"]
    whole = data_digest(opened(folder, "lasot"))
    assert data_digest(opened(folder, "lasot")) == whole
    monkeypatch.setattr("rice_core.datasets.videos.opening.LOOKED_THROUGH", 0)
    gone = opened(folder, "lasot")
    (folder / "airplane/airplane-1/img").rename(folder / "elsewhere")
    assert data_digest(gone) not in {whole, data_digest(dataclasses.replace(gone, splits={}))}
    assert "whose frames cannot be listed" in next(iter(describe(gone)))
    video = next(video for video in gone.splits["test"] if video.id == "airplane-1")
    with pytest.raises(UserError, match="airplane-1 has no frames"):
        over(video)  # type: ignore[arg-type]
    (folder / "airplane/airplane-1/groundtruth.txt").unlink()
    assert file_digests(gone).keys() == {"airplane-1", "airplane-9", "bear-2"}


def test_what_is_over_is_told_of_a_video_too(tmp_path: Path) -> None:
    lasot(tmp_path, "airplane-1", 5, 7)
    video = only(opened(tmp_path, "lasot"))
    (skip,) = over(video)
    assert (skip.item, skip.reason) == ("airplane-1", "is read without 2 frames past the annotation")
    assert np.isfinite(video.track().boxes_T4).all()
