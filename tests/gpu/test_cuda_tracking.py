"""The tracker on a card learns and follows as on the CPU; see test_cuda.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.tracking_material import SMALL, untrained, write_videos
from rice_core.datasets import Video
from rice_core.deterministic import deterministic
from rice_core.ranks import Ranks
from tracking.learner import EncodedPairs, TrackerLearner
from tracking.loader import Crops, PairBatch
from tracking.recipe import LearningConfig, TrackerConfig
from tracking.steady import SteadyFollower
from tracking.tokens import tokens_of
from tracking.track import track

pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")
SIZES = TrackerConfig(template_grid=4, search_grid=8, blocks=2, head_width=16, drop_path=0)


def pairs(seed: int, count: int = 4) -> PairBatch:
    """Random crops with a box in the middle of each."""
    rng = torch.Generator().manual_seed(seed)
    names = tuple(map(str, range(count)))
    template, search = (
        Crops(names, torch.randint(256, (count, side, side, 3), generator=rng, dtype=torch.uint8), None)
        for side in (SIZES.template_grid * SMALL.patch, SIZES.search_grid * SMALL.patch)
    )
    foreground_BTT = torch.rand(count, SIZES.template_grid, SIZES.template_grid, generator=rng) < 0.3
    boxes_B4 = torch.cat([0.4 + 0.2 * torch.rand(count, 2, generator=rng), torch.full((count, 2), 0.25)], 1)
    return PairBatch(template, search, foreground_BTT, boxes_B4)


def test_a_tracker_learns_in_float32_as_on_the_cpu(device: torch.device) -> None:
    found = []
    for place in (CPU, device):
        tracker = untrained(SMALL, SIZES, place)
        config = LearningConfig(epochs=1, pairs=24, batch=8, part=4, rate=1e-3, precision="fp32")
        learner = TrackerLearner(tracker.head, config, seed=0, ranks=Ranks(0, 1, place))

        def tokens(crops: Crops, tracker=tracker) -> torch.Tensor:
            return tokens_of(tracker.encoder, crops.pixels_BSS3, SIZES, precision="fp32", names=crops.items)

        parts = [[EncodedPairs(pairs(2 * step + part), tokens) for part in range(2)] for step in range(3)]
        found.append([learner.step(each, step=step, rate=1e-3) for step, each in enumerate(parts)])
    for here, there in zip(*found, strict=True):
        assert there.loss == pytest.approx(here.loss, rel=1e-3)
        assert there.grad_norm == pytest.approx(here.grad_norm, rel=1e-2)
        assert set(there.stats) == set(here.stats)


def test_a_tracker_follows_in_float32_as_on_the_cpu(device: torch.device, tmp_path: Path) -> None:
    videos = write_videos(tmp_path, [4, 7, 5], 160, 120)
    found = []
    for place, slots, workers in ((CPU, 1, 0), (device, 2, 0), (device, 3, 1)):
        found.append(track([untrained(SMALL, SIZES, place)], videos, slots=slots, workers=workers).tracked[0])
    for other in found[1:]:
        for video in videos:
            np.testing.assert_allclose(other[video.id].boxes_T4, found[0][video.id].boxes_T4, atol=5e-2)
            np.testing.assert_allclose(other[video.id].score_T, found[0][video.id].score_T, atol=1e-3)


def test_a_tracker_follows_in_bfloat16(device: torch.device, tmp_path: Path) -> None:
    videos = write_videos(tmp_path, [4, 6], 160, 120)
    tracked = track([untrained(SMALL, SIZES, device, precision="bf16")], videos, slots=2).tracked[0]
    for video in videos:
        boxes_T4 = tracked[video.id].boxes_T4
        assert boxes_T4.shape == (len(video.frames), 4)
        assert np.isfinite(boxes_T4).all()
        assert (boxes_T4[:, 2:] >= 10).all()
        assert ((boxes_T4[1:, :2] + boxes_T4[1:, 2:]) <= [160, 120]).all()


def test_in_deterministic_mode_two_trainings_end_with_the_same_bits(device: torch.device) -> None:
    """Through DDP's way without it, in bfloat16 as recipes train."""
    ends = []
    for _ in range(2):
        with deterministic(str(device)):
            tracker = untrained(SMALL, SIZES, device)
            config = LearningConfig(epochs=1, pairs=80, batch=8, part=4, rate=1e-3, precision="bf16")
            learner = TrackerLearner(tracker.head, config, seed=0, ranks=Ranks(0, 1, device))

            def tokens(crops: Crops, tracker=tracker) -> torch.Tensor:
                return tokens_of(tracker.encoder, crops.pixels_BSS3, SIZES, precision="bf16", names=crops.items)

            for step in range(10):
                parts = [EncodedPairs(pairs(2 * step + part), tokens) for part in range(2)]
                learner.step(parts, step=step, rate=1e-3)
            ends.append({name: value.cpu() for name, value in tracker.head.state_dict().items()})
    assert [name for name, value in ends[0].items() if not torch.equal(value, ends[1][name])] == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_in_deterministic_mode_following_repeats_to_the_bit(
    device: torch.device, precision: str, tmp_path: Path
) -> None:
    videos = write_videos(tmp_path, [4, 7, 5, 9, 6], 160, 120)

    def followed(slots: int, some: list[Video]) -> dict[str, bytes]:
        tracker = SteadyFollower(untrained(SMALL, SIZES, device, precision=precision), 8)
        found = track([tracker], some, slots=slots).tracked[0]
        return {name: one.boxes_T4.tobytes() for name, one in found.items()}

    with deterministic(str(device)):
        whole = followed(4, videos)
        assert followed(4, videos) == whole
        others = [followed(1, videos), followed(3, videos[::-1]), followed(8, videos[1:2])]
    apart = {name for other in others for name, boxes in other.items() if boxes != whole[name]}
    if apart:  # the libraries promise it to nobody
        pytest.xfail(f"what is followed beside them changes bits of {sorted(apart)}, though all passes have one shape")
