"""Figure 5 with a number: the object's colour over the frames of a clip."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probes.clip_pca import ClipPca, Frame, colour_stability
from rice_core.catalogue import resolve
from rice_core.datasets import Dataset, KnownTrack, Track, Video
from rice_core.datasets.listed import Frames
from rice_core.errors import UserError
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.record import Record
from rice_core.spec import DatasetSpec
from rice_core.store import Store


def video(folder: Path, name: str, *, frames: int = 5, origin: int = 0, rows: int | None = None) -> Video:
    """A red square of 32 pixels that moves by 8 a frame over noise, 96 x 64."""
    rng = np.random.default_rng(len(name))
    (folder / name).mkdir(parents=True)
    boxes = np.array([[8.0 * k + origin, 16.0 + origin, 32.0, 32.0] for k in range(frames)])
    for k in range(frames):
        pixels = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
        pixels[16:48, 8 * k : 8 * k + 32] = (250, 10, 10)
        Image.fromarray(pixels).save(folder / name / f"{k}.png")
    boxes = boxes[:rows]
    return Video(name, Frames(folder / name), KnownTrack(Track(boxes, np.zeros(len(boxes), bool))), origin)


def measured(store: Path, videos: list[Video], encoder: str, probe: ClipPca, split: str = "val") -> Record:
    spec = DatasetSpec(name="clips", layout="videos", fingerprint="f")
    dataset = Dataset(spec, (), {split: tuple(videos)}, frozenset({"videos"}))
    plan = Plan.over([resolve(encoder)], [probe], dataset)
    (record,) = Runner(Store(store), Settings(device="cpu"), Progress(quiet=True)).run(plan).records
    return record


def test_one_colour_of_the_object_alone_is_1_and_one_colour_of_all_is_0():
    inside = [np.zeros((4, 4), bool) for _ in range(2)]
    inside[0][1, 1] = inside[1][2, 2] = True
    colours = [np.where(each[..., None], [1.0, 0, 0], [0, 0, 1.0]) for each in inside]
    assert colour_stability(colours, inside) == pytest.approx(1.0)
    assert colour_stability([np.full((4, 4, 3), 0.5)] * 2, inside) == 0.0
    # The object takes the background's colour: it is as far from itself as the background was.
    changed = [colours[0], np.where(inside[1][..., None], [0, 0, 1.0], [1.0, 0, 0])]
    assert colour_stability(changed, inside) == -1.0
    assert colour_stability(colours, [inside[0], np.ones((4, 4), bool)]) is None


def test_tokens_of_a_box_are_those_whose_centre_it_holds_and_at_least_one():
    picture = Image.new("RGB", (64, 32))
    tokens = np.zeros((3, 4, 8), np.float32)
    inside = Frame(picture, tokens, np.array([8.0, 8, 16, 8])).inside_HW
    assert [tuple(place) for place in np.argwhere(inside)] == [(1, 1), (1, 2)]
    tiny = Frame(picture, tokens, np.array([33.0, 17, 1, 1])).inside_HW
    assert [tuple(place) for place in np.argwhere(tiny)] == [(2, 4)]


def test_noise_is_at_chance_and_the_oracle_at_the_ceiling(tmp_path):
    videos = [video(tmp_path, f"v{'x' * k}", origin=k % 2) for k in range(4)]
    noise = measured(tmp_path / "a", videos, "noise", ClipPca())
    oracle = measured(tmp_path / "b", videos, "oracle", ClipPca())
    assert noise.metrics[0].value == pytest.approx(noise.metrics[0].chance, abs=0.1)
    assert oracle.metrics[0].value == pytest.approx(1.0, abs=0.05)
    assert (oracle.metrics[0].n, oracle.metrics[0].method.count("by video")) == (4, 1)
    assert [each.figure for each in oracle.artifacts] == ["wide-image"]


def test_the_encoder_sees_the_frames_own_shape_at_the_size_that_is_asked(tmp_path):
    seen = []
    probe = ClipPca(size=192, frames=2)

    class Looking:
        patch, spec = 16, resolve("random-weights")

    seen.append(probe._size(Looking(), Image.new("RGB", (96, 64))))
    seen.append(probe._size(Looking(), Image.new("RGB", (64, 96))))
    assert seen == [(128, 192), (192, 128)]


def test_a_frame_that_cannot_be_read_costs_itself_and_a_clip_of_one_frame_itself(tmp_path):
    videos = [video(tmp_path, "whole"), video(tmp_path, "torn"), video(tmp_path, "short", frames=1)]
    (tmp_path / "torn" / "2.png").write_bytes((tmp_path / "torn" / "2.png").read_bytes()[:50])
    record = measured(tmp_path / "s", videos, "oracle", ClipPca())
    assert record.metrics[0].n == 2
    said = {skip.item: skip.reason for skip in record.skipped}
    assert "torn, frame 2" in said
    assert "fewer than 2 frames" in said["short"]


class Torn:
    files = (Path(__file__),)

    def read(self) -> Track:
        raise UserError("torn/groundtruth.txt has 'x' in row 1, which is no number; write x,y,w,h a line.")


def test_truth_that_cannot_be_read_costs_its_clip_and_the_record_says_of_how_many_clips_it_is(tmp_path):
    videos = [dataclasses.replace(video(tmp_path, "a torn one"), truth=Torn())]
    videos += [video(tmp_path, "hidden", rows=1), *(video(tmp_path, f"v{k}") for k in range(5))]
    record = measured(tmp_path / "s", videos, "oracle", ClipPca(clips=4))
    assert (record.status, record.metrics[0].n) == ("done", 3)
    said = {skip.item: skip.reason for skip in record.skipped}
    assert "'x' in row 1" in said["a torn one"]
    assert "Of 3 clips of the 7 videos of val, spread evenly." in record.assumptions


def test_truth_of_the_first_frame_alone_is_no_clip(tmp_path):
    record = measured(tmp_path / "s", [video(tmp_path, "hidden", rows=1)], "oracle", ClipPca(), split="test")
    assert record.status == "not_applicable"
    assert "truth goes beyond the first frame" in (record.error or "")


def test_frames_are_every_so_many_or_spread_over_those_that_show_the_object():
    absent = np.zeros(20, bool)
    absent[[0, 1, 19]] = True
    track = Track(np.tile([5.0, 5, 9, 9], (20, 1)), absent)
    assert ClipPca(frames=4)._places(track, 20) == [2, 7, 13, 18]
    assert ClipPca(frames=4, every=3)._places(track, 20) == [2, 5, 8, 11]
    assert ClipPca(frames=4)._places(track, 4) == [2, 3]
    with pytest.raises(UserError):
        ClipPca(frames=1)
