"""`rate=chosen`: a rate for each encoder, by AP on scenes of train that no head of the search has seen."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from probes.detection import rates, train
from probes.detection.annotations import read_ground_truth
from probes.detection.choice import RATES_JSON, RateChoice
from probes.detection.learner import DetectorLearner
from probes.detection.probe import CocoDetection
from probes.detection.rates import divided
from rice_core.datasets import open_dataset
from rice_core.errors import UserError
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store
from rice_core.world.layouts.coco import write_coco

PROBE = CocoDetection(recipe="smoke", masks="off", rate="chosen")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return open_dataset(write_coco(tmp_path_factory.mktemp("coco") / "w", seed=3, train=15, val=4), name="mini")


@pytest.fixture(scope="module")
def truth(world):
    return read_ground_truth(world.annotations["train"], world.splits["train"], name="train")


def run(world, root, probe=PROBE):
    plan = Plan.over((EncoderSpec.parse("synthetic:oracle"),), (probe,), world)
    Runner(Store(root), Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan)
    return Store(root).records()[0]


def chosen(root):
    """What the search left, and what the detector that went on from it did."""
    found = sorted(Store(root).root.glob(f"stages/*/{RATES_JSON}"), key=lambda path: len(list(path.parent.iterdir())))
    assert [len(list(path.parent.iterdir())) for path in found] == [2, 3]
    assert found[0].read_bytes() == found[1].read_bytes()
    return RateChoice.model_validate_json(found[0].read_bytes()), found[1].parent


def shown(truth, change):
    """The same truth of other samples."""
    images = [
        dataclasses.replace(image, sample=dataclasses.replace(image.sample, **change(k)))
        for k, image in enumerate(truth.images)
    ]
    return dataclasses.replace(truth, images=tuple(images))


def choice(*ap):
    return RateChoice(factors=(1 / 3, 1.0, 3.0), rate=1e-4, ap=ap, held_out=20, scenes=9, learnt=80)


@pytest.mark.parametrize(
    ("ap", "factor"),
    [
        ((1.0, 2.0, 3.0), 3),
        ((3.0, 2.0, None), 1 / 3),
        ((2.0, 2.0, 2.0), 1),
        ((0.0, 0.0, 0.0), 1),
        ((None, None, 0.0), 3),
    ],
)
def test_the_best_rate_wins_and_of_equals_the_recipes(ap, factor) -> None:
    assert choice(*ap).factor == factor


def test_the_sentence_has_every_rate_with_its_ap() -> None:
    said = choice(10.0, 12.04, None).sentence
    assert "The rate 0.0001 was chosen among 3" in said
    assert "(3.33e-05: 10.0, 0.0001: 12.0, 0.0003: diverged)" in said
    assert "on 20 train images of 9 scenes" in said


@pytest.mark.parametrize(
    "change",
    [
        lambda k: {"scene": f"scene {k // 3}"},
        lambda k: {"id": f"train/photo{k // 3}_jpg.rf.{k:032x}.jpg"},
        lambda k: {"id": f"train/video{k // 3}_frame{k % 3}.jpg"},
    ],
)
def test_whole_scenes_are_held_out(truth, change) -> None:
    """Three pictures a scene: a fifth of fifteen is one scene, and it is on one side."""
    learnt, held, scenes = divided(shown(truth, change))
    sides = [{image.key for image in part.images} for part in (learnt, held)]
    turn = {image.key: k // 3 for k, image in enumerate(truth.images)}
    assert len({turn[key] for key in sides[1]}) == 1
    assert not sides[0] & sides[1]
    assert (len(learnt.images), len(held.images), scenes) == (12, 3, 1)
    for part in (learnt, held):
        keys = {image.key for image in part.images}
        assert {entry["image_id"] for entry in part.body["annotations"]} == keys
        assert {entry["id"] for entry in part.body["images"]} == keys
        assert part.categories == truth.categories


def test_who_is_held_out_is_no_matter_of_the_files_order(truth) -> None:
    turned = divided(dataclasses.replace(truth, images=truth.images[::-1]))[1]
    assert {i.key for i in turned.images} == {i.key for i in divided(truth)[1].images}


def test_one_scene_cannot_be_divided(truth) -> None:
    with pytest.raises(UserError, match=r"too few scenes with objects \(1\)"):
        divided(shown(truth, lambda _: {"scene": "s"}))


def test_a_search_shares_passes_never_sees_val_and_its_winner_trains_on_all(world, tmp_path, monkeypatch) -> None:
    seen, passes, ask = [], [], train.tokens_of

    def counted(encoder, batch, precision, norm):
        passes.append(1)
        seen.append({example.image.sample.id for example in batch.examples})
        return ask(encoder, batch, precision, norm)

    ap = iter([5.0, 7.0, 9.0])
    monkeypatch.setattr(train, "tokens_of", counted)
    monkeypatch.setattr(rates.RateSearch, "_judged", lambda *_: next(ap))
    record = run(world, tmp_path)
    steps = PROBE.settings().training.iterations
    assert len(passes) == 2 * steps  # three heads on the passes of one, and the detector
    assert set().union(*seen) <= {sample.id for sample in world.splits["train"]}
    found, folder = chosen(tmp_path)
    assert (found.ap, found.held_out, found.learnt) == ((5.0, 7.0, 9.0), 3, 12)
    rate = 3 * PROBE.settings().training.rate
    assert record.used["rate"] == pytest.approx(rate)
    assert "The rate 0.003 was chosen among 3" in " ".join(record.assumptions)
    assert "0.000333: 5.0, 0.001: 7.0, 0.003: 9.0" in " ".join(record.assumptions)
    trained = json.loads((folder / "stage.json").read_text())["body"]
    assert max(point["rate"] for point in trained["curve"]) == pytest.approx(rate)
    # What it was chosen by stands in the evidence of the number.
    assert {used.name for used in record.evidence.stages} == {"detector", "detector-rate"}
    # The same detector as with the rate given.
    given = run(world, tmp_path / "given", dataclasses.replace(PROBE, rate=rate))
    other = next((tmp_path / "given").glob("stages/*/detector.safetensors"))
    for name, tensor in load_file(other).items():
        assert torch.allclose(tensor, load_file(folder / "detector.safetensors")[name], atol=1e-6), name
    assert "rate" not in given.used


def test_a_stopped_search_ends_as_an_uninterrupted_one(world, tmp_path, monkeypatch) -> None:
    whole = run(world, tmp_path / "whole")
    plain, made = DetectorLearner.step, []

    def stopping(learner, parts, *, step: int, rate: float):
        made.append(step)
        if len(made) == 11:  # the second head's fourth step, after a checkpoint
            raise KeyboardInterrupt
        return plain(learner, parts, step=step, rate=rate)

    monkeypatch.setattr(DetectorLearner, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(world, tmp_path / "stopped")
    again = run(world, tmp_path / "stopped")
    assert len(made) < 11 + 4 * PROBE.settings().training.iterations  # it went on
    assert chosen(tmp_path / "stopped")[0] == chosen(tmp_path / "whole")[0]
    assert [metric.value for metric in again.metrics] == [metric.value for metric in whole.metrics]


def test_a_rate_is_a_number_or_chosen() -> None:
    assert CocoDetection(rate=1e-3).settings().rates == ()
    assert CocoDetection(rate="chosen").spec.params["rate"] == "chosen"
    assert CocoDetection(rate="chosen").settings().training.rate == CocoDetection().settings().training.rate
    assert CocoDetection().settings().rates == ()


def test_a_plan_prices_the_search(world) -> None:
    from rice_core.budget import Budget

    (stage,) = PROBE.stages(world)
    cost = stage.after.cost(EncoderSpec.parse("synthetic:oracle"), Budget(cache=0, free=0))
    config = PROBE.settings().training
    assert cost.steps == 3 * config.iterations
    assert cost.images == config.iterations * config.batch + 3 * 3
    assert "3 heads on one pass" in cost.why
    assert not stage.shares_with(stage)
