"""How long a detector is trained, by the size of its data set."""

from types import SimpleNamespace

import pytest

from probes.detection.outcome import length
from probes.detection.probe import CocoFormatDetection
from probes.detection.recipe import Recipe, TrainingConfig, rate_at, scheduled
from probes.detection.suite import Rf100Detection
from probes.detection.training import seconds_a_step
from rice_core.budget import Budget, Took
from rice_core.datasets import open_dataset
from rice_core.errors import UserError
from rice_core.measure.bill import bill
from rice_core.measure.plan import Plan
from rice_core.spec import EncoderSpec
from rice_core.stage import StageSpec
from rice_core.store import Store
from rice_core.world.layouts.coco import write_coco

LONG = Recipe(name="long", training=TrainingConfig(iterations=9000, batch=16, warm_up=100), epochs=100)


def test_a_small_set_is_counted_in_epochs():
    small = scheduled(LONG, 448)
    assert small.iterations == 100 * 448 / 16
    assert small.warm_up == 31  # of 2,800 steps the share that 100 are of 9,000
    assert small.model_copy(update={"iterations": 9000, "warm_up": 100}) == LONG.training
    assert scheduled(LONG, 1).iterations == 7  # 100 / 16, rounded up
    assert scheduled(LONG, 0).iterations == 1


def test_the_drops_are_where_they_were_by_share():
    def falls(training):
        rates = [rate_at(training, step) for step in range(training.iterations)]
        top = rates.index(max(rates))
        return [step / training.iterations for step in range(top + 1, len(rates)) if rates[step] < rates[step - 1]]

    assert falls(scheduled(LONG, 448)) == pytest.approx(falls(LONG.training), abs=1e-3)


def test_a_large_set_has_the_steps_of_the_recipe():
    assert scheduled(LONG, 118_000) is LONG.training
    assert scheduled(LONG.model_copy(update={"epochs": None}), 10) is LONG.training


def test_what_is_asked_for_stands_in_the_recipes_place():
    assert CocoFormatDetection(recipe="mini", epochs=7).settings().epochs == 7
    assert CocoFormatDetection(recipe="mini", epochs=7).spec.params["epochs"] == 7
    assert CocoFormatDetection(recipe="mini", iterations=7).settings().epochs is None
    with pytest.raises(UserError, match="epochs= and iterations= both say how long"):
        Rf100Detection(epochs=7, iterations=7)


def test_a_detector_of_a_small_set_is_another_training_and_no_setting_is_lost(tmp_path):
    world = open_dataset(write_coco(tmp_path / "w", seed=3, train=12, val=8), name="mini")
    (stage,) = CocoFormatDetection(recipe="mini", epochs=20).stages(world)
    assert (stage.training.iterations, stage.training.warm_up) == (60, 6)
    (whole,) = CocoFormatDetection(recipe="mini").stages(world)
    assert whole.training.iterations == 300
    assert stage.spec != whole.spec


def test_how_long_is_said_where_it_depends_on_the_set():
    assert length(LONG.model_copy(update={"epochs": None}), [300]) == ()
    (said,) = length(LONG, [2800, 63])
    assert "100 passes over its train images" in said
    assert "9,000 steps at most" in said
    assert said.endswith("That came to 63 to 2,800 steps.")


def trained_in(seconds, **given):
    spec = CocoFormatDetection(**given).training_on(SimpleNamespace(splits={}, spec=None), masks=False).spec
    return Took(spec.name, spec.params, seconds)


def test_what_a_step_takes_is_known_from_trainings_of_the_same_head(tmp_path, monkeypatch):
    monkeypatch.setattr("rice_core.datasets.only", lambda dataset, *splits, labelled: dataset)
    spec = StageSpec(name="detector", params=trained_in(0, recipe="mini").params)
    short, resumed = trained_in(20, recipe="mini", iterations=10, rate=1e-4), trained_in(1, recipe="mini")
    others = trained_in(900, recipe="mini", side=128), trained_in(900, recipe="mini", box_head="4conv1fc")
    assert seconds_a_step(spec, [*others]) is None
    assert seconds_a_step(spec, [*others, short, resumed]) == 2.0


def test_a_plan_prices_trainings_by_what_their_like_took(tmp_path, monkeypatch):
    world = open_dataset(write_coco(tmp_path / "w", seed=3, train=12, val=8), name="mini")
    plan = Plan.over((EncoderSpec.parse("synthetic:oracle"),), (CocoFormatDetection(recipe="mini", epochs=20),), world)
    store = Store(tmp_path / "s")
    (said,) = [line for line in bill(plan, store, Budget(1 << 30, 1 << 30)) if "steps in all" in line]
    assert "60 training steps in all; no finished training of this encoder prices 1 training of them" in said
    assert "a short one (iterations=100) on one data set does" in said
    monkeypatch.setattr("probes.detection.training.seconds_a_step", lambda spec, trained: 120.0)
    lines = list(bill(plan, store, Budget(1 << 30, 1 << 30)))
    assert any("240 training views, each new to its seed" in line and "60 steps, about 2 h" in line for line in lines)
    assert any("60 training steps in all; about 2 h at what a step of the slowest" in line for line in lines)


def test_the_papers_recipes_train_coco_for_their_steps_and_rf100_for_100_epochs():
    for name in ("paper@2", "paper-1024@2"):
        recipe = Rf100Detection(recipe=name).settings()
        assert scheduled(recipe, 117_266).iterations == 90_000  # COCO's train images with objects
        assert scheduled(recipe, 1573).iterations == 9832  # 70 % of RF100's 224,714 images in 100 data sets
        assert scheduled(recipe, 1573).warm_up == 109
    assert scheduled(Rf100Detection(recipe="paper@1").settings(), 1573).iterations == 90_000
