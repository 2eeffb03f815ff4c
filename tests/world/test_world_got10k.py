"""The miniature videos in GOT-10k's layout: the official toolkit reads them, and they are drawn again when damaged."""

from __future__ import annotations

import configparser
from pathlib import Path

import numpy as np
import pytest

from rice_core.errors import UserError
from rice_core.images import load_image
from rice_core.world.layouts import clips
from rice_core.world.layouts.folder import read_manifest
from rice_core.world.layouts.got10k import write_got10k
from rice_core.world.mini import World, draw
from rice_core.world.videos import WorldClip, draw_clip

COUNTS = {"train": 2, "val": 12, "test": 1}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_got10k(tmp_path_factory.mktemp("worlds") / "got10k", seed=0, **COUNTS, size=72)


def drawn(split: str, k: int) -> WorldClip:
    return draw_clip(0, {"train": 0, "val": 1_000_000, "test": 2_000_000}[split] + k, size=72)


def test_a_folder_a_split_with_its_list(world: Path) -> None:
    for split, n in COUNTS.items():
        names = (world / split / "list.txt").read_text().split("\n")
        assert names == [f"GOT-10k_{split.capitalize()}_{k:06d}" for k in range(1, n + 1)] + [""]
        assert sorted(path.name for path in (world / split).iterdir()) == sorted(["list.txt", *names[:-1]])


def test_frames_are_the_clips_and_count_from_1(world: Path) -> None:
    clip = drawn("val", 1)
    frames = sorted((world / "val/GOT-10k_Val_000002").glob("*.jpg"))
    assert [path.name for path in frames] == [f"{t:08d}.jpg" for t in range(1, len(clip.frames_THW3) + 1)]
    for path, pixels_HW3 in zip(frames, clip.frames_THW3, strict=True):
        assert np.abs(np.asarray(load_image(path)).astype(int) - pixels_HW3).mean() < 4


def test_boxes_and_labels_are_the_clips(world: Path) -> None:
    absent = 0
    for k in range(COUNTS["val"]):
        folder, truth = world / f"val/GOT-10k_Val_{k + 1:06d}", drawn("val", k).truth
        boxes_T4 = np.loadtxt(folder / "groundtruth.txt", delimiter=",")
        labels = {
            name: np.loadtxt(folder / f"{name}.label", dtype=int) for name in ("absence", "cover", "cut_by_image")
        }
        there_T = labels["cover"] > 0
        np.testing.assert_array_equal(boxes_T4[there_T], truth.boxes_T4[there_T])
        assert (boxes_T4[~there_T] == -1).all()
        np.testing.assert_array_equal(labels["absence"], ~there_T)
        np.testing.assert_array_equal(labels["cover"], truth.cover_T)
        np.testing.assert_array_equal(labels["cut_by_image"], truth.cut_T)
        absent += int((~there_T).sum())
    assert absent > 10


def test_of_a_test_sequence_the_first_box_alone_is_told(world: Path) -> None:
    folder = world / "test/GOT-10k_Test_000001"
    assert {path.name for path in folder.iterdir() if path.suffix != ".jpg"} == {"groundtruth.txt"}
    (row,) = (folder / "groundtruth.txt").read_text().splitlines()
    assert list(map(float, row.split(","))) == drawn("test", 0).truth.boxes_T4[0].tolist()


def test_meta_is_read_by_key(world: Path) -> None:
    meta = configparser.ConfigParser()
    meta.read(world / "val/GOT-10k_Val_000001/meta_info.ini")
    assert meta["METAINFO"]["resolution"] == "(96, 72)"
    assert meta["METAINFO"]["object_class"] == drawn("val", 0).target.shape


