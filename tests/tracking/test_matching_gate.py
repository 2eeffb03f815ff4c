"""A tracker on an encoder that has learnt to match follows better than on the same network untrained."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.matching_encoder import matching_world, train_matching
from rice_core.catalogue import resolve
from rice_core.datasets import open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.store import Store
from rice_core.world.mini import WORLDS, draw
from tracking.probe import Got10kTracking


@pytest.mark.slow
def test_an_encoder_that_learnt_to_match_beats_random_weights_on_the_mean_of_seeds(tmp_path: Path) -> None:
    """By 4.5 and 4.7 AO at two seeds on 24 clips, when it was written."""
    learnt = train_matching(matching_world(tmp_path / "worlds"), tmp_path / "encoders")
    videos = open_dataset(draw(WORLDS["mini-videos"], tmp_path / "worlds"), name="mini-videos")
    encoders = [resolve(f"rice:{folder}") for folder in (learnt.before, learnt.after)]
    plan = Plan.over(encoders, [Got10kTracking(recipe="mini")], videos, seeds=(0, 1))
    records = Runner(Store(tmp_path / "store"), Settings(device="cpu"), Progress(quiet=True)).run(plan).records
    ao = [record.metrics[0].value for record in records]
    before, after = (ao[0] + ao[1]) / 2, (ao[2] + ao[3]) / 2
    assert after > before, ao
    assert before > (records[0].metrics[0].chance or 0) + 10, ao
