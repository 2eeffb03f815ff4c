"""The miniature videos as LaSOT, TrackingNet and TNL2K are on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from rice_core.images import load_image
from rice_core.world.clip_truth import ClipTruth, Placed, clip_truth
from rice_core.world.layouts import clips
from rice_core.world.layouts.clips import attributes
from rice_core.world.layouts.folder import read_manifest
from rice_core.world.mini import World, draw
from rice_core.world.videos import WorldClip, draw_clip, target_of

TRAIN, TEST, SIZE = 4, 12, 72
STARTS = {"lasot": 10_000_000, "trackingnet": 20_000_000, "tnl2k": 30_000_000}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("worlds")
    asked = {
        name: World(name=name, seed=0, train=TRAIN, val=0, test=TEST, size=SIZE, layout=name)  # type: ignore[arg-type]
        for name in STARTS
    }
    return {name: draw(world, root) for name, world in asked.items()}


def index_of(layout: str, split: str, k: int) -> int:
    return STARTS[layout] + (1_000_000 if split == "test" else 0) + k


def drawn(layout: str, split: str, k: int) -> WorldClip:
    return draw_clip(0, index_of(layout, split, k), size=SIZE)


def lasot_names(split: str) -> list[str]:
    """A class is the target's shape, its number counts in the class, test before train."""
    order = [index_of("lasot", "test", k) for k in range(TEST)] + [index_of("lasot", "train", k) for k in range(TRAIN)]
    kinds = [target_of(0, index).shape for index in order]
    names = [f"{kind}-{kinds[: k + 1].count(kind)}" for k, kind in enumerate(kinds)]
    return names[:TEST] if split == "test" else names[TEST:]


def test_lasots_lists_say_what_is_train_and_test(worlds: Mapping[str, Path]) -> None:
    folder = worlds["lasot"]
    for split, file in (("test", "testing_set.txt"), ("train", "training_set.txt")):
        assert (folder / file).read_text().splitlines() == lasot_names(split)
    found = {path.parent.name for path in folder.glob("*/*/groundtruth.txt")}
    assert found == {*lasot_names("test"), *lasot_names("train")}


def test_lasots_boxes_count_from_1_and_its_flags_stand_on_one_line(worlds: Mapping[str, Path]) -> None:
    hidden = gone = 0
    for k, name in enumerate(lasot_names("test")):
        folder, clip = worlds["lasot"] / name.split("-")[0] / name, drawn("lasot", "test", k)
        truth = clip.truth
        rows = [list(map(int, line.split(","))) for line in (folder / "groundtruth.txt").read_text().splitlines()]
        flags = {}
        for flag in ("full_occlusion", "out_of_view"):
            (line,) = (folder / f"{flag}.txt").read_text().splitlines()
            flags[flag] = np.array(line.split(",")) == "1"
        np.testing.assert_array_equal(flags["full_occlusion"], truth.full_occlusion_T)
        np.testing.assert_array_equal(flags["out_of_view"], truth.out_of_view_T)
        for t, row in enumerate(rows):
            x, y, w, h = truth.whole_T4[t] if flags["full_occlusion"][t] else truth.boxes_T4[t]
            assert row == ([0, 0, 0, 0] if flags["out_of_view"][t] else [x + 1, y + 1, w, h])
        hidden += int(truth.full_occlusion_T.sum())
        gone += int(truth.out_of_view_T.sum())
        assert len(list((folder / "img").iterdir())) == len(rows) == len(clip.frames_THW3)
        assert (folder / "img/00000001.jpg").is_file()
        assert (folder / "nlp.txt").read_text() == f"{clip.target.sentence}\n"
    assert hidden
    assert gone


