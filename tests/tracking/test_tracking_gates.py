"""What must hold of a tracking probe that measures features: without features no tracking, and the noisier the worse."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from rice_core.datasets import Dataset, open_dataset
from rice_core.encoders import load_encoder
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.record import Record
from rice_core.spec import EncoderSpec
from rice_core.store import Store
from rice_core.world.layouts.got10k import write_got10k
from tracking.probe import Got10kTracking
from tracking.tracker import ObjectTracker, VideoFrame
from tracking.training import built

SEEDS = (0, 1)


def world(folder: Path, *, train: int, val: int, size: int = 144) -> Dataset:
    """Clips of the miniature videos' own seed."""
    return open_dataset(write_got10k(folder / "world", seed=0, train=train, val=val, test=1, size=size), name="clips")


def run(
    dataset: Dataset, store: Path, probe: Got10kTracking, *encoders: str, seeds: Sequence[int] = SEEDS
) -> dict[str, list[Record]]:
    """Of each encoder a record a seed."""
    plan = Plan.over([EncoderSpec.parse(each) for each in encoders], [probe], dataset, tuple(seeds))
    records = Runner(Store(store), Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan).records
    assert [record.error for record in records if record.status != "done"] == []
    return {each: [*records[k * len(seeds) : (k + 1) * len(seeds)]] for k, each in enumerate(encoders)}


def test_constant_features_do_not_follow(tmp_path: Path) -> None:
    """Through the command's own path, in seconds: nothing but features tells where the object is."""
    dataset = world(tmp_path, train=2, val=3, size=72)
    ((record,),) = run(
        dataset, tmp_path / "store", Got10kTracking(recipe="smoke"), "synthetic:constant", seeds=(0,)
    ).values()
    metric = record.metrics[0]
    assert metric.chance is not None
    assert metric.value < metric.chance + 3


def test_of_constant_features_the_box_moves_by_no_picture() -> None:
    """The tracker has no other eye than the encoder: whatever it is shown, its box is elsewhere by the same step."""
    encoder = load_encoder(EncoderSpec.parse("synthetic:constant"))
    config = Got10kTracking(recipe="smoke").settings().tracker
    tracker = ObjectTracker(encoder, built(config, channels=encoder.dim, seed=0).eval(), config, "fp32")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (72, 96, 3), dtype=np.uint8) for _ in range(3)]
    frames = [VideoFrame(str(k), picture, np.full(4, np.nan)) for k, picture in enumerate(pictures)]
    box_14 = np.array([[30.0, 20.0, 16.0, 16.0]])
    found = [
        tracker.step(tracker.begin([template], box_14), [frame], box_14)[0]
        for template, frame in itertools.pairwise(frames)
    ]
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.slow
def test_the_more_noise_the_less_is_followed(tmp_path: Path) -> None:
    """AO of the mean of two seeds. Measured over three: 48.3 (44.5 to 51.3), 25.6 (9.3 to 40.9), 4.7 (3.3 to 6.9); standing still 11.7."""
    ladder = ("synthetic:oracle", "synthetic:oracle/0.1", "synthetic:oracle/0.3")
    dataset = world(tmp_path, train=24, val=12)
    found = run(dataset, tmp_path / "store", Got10kTracking(recipe="mini", epochs=2), *ladder)
    means = [fmean(record.metrics[0].value for record in found[each]) for each in ladder]
    assert all(less < more for more, less in itertools.pairwise(means)), means
