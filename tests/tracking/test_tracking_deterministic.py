"""Deterministic mode of the trackers: a video's boxes are the same bits whatever is followed beside it, and the same command gives the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.tracking_material import SMALL, untrained, write_videos
from rice_core.datasets import Dataset, Video
from rice_core.deterministic import deterministic
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.ranks import Ranks
from rice_core.spec import DatasetSpec, EncoderSpec
from rice_core.store import Store
from tracking.follow import Following
from tracking.matcher import MatchRules, TokenMatcher
from tracking.probe import LasotTracking
from tracking.recipe import TrackerConfig
from tracking.schedule import slots_of
from tracking.steady import SteadyFollower, steady
from tracking.track import TrackResults, track
from tracking.tracker import VideoFollower

CPU = torch.device("cpu")
SIZES = TrackerConfig(template_grid=4, search_grid=8, blocks=2, head_width=16, drop_path=0)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    return write_videos(tmp_path_factory.mktemp("videos"), [5, 9, 3, 7, 6, 4], 160, 120)


def follower(kind: str) -> VideoFollower:
    learnt = untrained(SMALL, SIZES, CPU)
    return learnt if kind == "trained" else TokenMatcher(learnt.encoder, SIZES, MatchRules(), "fp32")


def bits(found: TrackResults) -> dict[str, tuple[bytes, bytes]]:
    return {name: (one.boxes_T4.tobytes(), one.score_T.tobytes()) for name, one in found.tracked[0].items()}


@pytest.mark.parametrize("kind", ["trained", "matching"])
def test_bits_depend_on_no_other_video(kind: str, videos: list[Video], tmp_path: Path) -> None:
    one = SteadyFollower(follower(kind), 6)
    alone = bits(track([one], videos, slots=1))
    for slots, some in ((4, videos), (6, videos[::-1]), (3, videos[:2] + videos[5:]), (2, videos[1:2])):
        for name, found in bits(track([one], some, slots=slots)).items():
            assert found == alone[name], (slots, name)
    # Stopped in the middle, and gone on with beside others.
    short = [Video(video.id, video.frames[:3], video.truth) for video in videos[:2]]
    track([one], short, slots=1, keep=[tmp_path])
    assert bits(track([one], videos, slots=4, keep=[tmp_path])) == alone


@dataclass
class Counting:
    """A follower that stands still, and says how many it was asked for at a time."""

    begun: list[int] = field(default_factory=list)
    stepped: list[int] = field(default_factory=list)

    def begin(self, frames, boxes_B4):
        self.begun.append(len(frames))
        return [frame.name for frame in frames]

    def step(self, templates, frames, boxes_B4):
        assert list(templates) == [frame.name for frame in frames]
        self.stepped.append(len(frames))
        return boxes_B4 + [[len(name), 0, 0, 0] for name in templates], np.arange(len(frames)) / 100


def test_templates_are_made_one_by_one_and_steps_are_of_one_width(videos: list[Video]) -> None:
    inner = Counting()
    found = track([SteadyFollower(inner, 5)], videos, slots=4).tracked[0]
    assert set(inner.begun) == {1}
    assert len(inner.begun) == len(videos)
    assert set(inner.stepped) == {5}
    for video in videos:
        moved_4 = found[video.id].boxes_T4[-1] - video.track().boxes_T4[0]
        np.testing.assert_array_equal(moved_4, [len(video.frames) - 1, 0, 0, 0])


@dataclass(frozen=True)
class Made:
    """A `tracking.follow.FollowerMaker`."""

    inner: VideoFollower

    def on(self, encoder: object) -> VideoFollower:
        return self.inner


def test_torchs_mode_is_what_makes_following_steady(videos: list[Video], tmp_path: Path) -> None:
    inner = Counting()
    assert steady(inner, CPU) is inner
    encoder, width = untrained(SMALL, SIZES, CPU).encoder, slots_of(CPU)
    following = Following(Made(inner), tuple(videos), tmp_path / "kept", "following", 0)

    def run() -> None:
        following.run(encoder, Ranks(0, 1, CPU), lambda sequence, _: iter(sequence))

    with deterministic("cpu"):
        assert steady(inner, CPU) == SteadyFollower(inner, width)
        run()
    assert set(inner.stepped) == {width}


def test_the_same_command_gives_the_same_bits(videos: list[Video], tmp_path: Path) -> None:
    """Training and following, through the runner, with and without a video or another encoder's tracker beside."""

    def ran(name: str, judged: list[Video], *beside: str, together: bool = False) -> tuple[str, dict[str, str]]:
        spec = DatasetSpec(name="drawn", layout="lasot", fingerprint=name)
        dataset = Dataset(spec, (), {"train": tuple(videos[3:]), "test": tuple(judged)}, frozenset({"videos"}))
        encoders = tuple(map(EncoderSpec.parse, ("synthetic:random-weights", *beside)))
        plan = Plan(encoders, ((LasotTracking(recipe="smoke"), dataset),))
        store = Store(tmp_path / name)
        settings = Settings(device="cpu", debug=True, deterministic=True, together=together)
        record = Runner(store, settings, Progress(quiet=True)).run(plan).records[0]
        assert record.status == "done", record.error
        assert record.evidence is not None
        assert record.evidence.deterministic
        files = store.exports(record.cell.id).rglob("*.txt")
        return record.evidence.stages[0].digest, {path.name: path.read_text() for path in files}

    weights, boxes = ran("one", videos[:3])
    again, same = ran("two", videos[:3])
    assert (again, same) == (weights, boxes)
    assert ran("together", videos[:3], "synthetic:oracle", together=True) == (weights, boxes)
    fewer_weights, fewer = ran("three", videos[1:2])
    assert fewer_weights == weights
    assert fewer == {name: boxes[name] for name in fewer}
    assert len(fewer) == 1