def test_trackingnet_counts_frames_from_0_and_tells_the_first_box_of_test_alone(worlds: Mapping[str, Path]) -> None:
    folder = worlds["trackingnet"]
    assert {path.name for path in folder.iterdir()} == {"TRAIN_0", "TRAIN_1", "TEST", "truth", "manifest.json"}
    for chunk, n in (("TRAIN_0", TRAIN // 2), ("TRAIN_1", TRAIN // 2), ("TEST", TEST)):
        names = {path.stem for path in (folder / chunk / "anno").iterdir()}
        assert names == {path.name for path in (folder / chunk / "frames").iterdir()}
        assert len(names) == n
        for name in names:
            frames = {path.name for path in (folder / chunk / "frames" / name).iterdir()}
            assert frames == {f"{t}.jpg" for t in range(len(frames))}
            rows = (folder / chunk / "anno" / f"{name}.txt").read_text().splitlines()
            assert len(rows) == (1 if chunk == "TEST" else len(frames))
            if chunk == "TEST":
                whole = (folder / "truth" / f"{name}.txt").read_text().splitlines()
                assert whole[0] == rows[0]
                assert len(whole) == len(frames)


def test_trackingnets_boxes_are_interpolated_where_the_target_is_absent(worlds: Mapping[str, Path]) -> None:
    absent = 0
    for path in (worlds["trackingnet"] / "truth").iterdir():
        boxes_T4 = np.loadtxt(path, delimiter=",")
        first_HW3 = np.asarray(load_image(worlds["trackingnet"] / "TEST/frames" / path.stem / "0.jpg")).astype(int)
        clip = min(
            (drawn("trackingnet", "test", k) for k in range(TEST)),
            key=lambda each: float(np.abs(each.frames_THW3[0].astype(int) - first_HW3).mean()),
        )
        there_T = ~clip.truth.absent_T
        np.testing.assert_array_equal(boxes_T4[there_T], clip.truth.boxes_T4[there_T])
        assert (boxes_T4[:, 2:] > 0).all()
        for t in np.flatnonzero(~there_T):
            around = clip.truth.boxes_T4[there_T]
            assert (boxes_T4[t] >= around.min(axis=0)).all()
            assert (boxes_T4[t] <= around.max(axis=0)).all()
            absent += 1
    assert absent


def test_tnl2ks_frames_are_named_irregularly_and_test_alone_is_flagged(worlds: Mapping[str, Path]) -> None:
    folder, absent = worlds["tnl2k"], 0
    patterns = set()
    for split, n in (("train", TRAIN), ("test", TEST)):
        videos = list((folder / f"TNL2K_{split}_subset").iterdir())
        assert len(videos) == n
        for video in videos:
            k = int("".join(c for c in video.name.split("_")[2] if c.isdigit())) - 1
            clip = drawn("tnl2k", split, k)
            assert video.name.lower().startswith(clip.target.shape)
            boxes_T4 = np.loadtxt(video / "groundtruth.txt", delimiter=",", dtype=int)
            np.testing.assert_array_equal(boxes_T4, clip.truth.boxes_T4)
            assert (video / "language.txt").read_text() == clip.target.sentence
            frames = {path.name for path in (video / "imgs").iterdir()}
            assert len(frames) == len(boxes_T4)
            numbers = sorted(int("".join(c for c in Path(name).stem if c.isdigit())) for name in frames)
            assert numbers == list(range(1, len(frames) + 1))
            patterns.add(
                (frozenset(Path(name).suffix for name in frames), min(map(len, frames)) == max(map(len, frames)))
            )
            flags = folder / "annos/absent" / f"{video.name}.txt"
            assert flags.is_file() == (split == "test")
            if split == "test":
                np.testing.assert_array_equal(np.loadtxt(flags, dtype=int), clip.truth.absent_T)
                assert (boxes_T4[clip.truth.absent_T] == 0).all()
                absent += int(clip.truth.absent_T.sum())
    assert absent
    assert {suffixes for suffixes, _ in patterns} == {
        frozenset({".jpg"}),
        frozenset({".png"}),
        frozenset({".jpg", ".png"}),
    }
    assert {padded for _, padded in patterns} == {True, False}


@pytest.mark.parametrize(("layout", "numbers"), [("lasot", 14), ("tnl2k", 17)])
def test_test_videos_have_the_toolkits_attributes(worlds: Mapping[str, Path], layout: str, numbers: int) -> None:
    files = sorted((worlds[layout] / "annos/att").iterdir())
    assert len(files) == TEST
    rows = np.array([np.loadtxt(path, delimiter=",", dtype=int) for path in files])
    assert rows.shape == (TEST, numbers)
    assert set(np.unique(rows)) == {0, 1}
    # Some are in each clip, some in none, and some tell clips apart.
    assert ((rows.mean(axis=0) > 0) & (rows.mean(axis=0) < 1)).sum() >= 2


def truth_of(seen: list[int], offsets: list[int]) -> ClipTruth:
    """A 4 x 4 target in a 10 x 10 frame, `seen` columns of it from the left, moved to the left by `offsets`."""
    seen_THW = np.zeros((len(seen), 10, 10), dtype=np.bool_)
    for t, (columns, offset) in enumerate(zip(seen, offsets, strict=True)):
        seen_THW[t, 2:6, max(0, 3 - offset) : max(0, 3 - offset + columns)] = True
    return clip_truth(seen_THW, [Placed(2, 3 - offset, np.ones((4, 4), dtype=np.bool_)) for offset in offsets])


def test_attributes_are_what_happens_in_the_clip() -> None:
    always = {"IV", "CM", "ROT", "BC", "LR"}
    assert attributes(truth_of([4, 4], [0, 1])) == always
    assert attributes(truth_of([4, 3], [0, 0])) == always | {"POC"}
    assert attributes(truth_of([4, 0], [0, 0])) == always | {"FOC"}
    assert attributes(truth_of([4, 4], [0, 4])) == always
    assert attributes(truth_of([4, 0], [0, 7])) == always | {"OV"}
    assert attributes(truth_of([4, 1], [0, 0])) == always | {"POC", "SV", "ARC"}


def test_no_clip_is_in_two_layouts_or_splits(worlds: Mapping[str, Path]) -> None:
    pixels = {
        drawn(layout, split, k).frames_THW3.tobytes()
        for layout in STARTS
        for split, n in (("train", TRAIN), ("test", TEST))
        for k in range(n)
    }
    assert len(pixels) == 3 * (TRAIN + TEST)


@pytest.mark.parametrize("layout", sorted(STARTS))
def test_each_is_used_again_and_drawn_again_where_it_is_damaged(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = World(name="w", seed=1, train=1, val=0, test=1, size=48, layout=layout)  # type: ignore[arg-type]
    folder = draw(small, tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    manifest = read_manifest(folder)
    assert manifest is not None
    assert {folder / name for name in manifest.files} == before.keys() - {folder / "manifest.json"}
    with monkeypatch.context() as patch:
        patch.setattr(clips, "draw_clip", lambda *a, **k: pytest.fail("drawn again"))
        assert draw(small, tmp_path) == folder
    for path in before:
        if path.suffix == ".txt" or path.name.endswith("3.jpg"):
            path.write_bytes(b"")
    draw(small, tmp_path)
    assert {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()} == before