@pytest.mark.parametrize("subset", ["train", "val", "test"])
def test_the_official_toolkit_reads_it(world: Path, subset: str) -> None:
    pytest.importorskip("got10k", reason="the official GOT-10k toolkit is not installed")
    from got10k.datasets import GOT10k

    official = GOT10k(str(world), subset=subset, return_meta=True)
    assert len(official) == COUNTS[subset]
    for k, (files, boxes, *meta) in enumerate(official):
        clip = drawn(subset, k)
        assert len(files) == len(clip.frames_THW3)
        assert len(boxes) == (1 if subset == "test" else len(files))
        if subset == "test":
            continue
        np.testing.assert_array_equal(meta[0]["cover"], clip.truth.cover_T)
        np.testing.assert_array_equal(meta[0]["absence"], clip.truth.absent_T)
        assert meta[0]["resolution"] == "(96, 72)"


def test_the_official_toolkit_scores_the_truth_with_1(world: Path, tmp_path: Path) -> None:
    pytest.importorskip("got10k", reason="the official GOT-10k toolkit is not installed")
    from got10k.experiments import ExperimentGOT10k

    results, reports = tmp_path / "results", tmp_path / "reports"
    experiment = ExperimentGOT10k(str(world), subset="val", result_dir=str(results), report_dir=str(reports))
    for k in range(COUNTS["val"]):
        name = f"GOT-10k_Val_{k + 1:06d}"
        place = results / "GOT-10k/truth" / name
        place.mkdir(parents=True)
        (place / f"{name}_001.txt").write_text((world / "val" / name / "groundtruth.txt").read_text())
        (place / f"{name}_time.txt").write_text("0.1\n" * len(drawn("val", k).frames_THW3))
    performance = experiment.report(["truth"])
    assert performance["truth"]["overall"]["ao"] == pytest.approx(1.0, abs=1e-9)


def test_no_clip_is_in_two_splits_and_none_moves_with_the_size_of_another(world: Path) -> None:
    more = write_got10k(world.parent / "more", seed=0, train=3, val=1, test=1, size=72)
    for name in ("train/GOT-10k_Train_000002", "val/GOT-10k_Val_000001", "test/GOT-10k_Test_000001"):
        for path in (world / name).iterdir():
            assert path.read_bytes() == (more / name / path.name).read_bytes()
    firsts = [path.read_bytes() for path in world.glob("*/*/00000001.jpg")]
    assert len(set(firsts)) == sum(COUNTS.values())


def test_it_is_used_again_and_mended_and_takes_no_folder_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = World(name="mini-videos", seed=3, train=1, val=1, test=1, size=48, layout="got10k")
    folder = draw(small, tmp_path)
    assert folder.name == "mini-videos-seed3-1-1-48"
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    manifest = read_manifest(folder)
    assert manifest is not None
    assert {folder / name for name in manifest.files} == before.keys() - {folder / "manifest.json"}
    with monkeypatch.context() as patch:
        patch.setattr(clips, "draw_clip", lambda *a, **k: pytest.fail("drawn again"))
        assert draw(small, tmp_path) == folder
    frame, labels = folder / "val/GOT-10k_Val_000001/00000003.jpg", folder / "train/GOT-10k_Train_000001/cover.label"
    frame.write_bytes(frame.read_bytes()[:-1])
    labels.unlink()
    draw(small, tmp_path)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    with pytest.raises(UserError, match="empty folder"):
        write_got10k(tmp_path, seed=0, train=1, val=0, test=0)
    assert list(tmp_path.iterdir()) == [folder]


def test_arrays_are_hashed_and_not_the_bytes_of_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"seed": 0, "train": 1, "val": 0, "test": 0, "size": 48}
    one = read_manifest(write_got10k(tmp_path / "one", **asked))
    monkeypatch.setattr(clips, "encode", lambda pixels, suffix: pixels.tobytes())
    other = read_manifest(write_got10k(tmp_path / "other", **asked))
    assert one is not None
    assert other is not None
    assert one.pixels == other.pixels
    assert one.files != other.files


def test_two_workers_draw_what_one_draws(tmp_path: Path) -> None:
    asked = {"seed": 0, "train": 2, "val": 1, "test": 0, "size": 48}
    one, two = (write_got10k(tmp_path / str(n), **asked, workers=n) for n in (1, 2))
    assert read_manifest(one) == read_manifest(two)
