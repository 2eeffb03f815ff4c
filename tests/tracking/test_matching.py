"""Tracking without training, and the pictures of what was followed."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rice_core.catalogue import resolve
from rice_core.datasets import Dataset, KnownTrack, Track, Video
from rice_core.datasets.listed import Frames
from rice_core.encoders import load_encoder
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.spec import DatasetSpec
from rice_core.store import Store
from tracking.matcher import Matching, MatchRules, Pattern, TokenMatcher, _refined
from tracking.matching import AGREEMENT, TemplateMatching
from tracking.pictures import EACH, MOVING, FollowedVideo, animation, chosen, strips
from tracking.recipe import TrackerConfig
from tracking.tracker import VideoFrame

CONFIG = TrackerConfig(template_grid=6, search_grid=12)


def clip(folder: Path, name: str, *, frames: int = 8, origin: int = 0, grow: float = 1.0) -> Video:
    """A checkered square on noise that drifts to the right, and grows by a factor each frame."""
    rng = np.random.default_rng(len(name))
    (folder / name).mkdir(parents=True)
    background = rng.integers(90, 160, (96, 160, 3), dtype=np.uint8)
    boxes = []
    for k in range(frames):
        side = round(24 * grow**k)
        x, y = 20 + 6 * k, 30
        pixels = background.copy()
        cells = (np.indices((side, side)) * 4 // side).sum(0) % 2
        pixels[y : y + side, x : x + side] = np.where(cells[..., None], (250, 20, 20), (20, 20, 250))[
            :, : max(0, 160 - x)
        ]
        Image.fromarray(pixels).save(folder / name / f"{k}.png")
        boxes.append([x + origin, y + origin, side, side])
    track = Track(np.array(boxes, float), np.zeros(frames, bool))
    return Video(name, Frames(folder / name), KnownTrack(track), origin)


def measured(store: Path, videos: list[Video], *encoders: str, split: str = "all", most: int = 1000):
    spec = DatasetSpec(name="clips", layout="videos", fingerprint="f")
    dataset = Dataset(spec, (), {split: tuple(videos)}, frozenset({"videos"}))
    probe = TemplateMatching(template_grid=6, search_grid=12, most=most)
    plan = Plan.over([resolve(encoder) for encoder in encoders], [probe], dataset)
    opened = Store(store)
    return opened, Runner(opened, Settings(device="cpu"), Progress(quiet=True)).run(plan).records


def test_likeness_is_highest_where_the_pattern_lies() -> None:
    generator = torch.Generator().manual_seed(0)
    search = torch.randn(1, 32, 12, 12, generator=generator)
    mask = torch.zeros(6, 6)
    mask[2:4, 2:4] = 1
    template = torch.zeros(32, 6, 6)
    template[:, 2:4, 2:4] = torch.nn.functional.normalize(search[0, :, 7:9, 3:5], dim=0) / 4
    matcher = TokenMatcher(load_encoder(resolve("random-weights")), CONFIG, MatchRules(), "fp32")
    likeness = matcher._likeness(Pattern(torch.zeros(32), template, (3.0, 3.0)), search)
    # The middle of the pattern lies at cell edge 8 from above and 4 from the left.
    assert divmod(int(likeness[0].argmax()), likeness.shape[-1]) == (8, 4)
    assert float(likeness.max()) == pytest.approx(1.0, abs=1e-5)


def test_a_summit_is_found_between_cells_and_never_beyond_a_neighbour() -> None:
    y, x = np.mgrid[0:9, 0:9]
    score = torch.from_numpy(-((y - 4.3) ** 2) - (x - 2.8) ** 2)
    row, column = divmod(int(score.argmax()), 9)
    assert _refined(score, row, column) == pytest.approx((4.3, 2.8))
    assert _refined(torch.zeros(9, 9), 4, 4) == (4.0, 4.0)
    assert _refined(score, 0, 0) == (0.0, 0.0)


def test_batches_give_what_one_at_a_time_gives_and_the_truth_is_for_those_that_are_told(tmp_path: Path) -> None:
    videos = [clip(tmp_path, name) for name in ("a", "bb")]
    matcher = Matching(CONFIG, MatchRules(), "fp32").on(load_encoder(resolve("mini-supervised")))
    boxes = np.stack([video.track().boxes_T4[0] for video in videos])

    def frames(place: int) -> list[VideoFrame]:
        return [
            VideoFrame(video.id, np.asarray(Image.open(video.frames[place])), video.track().boxes_T4[place])
            for video in videos
        ]

    together = matcher.step(matcher.begin(frames(0), boxes), frames(1), boxes)
    for k in range(2):
        alone = matcher.step(
            matcher.begin(frames(0)[k : k + 1], boxes[k : k + 1]), frames(1)[k : k + 1], boxes[k : k + 1]
        )
        np.testing.assert_allclose(alone[0][0], together[0][k], atol=1e-3)
    moved = together[0][:, 0] - boxes[:, 0]
    np.testing.assert_allclose(moved, 6, atol=3)


def test_constant_features_stand_still_and_others_follow(tmp_path: Path) -> None:
    videos = [clip(tmp_path, f"v{'x' * k}", origin=k % 2) for k in range(3)]
    _, (oracle, noise, real) = measured(tmp_path / "s", videos, "oracle", "noise", "mini-supervised")
    still = real.metrics[0].chance or 0.0
    assert real.metrics[0].name == "success"
    assert real.metrics[0].value > still + 25
    assert oracle.metrics[0].value > still + 15
    assert noise.metrics[0].value < real.metrics[0].value - 25
    figures = {artifact.name: artifact.figure for artifact in real.artifacts}
    assert figures["template-match-strips.webp"] == "wide-image"
    assert figures["template-match-moving.webp"] == "image"
    assert any("Nothing is trained" in said for said in real.assumptions)
    assert AGREEMENT in real.assumptions
    assert not any("are followed, spread evenly" in said for said in real.assumptions)


def test_the_record_says_of_how_many_videos_some_are_followed(tmp_path: Path) -> None:
    videos = [clip(tmp_path, f"v{k}", frames=3) for k in range(3)]
    _, (record,) = measured(tmp_path / "s", videos, "mini-supervised", most=2)
    assert record.metrics[0].n == 2
    assert "Of the 3 videos of all 2 are followed, spread evenly (most=2)." in record.assumptions


@pytest.mark.parametrize(("scales", "grows"), [((1.0,), False), (MatchRules().scales, True)])
def test_several_scales_follow_a_growing_object_in_its_size(
    tmp_path: Path, scales: tuple[float, ...], grows: bool
) -> None:
    video = clip(tmp_path, "grows", frames=12, grow=1.03)  # from 24 to 33 pixels
    matcher = Matching(CONFIG, MatchRules(scales=scales), "fp32").on(load_encoder(resolve("mini-supervised")))
    frames = [VideoFrame("grows", np.asarray(Image.open(path)), np.full(4, np.nan)) for path in video.frames]
    box = video.track().boxes_T4[:1]
    pattern = matcher.begin(frames[:1], box)
    for frame in frames[1:]:
        box, _ = matcher.step(pattern, [frame], box)
    assert box[0, 2] > 25.5 if grows else box[0, 2] == pytest.approx(24)


def test_an_animation_moves_in_the_record(tmp_path: Path) -> None:
    store, (record,) = measured(tmp_path / "s", [clip(tmp_path, "one")], "mini-supervised")
    artifact = next(each for each in record.artifacts if each.name.endswith("moving.webp"))
    picture = Image.open(io.BytesIO(store.artifact(record, artifact.name) or b""))
    assert (getattr(picture, "n_frames", 1), picture.info["loop"]) == (8, 0)


def test_strips_show_each_video_once_and_broken_frames_as_such(tmp_path: Path) -> None:
    def followed(name: str, value: float) -> FollowedVideo:
        video = clip(tmp_path, name, frames=50 if name == "long" else 8)
        return FollowedVideo(video, video.track().boxes_T4, value)

    few = [followed("one", 3.0), followed("two", np.nan)]
    assert [kind for kind, _ in chosen(few)] == ["best"]
    many = [followed(f"m{'x' * k}", float(k)) for k in range(9)]
    assert [each.value for _, each in chosen(many)] == [8, 7, 4, 3, 1, 0]
    assert len(chosen(many[:3])) == 3
    (tmp_path / "one" / "3.png").write_bytes(b"")
    sheet = strips(chosen(few), "AO")
    assert sheet.ndim == 3
    assert sheet.shape[0] < strips(chosen(many), "AO").shape[0]
    assert len(animation(followed("long", 1.0))) == MOVING
    assert EACH == 2


def test_pictures_draw_absent_and_outlying_boxes(tmp_path: Path) -> None:
    video = clip(tmp_path, "edge")
    track = video.track()
    boxes = track.boxes_T4.copy()
    boxes[1], boxes[2], boxes[3] = [-50, -50, 20, 20], [np.nan, 0, 1, 1], [500, 400, 50, 50]
    hidden = Video("edge", video.frames, KnownTrack(Track(boxes, np.arange(8) == 4)))
    assert animation(FollowedVideo(hidden, np.tile([900.0, -900, 5, 5], (8, 1)), 0.0)).shape[0] == 8


def test_records_say_how_far_it_ranks_as_the_trained_tracker_does() -> None:
    """What is measured is what is said: `python -m benchmarks.tracking_agreement` keeps the numbers."""
    kept = Path(__file__).parents[2] / "benchmarks/results/tracking_agreement.json"
    claims = "\n".join(json.loads(kept.read_text())["claims"])
    all_of, left, itself = re.findall(r"tau (-?\d\.\d\d)", claims)
    assert f"tau {all_of} (p {re.search(r'exact p ([0-9.]+)', claims)[1]})" in AGREEMENT  # type: ignore[index]
    assert f", {left} without noise and oracle" in AGREEMENT
    assert AGREEMENT.endswith(f"at another seed by {itself}.")
