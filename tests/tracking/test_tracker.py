"""The tracker itself: a batch is as its members one by one, templates are cached exactly, boxes go there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rice_core.datasets import KnownTrack, Track, Video
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.features import Encoder
from rice_core.spec import EncoderSpec
from tracking.model import TrackerHead
from tracking.recipe import TrackerConfig
from tracking.track import TrackResults, track
from tracking.tracker import ObjectTracker, VideoFrame

CONFIG = TrackerConfig(template_grid=4, search_grid=8, blocks=2, head_width=16)


def encoder(name: str = "random-weights") -> Encoder:
    return load_encoder(EncoderSpec.parse(f"synthetic:{name}"))


def tracker(name: str = "random-weights", config: TrackerConfig = CONFIG, seed: int = 0) -> ObjectTracker:
    """Untrained, but for scores that differ from cell to cell."""
    taken = encoder(name)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = TrackerHead(config, taken.dim).eval()
    return ObjectTracker(taken, head, config, "fp32")


def videos(folder: Path, lengths: dict[str, int]) -> list[Video]:
    """Noise, of other sizes from video to video."""
    rng, made = np.random.default_rng(0), []
    for k, (name, length) in enumerate(lengths.items()):
        (folder / name).mkdir()
        paths = [folder / name / f"{frame}.png" for frame in range(length)]
        for path in paths:
            small = rng.integers(0, 255, (9, 12, 3), np.uint8)
            Image.fromarray(small).resize((96 + 16 * k, 80)).save(path)
        boxes_T4 = np.tile([30.25, 20.5, 18 + k, 15], (length, 1))
        made.append(Video(name, paths, KnownTrack(Track(boxes_T4, np.zeros(length, bool)))))
    return made


def boxes(found: TrackResults, k: int = 0) -> dict[str, np.ndarray]:
    return {name: one.boxes_T4 for name, one in found.tracked[k].items()}


def test_batched_is_sequential_in_any_order_and_beside_another_tracker(tmp_path: Path) -> None:
    shown = videos(tmp_path, {"a": 5, "b": 9, "c": 7, "d": 2})
    one, other = tracker(), tracker(seed=1)
    alone = boxes(track([one], shown, slots=1))
    for found, k in (
        (track([one], shown, slots=3), 0),
        (track([one], shown[::-1], slots=8), 0),
        (track([other, one], shown, slots=2), 1),
    ):
        for name, boxes_T4 in boxes(found, k).items():
            np.testing.assert_allclose(boxes_T4, alone[name], rtol=0, atol=1e-3)
    assert np.ptp(alone["b"][:, :2], axis=0).min() > 3, "nothing moved, so nothing was compared"
    beside = boxes(track([other], shown, slots=2))
    assert np.abs(beside["b"] - alone["b"]).max() > 1


def test_a_run_that_goes_on_ends_as_the_whole_one(tmp_path: Path) -> None:
    shown, one, keep = videos(tmp_path, {"a": 9}), tracker(), [tmp_path / "keep"]
    whole = boxes(track([one], shown, slots=1))["a"]
    half = Video("a", shown[0].frames[:4], shown[0].truth)
    track([one], [half], slots=1, keep=keep)
    on = track([one], shown, slots=1, keep=keep)
    assert on.speed.frames == 6  # the first one for its template, and those that are left
    np.testing.assert_allclose(boxes(on)["a"], whole, rtol=0, atol=1e-3)


def test_the_template_is_of_the_first_frame_alone(tmp_path: Path) -> None:
    """And what is followed depends on it."""
    one, (video,) = tracker(seed=1), videos(tmp_path, {"a": 3})
    seen = [VideoFrame("a", np.array(Image.open(path)), np.full(4, np.nan)) for path in video.frames]
    box_14 = video.track().boxes_T4[:1]
    (template,) = one.begin(seen[:1], box_14)
    again, other = one.begin([seen[0], seen[1]], np.repeat(box_14, 2, 0))
    torch.testing.assert_close(template, again)
    assert not torch.allclose(template, other, atol=1e-2)
    found, score_B = one.step([template, other], [seen[2], seen[2]], np.repeat(box_14, 2, 0))
    assert found.dtype == np.float64
    assert score_B.min() > 0
    assert score_B.max() < 1
    assert score_B[0] != score_B[1]


class Pointing(torch.nn.Module):
    """A head that sees the object where it is told."""

    def __init__(self, cell: tuple[int, int]) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, template_BLD: torch.Tensor, tokens_BCSS: torch.Tensor) -> object:
        from tracking.center import Maps

        B, S = len(tokens_BCSS), tokens_BCSS.shape[-1]
        score_BSS = torch.full((B, S, S), 0.1)
        score_BSS[:, self.cell[0], self.cell[1]] = 0.9
        return Maps(score_BSS, torch.full((B, 2, S, S), 0.25), torch.full((B, 2, S, S), 0.5))

    template = None


@pytest.mark.parametrize(
    ("box", "cell", "wanted"),
    [
        # A crop of 80 from 20, 20 on, whose cells are 10 wide: a box of 20 about the middle of a cell.
        ((50, 50, 20, 20), (3, 3), (45, 45, 20, 20)),
        ((50, 50, 20, 20), (3, 4), (55, 45, 20, 20)),
        # Clipped: the middle is at -5, 45, so that 5 of 20 pixels are inside, and 10 are kept.
        ((0, 50, 20, 20), (3, 2), (0, 45, 10, 20)),
        # Beyond the lower right corner.
        ((85, 85, 20, 20), (4, 4), (90, 90, 10, 10)),
    ],
)
def test_a_box_comes_back_from_its_crop_and_is_clipped(
    box: tuple[float, ...], cell: tuple[int, int], wanted: tuple[float, ...]
) -> None:
    one = ObjectTracker(encoder("noise"), Pointing(cell), CONFIG, "fp32")  # type: ignore[arg-type]
    frame = VideoFrame("a", np.zeros((100, 100, 3), np.uint8), np.full(4, np.nan))
    found, score_B = one.step([torch.zeros(1, 1)], [frame], np.array([box], float))
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    assert score_B[0] == pytest.approx(0.9)  # not the one that the window leaves of it


def test_the_window_holds_back_what_is_far_off() -> None:
    """Of a score of .9 in the corner it leaves less than of .1 elsewhere."""
    frame, box = VideoFrame("a", np.zeros((100, 100, 3), np.uint8), np.full(4, np.nan)), np.array([[50, 50, 20, 20.0]])
    middles = {}
    for window in (0.0, 1.0):
        config = CONFIG.model_copy(update={"window": window})
        one = ObjectTracker(encoder("noise"), Pointing((0, 0)), config, "fp32")  # type: ignore[arg-type]
        found, _ = one.step([torch.zeros(1, 1)], [frame], box)
        middles[window] = (found[0, :2] + found[0, 2:] / 2).tolist()
    assert middles[0.0] == pytest.approx([25, 25])
    assert min(middles[1.0]) > 45


def test_a_head_that_gives_no_number_is_told(tmp_path: Path) -> None:
    one = tracker()
    with torch.no_grad():
        one.head.norm.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="the trained tracker gives no number in a"):
        track([one], videos(tmp_path, {"a": 3}), slots=1)


def test_an_encoder_that_is_told_the_truth_sees_it_in_each_crop(tmp_path: Path) -> None:
    shown = videos(tmp_path, {"a": 4})
    one = tracker("oracle")
    assert len(boxes(track([one], shown, slots=2))["a"]) == 4
    hidden = Video("a", shown[0].frames, KnownTrack(Track(shown[0].track().boxes_T4[:1], np.zeros(1, bool))))
    assert len(boxes(track([one], [hidden], slots=2))["a"]) == 4
