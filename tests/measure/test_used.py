"""Records say what was done: parameters that could not be, or were not, used as asked stand in `used`, and `show` prints them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from probes.detection.outcome import assumptions, used_of
from probes.detection.probe import CocoDetection
from probes.detection.recipe import Recipe, scheduled
from probes.knn import Knn
from probes.linear_seg import LinearSeg
from probes.tokens import Tokens
from rice_core.cli.look import show
from rice_core.datasets import Dataset, limit, open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Probe
from rice_core.progress import Progress
from rice_core.record import Outcome, Record
from rice_core.spec import EncoderSpec
from rice_core.store import Store


@pytest.fixture(scope="module")
def small(small_world: Path) -> Dataset:
    """Twelve images a split."""
    return limit(open_dataset(small_world, name="mini"), 12)


def run(dataset: Dataset, root: Path, encoder: str, probe: Probe) -> Record:
    plan = Plan.over((EncoderSpec.parse(encoder),), (probe,), dataset)
    (record,) = Runner(Store(root), Settings(), Progress(quiet=True)).run(plan).records
    assert record.status == "done", record.error
    return record


def test_tokens_says_what_it_lowered(small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(small, tmp_path, "synthetic:random-weights", Tokens(images=40, pairs_per_image=3000, perplexity=1000))
    layout = json.loads(Store(tmp_path).artifact(record, "tokens.json"))["tsne"]
    objects = len(layout["points"])
    assert 30 <= objects < 100
    # 144 tokens an image: 20 of them with the 143 others are as many pairs as fit into 3000.
    # In two of the twelve no object covers one of those 20 and another token: the numbers are over ten.
    assert record.metrics[0].n == 10
    assert record.used == {
        "images": 10,
        "pairs_per_image": 20 * 143,
        "tsne_objects": objects,
        "perplexity": pytest.approx((objects - 1) / 3),
    }
    lowered = f"perplexity {(objects - 1) / 3:g} in place of 1000"
    assert any(lowered in said for said in record.assumptions)
    assert any(said.startswith("2,860 pairs of an image are measured") for said in record.assumptions)
    show(record.cell.id, store=tmp_path)
    shown = capsys.readouterr().out
    assert f"used perplexity={(objects - 1) / 3} in place of 1000.0" in shown
    assert "used images=10 in place of 40" in shown


def test_what_was_used_as_asked_is_not_mentioned(small: Dataset, tmp_path: Path) -> None:
    first = run(small, tmp_path, "synthetic:random-weights", Tokens())
    objects = first.used["tsne_objects"]
    exact = Tokens(images=12, pairs_per_image=144 * 143, tsne_objects=int(objects), perplexity=5)
    record = run(small, tmp_path, "synthetic:random-weights", exact)
    assert record.used == {}
    assert any("perplexity 5." in said for said in record.assumptions)
    assert not any("in place of" in said for said in record.assumptions)


def test_a_figure_that_was_left_out_used_no_object(small: Dataset, tmp_path: Path) -> None:
    record = run(small, tmp_path, "synthetic:constant", Tokens(images=12, pairs_per_image=144 * 143))
    assert record.used == {"tsne_objects": 0}


def test_linear_seg_says_how_many_tokens_of_how_many_images(small: Dataset, tmp_path: Path) -> None:
    """At 48 pixels there are 36 tokens an image."""
    record = run(small, tmp_path, "synthetic:random-weights?res=48", LinearSeg(grid=6, images=50, tokens_per_image=100))
    assert record.used == {"images": 12, "tokens_per_image": 36}
    assert "learnt from 432 tokens, at most 36 of each of 12 images" in record.assumptions[-1]
    exact = run(small, tmp_path, "synthetic:random-weights?res=48", LinearSeg(grid=6, images=12, tokens_per_image=20))
    assert exact.used == {}


def test_the_runner_keeps_what_differs_from_the_cell(small: Dataset, tmp_path: Path, monkeypatch) -> None:
    real = Knn.run

    def told(self, *arguments, **named) -> Outcome:
        return real(self, *arguments, **named).model_copy(update={"used": {"k": 3, "temperature": 0.5, "side": 98}})

    monkeypatch.setattr(Knn, "run", told)
    assert run(small, tmp_path, "synthetic:noise", Knn(k=3)).used == {"temperature": 0.5, "side": 98}


def test_records_of_before_read_as_used_as_asked(small: Dataset, tmp_path: Path) -> None:
    record = run(small, tmp_path, "synthetic:noise", Knn(k=3))
    body = record.model_dump(mode="json")
    del body["used"]
    for metric in body["metrics"]:
        del metric["bounds"]
    old = Record.model_validate(body)
    assert old.used == {}
    assert {metric.bounds for metric in old.metrics} == {None}


class Patched:
    """As much of an encoder as a recipe asks."""

    patch = 14


def learnt(recipe: Recipe, backend: str = "ops (torchvision 1.2)", masks: bool = True, images: int = 118_000):
    training = scheduled(recipe, images)
    passes = training.iterations * training.batch / images
    return SimpleNamespace(backend=backend, masks=masks, training=training, passes=passes, choice=None)


@pytest.mark.parametrize(
    ("settings", "used"),
    [
        ({}, {"side": 1022}),
        ({"side": 1120}, {}),
        ({"side": 512}, {"side": 518}),
        # 300 of 1001 warm-up steps, at the highest before the first tenth: step 266.
        ({"side": 1120, "iterations": 300, "rate": 2e-4}, {"rate": pytest.approx(2e-4 * 267 / 1001)}),
        ({"side": 1120, "iterations": 2000}, {}),
        # The rate falls at 933 of 1050 steps, and the warm-up takes 1000.
        ({"side": 1120, "iterations": 1050}, {"rate": pytest.approx(1e-4 * 934 / 1001)}),
    ],
)
def test_a_detector_s_recipe_says_its_side_and_the_rate_it_reached(settings: dict, used: dict) -> None:
    recipe = CocoDetection(recipe="paper@1", **settings).settings()
    found = used_of(recipe, Patched(), learnt(recipe))
    assert found == {"backend": "ops", "masks": "on"} | used
    said = assumptions(recipe, Patched(), learnt(recipe))
    assert any("which a patch of 14 does not divide" in each for each in said) == ("side" in used)
    assert any("ends in its warm-up" in each for each in said) == ("rate" in used)
    assert used_of(recipe, Patched(), learnt(recipe, "detectron2 0.6 (abc)"))["backend"] == "detectron2"
    assert used_of(recipe, Patched(), learnt(recipe, masks=False))["masks"] == "off"


def test_passes_that_the_most_steps_cut_short_are_said() -> None:
    recipe = CocoDetection(recipe="paper@2", epochs=50).settings()
    assert used_of(recipe, Patched(), learnt(recipe))["epochs"] == 12.2
    assert "epochs" not in used_of(recipe, Patched(), learnt(recipe, images=500))
    own = CocoDetection(recipe="paper@2").settings()
    assert "epochs" not in used_of(own, Patched(), learnt(own))


def test_a_detection_record_says_what_auto_came_to(small: Dataset, tmp_path: Path) -> None:
    dataset = limit(small, 4)
    record = run(dataset, tmp_path, "synthetic:oracle", CocoDetection(recipe="smoke", iterations=2, backend="ops"))
    assert record.used == {"masks": "on", "rate": pytest.approx(2e-3 / 3)}
    assert all(metric.bounds == (0, 100) for metric in record.metrics)
    inside = [end for metric in record.metrics if metric.ci95 for end in metric.ci95]
    assert inside
    assert np.min(inside) >= 0
    assert np.max(inside) <= 100
