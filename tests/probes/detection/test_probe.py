"""The detection probes through the runner, on small worlds in the real layouts."""

import contextlib
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from forked import exit_codes

from probes.detection import detect, fill, train
from probes.detection.annotations import read_ground_truth
from probes.detection.detect import Detecting
from probes.detection.evaluate import score
from probes.detection.learner import DetectorLearner
from probes.detection.probe import CocoDetection, CocoFormatDetection, LvisDetection
from probes.detection.results import read_results
from probes.detection.suite import Rf100Detection, _finished, means
from probes.detection.trained import found_in
from probes.detection.training import DetectorTraining
from probes.knn import Knn
from rice_core.budget import Budget
from rice_core.datasets import limit, only, open_dataset
from rice_core.disk.sealed import key_of, seal_json
from rice_core.encoders import load_encoder
from rice_core.errors import TrainingLost, UserError
from rice_core.measure.bill import bill
from rice_core.measure.closure import closure
from rice_core.measure.data import open_data
from rice_core.measure.follow import follow
from rice_core.measure.plan import Plan
from rice_core.measure.provenance import number_modules
from rice_core.measure.run import Engine, Runner, Settings
from rice_core.measure.verify import verify
from rice_core.progress import Progress
from rice_core.ranks import Ranks, join
from rice_core.spec import EncoderSpec
from rice_core.stage import Ready
from rice_core.store import Store
from rice_core.world.layouts.coco import write_coco
from rice_core.world.layouts.lvis import write_lvis
from rice_core.world.layouts.rf100 import write_rf100


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return open_dataset(write_coco(tmp_path_factory.mktemp("coco") / "w", seed=3, train=12, val=8), name="mini")


@pytest.fixture(scope="module")
def suite_folder(tmp_path_factory):
    return write_rf100(tmp_path_factory.mktemp("rf100") / "w", seed=3, train=24, valid=4, test=16)


def _run(dataset, root, probe, encoder="synthetic:oracle"):
    plan = Plan.over((EncoderSpec.parse(encoder),), (probe,), dataset)
    return Runner(Store(root), Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan)


def test_a_record_has_ap_figures_and_assumptions(world, tmp_path):
    (record,) = _run(world, tmp_path, CocoDetection(recipe="smoke", iterations=3)).records
    assert record.status == "done"
    names = [metric.name for metric in record.metrics]
    assert names[0] == "box_ap"
    assert "mask_ap" in names
    assert all(0 <= metric.value <= 100 for metric in record.metrics)
    assert {artifact.name for artifact in record.artifacts} == {
        "coco-det.png",
        "coco-det-training.json",
        "coco-det-ap.json",
        "coco-det-errors.json",
    }
    figures = json.loads(Store(tmp_path).artifact(record, "coco-det-ap.json"))
    assert len(figures["kinds"]["mask"]["precision"]["0.50"]) == 101
    assert sum(category["objects"] for category in figures["kinds"]["box"]["categories"]) == sum(
        len(sample.regions) for sample in world.splits["val"]
    )
    assert any("states no schedule" in line for line in record.assumptions)
    assert not list((tmp_path / "unfinished").glob("*"))
    scores = Store(tmp_path).scores(record)
    assert len(scores.sample) == 8


def test_crowds_are_no_targets_and_counted(tmp_path):
    folder = write_coco(tmp_path / "w", seed=3, train=6, val=4)
    for path in (folder / "annotations").glob("instances_*.json"):
        body = json.loads(path.read_text())
        for entry in body["annotations"][:2]:
            entry["iscrowd"] = 1
        path.write_text(json.dumps(body))
    dataset = open_dataset(folder, name="mini")
    (record,) = _run(dataset, tmp_path, CocoDetection(recipe="smoke", iterations=1)).records
    assert "instances_train.json: 2 crowds" in [skip.item for skip in record.skipped]
    regions = 2 + sum(len(sample.regions) for sample in dataset.splits["val"])
    assert (
        f"2 of {regions} regions of instances_val.json are crowds (iscrowd 1), no objects: detections that lie in one are "
        "neither right nor wrong." in record.assumptions
    )
    figures = json.loads(Store(tmp_path).artifact(record, "coco-det-ap.json"))
    assert sum(category["objects"] for category in figures["kinds"]["box"]["categories"]) == regions - 2


class Talkative(CocoDetection):
    """Says everything, since a head of few steps is sure of nothing."""

    def judged(self):
        return {"score_threshold": 0.0}


def test_the_results_file_gives_the_record_s_ap_again(world, tmp_path):
    (record,) = _run(world, tmp_path, Talkative(recipe="smoke", iterations=20, masks="off", rate=3e-3)).records
    path = tmp_path / "exports" / record.cell.id / "coco-det.json"
    truth = read_ground_truth(world.annotations["val"], world.splits["val"], name="val")
    read = read_results(path, truth)
    assert len(read.entries) > 0
    assert not read.skipped
    assert read.about["annotations"] == truth.sha256
    assert read.about["cell"] == record.cell.id
    sound = verify(Store(tmp_path), Progress(quiet=True))
    assert sound.problems == []
    assert (sound.sound["exports"], sound.sound["metrics computed anew from scores"]) == (1, 3)
    again = score(truth, read.entries, masks=False)
    assert {m.name: m.value for m in again.metrics()} == {m.name: m.value for m in record.metrics}


def test_a_killed_training_goes_on_where_it_was(world, tmp_path, monkeypatch):
    probe = CocoDetection(recipe="smoke", iterations=5, masks="off")
    (whole,) = _run(world, tmp_path / "whole", probe).records
    steps, step = [], DetectorLearner.step

    def stop(*given, **more):
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(1)
        return step(*given, **more)

    monkeypatch.setattr(DetectorLearner, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        _run(world, tmp_path / "parts", probe)
    monkeypatch.setattr(DetectorLearner, "step", lambda *given, **more: (steps.append(1), step(*given, **more))[1])
    (resumed,) = _run(world, tmp_path / "parts", probe).records
    assert len(steps) == 5
    assert resumed.metrics == whole.metrics


def test_judging_again_trains_nothing(world, tmp_path, monkeypatch):
    same = {"recipe": "smoke", "iterations": 3, "masks": "off"}
    counts = _passes(monkeypatch)
    (first,) = _run(world, tmp_path, CocoDetection(**same)).records
    assert counts == {"train": 6, "judge": 8}
    counts.clear()
    # Another threshold, and another val set under another probe's name.
    (second,) = _run(world, tmp_path, Talkative(**same)).records
    less = replace(world, splits={**world.splits, "val": world.splits["val"][:5]})
    (third,) = _run(less, tmp_path, CocoFormatDetection(**same)).records
    assert counts == {"judge": 13}
    assert first.evidence.stages == second.evidence.stages == third.evidence.stages
    files = closure(number_modules(DetectorTraining, "synthetic", training=True))
    assert "probes.detection.learner" in files
    assert not {"probes.detection.evaluate", "probes.detection.outcome", "probes.detection.probe"} & files.keys()


def test_lvis_is_judged_by_its_own_rules(tmp_path, world):
    folder = write_lvis(tmp_path / "lvis", seed=3, train=30, val=10)
    (record,) = _run(
        open_dataset(folder, name="l"), tmp_path / "s", LvisDetection(recipe="smoke", iterations=3)
    ).records
    assert record.status == "done", record.error
    assert {"box_apr", "mask_apf"} & {metric.name for metric in record.metrics}
    (other,) = _run(world, tmp_path / "s", LvisDetection(recipe="smoke")).records
    assert other.status == "not_applicable"
    assert "needs LVIS annotations" in other.error


def test_a_suite_has_a_number_for_each_domain(suite_folder, tmp_path, monkeypatch):
    broken = suite_folder.parent / "broken"
    if not broken.exists():
        shutil.copytree(suite_folder, broken)
        first = sorted(path for path in broken.iterdir() if (path / "test").is_dir())[0]
        body = json.loads((first / "train/_annotations.coco.json").read_text())
        (first / "train/_annotations.coco.json").write_text(json.dumps(body | {"annotations": []}))
    data = limit(open_data(str(broken), tmp_path), 4)
    probe = Rf100Detection(recipe="smoke", iterations=2)
    (record,) = _run(data, tmp_path, probe).records
    assert record.status == "done", record.error
    # One of seven domains lacks its data set: neither it nor the mean over all is given, and the record says so.
    names = {metric.name for metric in record.metrics}
    assert len(names) == 6
    assert "rf_avg" not in names
    assert any(f"1 of the suite's 7 data sets gave no AP ({first.name})" in said for said in record.assumptions)
    figures = json.loads(Store(tmp_path).artifact(record, "rf100-det.json"))["parts"]
    assert {part["name"]: part["ap"] is None for part in figures}[first.name] is True
    assert any(skip.item == first.name for skip in record.skipped)
    (none,) = _run(data, tmp_path, CocoFormatDetection(recipe="smoke")).records
    assert none.status == "not_applicable"


def test_a_finished_part_is_its_own_cells_and_detectors_alone(tmp_path):
    mine, others = tmp_path / "a-0123456789" / "marbles.json", tmp_path / "b-0123456789" / "marbles.json"
    for path in (mine, others):
        path.parent.mkdir()
        path.write_bytes(seal_json(key_of(mine), {"ap": 31.0, "detector": "d"}))
    assert _finished(mine, "d") == {"ap": 31.0}
    assert _finished(mine, "e") is None
    assert _finished(others, "d") is None
    mine.write_text('{"ap": 31.0, "detector": "d"}')
    assert _finished(mine, "d") is None
    assert _finished(tmp_path / "c" / "marbles.json", "d") is None


def test_intervals_of_few_data_sets_stay_within_percent():
    """Two data sets have Student's quantile of 12.7: plain intervals went from -49 to 52."""
    metrics, _ = means({"a": 0.0, "b": 3.0, "c": 97.0, "d": 100.0}, {"a": "x", "b": "x", "c": "y", "d": "y"})
    for metric in metrics:
        assert metric.bounds == (0, 100)
        assert 0 <= metric.ci95[0] < metric.value < metric.ci95[1] <= 100
    (nothing, *_), _ = means({"a": 0.0, "b": 0.0}, {"a": "x", "b": "x"})
    assert nothing.ci95[0] == 0
    assert nothing.ci95[1] > 50


def test_the_mean_over_domains_weighs_them_alike():
    metrics, scores = means({"a": 10.0, "b": 20.0, "c": 60.0}, {"a": "x", "b": "x", "c": "y"})
    values = {metric.name: metric.value for metric in metrics}
    assert values == pytest.approx({"rf_avg": 37.5, "x": 15.0, "y": 60.0})
    assert sum(scores.values["rf_avg"]) / 3 == pytest.approx(37.5)


@pytest.mark.parametrize("gone", ["b", "c"])
@pytest.mark.parametrize(
    "left", [lambda ap, gone: ap | {gone: None}, lambda ap, gone: {k: v for k, v in ap.items() if k != gone}]
)
def test_a_mean_is_over_all_of_its_parts_or_is_not_given(gone, left):
    ap, domain = {"a": 50.0, "b": 10.0, "c": 60.0}, {"a": "aerial", "b": "aerial", "c": "documents"}
    whole, scores = means(ap, domain)
    assert {m.name: m.value for m in whole} == {"rf_avg": 45.0, "aerial": 30.0, "documents": 60.0}
    assert scores is not None
    metrics, scores = means(left(ap, gone), domain)
    assert {m.name: (m.value, m.n) for m in metrics} == (
        {"documents": (60.0, 1)} if gone == "b" else {"aerial": (30.0, 2)}
    )
    assert scores is None
    assert means(left(ap, gone), dict.fromkeys(domain, "all")) == ((), None)


def test_a_data_set_that_cannot_be_read_belongs_to_the_suite(suite_folder, tmp_path):
    torn = tmp_path / "torn"
    shutil.copytree(suite_folder, torn)
    first = sorted(path for path in torn.iterdir() if (path / "test").is_dir())[0]
    (first / "train/_annotations.coco.json").write_text("{")
    data = open_data(str(torn), tmp_path)
    assert first.name not in data.parts
    assert first.name in data.domain
    (record,) = _run(limit(data, 4), tmp_path, Rf100Detection(recipe="smoke", iterations=2)).records
    assert "rf_avg" not in {metric.name for metric in record.metrics}
    # And the figure's means are over what the artifact lists.
    figures = json.loads(Store(tmp_path).artifact(record, "rf100-det.json"))["parts"]
    assert {part["name"] for part in figures} == set(data.domain)
    assert {part["name"] for part in figures if part["ap"] is None} == {first.name}


def _rank(rank, dataset, root, meeting):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    same = {"recipe": "smoke", "iterations": 3, "masks": "off"}
    # Alone; one of a seed with nothing to gain from keeping, so together; kept.
    probes = (
        CocoDetection(**same),
        Knn(k=3),
        CocoDetection(**same, views=9),
        CocoDetection(**same, views=9, box_head="4conv1fc"),
        CocoDetection(**same | {"iterations": 30}, views=1),
    )
    plan, settings = Plan.over((EncoderSpec.parse("synthetic:oracle"),), probes, dataset), Settings(device="cpu")

    def seen(*given, run=Detecting.run):
        root.with_name(f"{root.name}-{given[2].rank}").touch()
        return run(*given)

    Detecting.run = seen
    with join("cpu", init_method=f"file://{meeting}") as world:
        if world.leads:
            Runner(Store(root), settings, Progress(quiet=True), ranks=world).run(plan)
            world.agree(None)
        else:
            follow(plan, world, Engine.of(Store(root), settings, Progress(quiet=True)))


@pytest.mark.slow
def test_ranks_train_together_and_one_of_them_records(world, tmp_path):
    assert exit_codes(_rank, world, tmp_path / "s", tmp_path / "meet") == [0, 0]
    assert all((tmp_path / f"s-{rank}").exists() for rank in range(2)), "both detect"
    records = {record.cell.probe.name: record for record in Store(tmp_path / "s").records()}
    assert {name: record.status for name, record in records.items()} == {"coco-det": "done", "knn": "done"}
    assert len(Store(tmp_path / "s").records()) == 5
    # 12 images of one view in a file: what was kept.
    assert len(list((tmp_path / "s" / "cache").glob("*/*.safetensors"))) == 3


def _left(rank, dataset, root, meeting):
    """The second rank ends in its third step, without a word."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    step = DetectorLearner.step

    def ending(learner, parts, *, step: int, rate: float, plain=step):
        if rank and step == 2:
            os._exit(7)
        return plain(learner, parts, step=step, rate=rate)

    DetectorLearner.step = ending
    plan = Plan.over((EncoderSpec.parse("synthetic:oracle"),), (CocoDetection(recipe="smoke", masks="off"),), dataset)
    settings = Settings(device="cpu")
    with contextlib.suppress(Exception), join("cpu", init_method=f"file://{meeting}") as world:
        if not world.leads:
            follow(plan, world, Engine.of(Store(root), settings, Progress(quiet=True)))
        try:
            Runner(Store(root), settings, Progress(quiet=True), ranks=world).run(plan)
        except TrainingLost as error:
            root.with_name("said").write_text(str(error))
            os._exit(2)


@pytest.mark.slow
def test_a_rank_that_ends_is_one_sentence_with_the_next_step(world, tmp_path):
    assert exit_codes(_left, world, tmp_path / "s", tmp_path / "meet") == [2, 7]
    said = (tmp_path / "said").read_text()
    assert re.match(r"the ranks cannot go on together \(RuntimeError: .*\); .* the same command goes on\.$", said)
    assert not Store(tmp_path / "s").records()


AMPLE, TIGHT = Budget(cache=10**12, free=10**12), Budget(cache=10_000, free=10**12)


def _passes(monkeypatch):
    """Batches that go through the encoder, by who asks: views to train on, views to keep, images to judge."""
    counts = Counter()

    def count(module, name):
        ask = module.tokens_of

        def counted(encoder, batch, *how):
            if batch.kept is None:
                counts[name] += len(batch.examples)
            return ask(encoder, batch, *how)

        monkeypatch.setattr(module, "tokens_of", counted)

    for name, module in (("train", train), ("keep", fill), ("judge", detect)):
        count(module, name)
    return counts


def _seeds(dataset, root, probes, seeds, cache_gb=50.0):
    plan = Plan.over((EncoderSpec.parse("synthetic:oracle"),), probes, dataset, seeds)
    settings = Settings(device="cpu", debug=True, cache_gb=cache_gb)
    records = Runner(Store(root), settings, Progress(quiet=True)).run(plan).records
    assert [record.status for record in records] == ["done"] * len(records)
    return plan, [record.metrics for record in records]


@pytest.mark.slow
def test_seeds_and_heads_share_passes_whichever_way_is_cheapest(world, tmp_path, monkeypatch):
    """12 images x 2 views; 3 cells of 20 steps of 2 images."""
    same = {"recipe": "smoke", "iterations": 20, "masks": "off", "views": 2, "rate": 3e-3}
    heads = Talkative(**same), Talkative(**same, box_head="4conv1fc")
    counts = _passes(monkeypatch)
    plan, kept = _seeds(world, tmp_path / "kept", heads[:1], (0, 1, 2))
    assert counts == {"keep": 24, "judge": 24}
    said = list(bill(plan, Store(tmp_path / "empty"), AMPLE))
    assert any(
        "24 views (2 of each image) go through the encoder once and are kept, in place of 120" in x for x in said
    )
    assert any("at most 48 images through the encoder" in line for line in said)
    counts.clear()
    plan, together = _seeds(world, tmp_path / "together", heads, (0, 1), cache_gb=1e-5)
    assert counts == {"train": 40, "judge": 32}
    said = list(bill(plan, Store(tmp_path / "together"), TIGHT))
    assert any("nothing to extract" in line for line in said)
    plan = replace(plan, seeds=(3, 4))
    said = list(bill(plan, Store(tmp_path / "together"), TIGHT))
    assert any("40 training views serve 4 heads at once, in place of 160" in line for line in said)
    assert any("at most 72 images" in line for line in said)
    counts.clear()
    _, alone = _seeds(world, tmp_path / "alone", heads[:1], (0,), cache_gb=1e-5)
    assert counts == {"train": 40, "judge": 8}
    # One number, whichever way; seeds and heads differ.
    assert alone[0] == together[0] == kept[0]
    assert together[1] == kept[1]
    assert len({str(metrics) for metrics in together}) == 4


def test_what_each_seed_is_shown_anew_is_not_shared(world, tmp_path, monkeypatch):
    counts = _passes(monkeypatch)
    plan, _ = _seeds(world, tmp_path, (CocoDetection(recipe="smoke", iterations=2, masks="off"),), (0, 1))
    assert counts == {"train": 8, "judge": 16}
    assert any("no views=" in line for line in bill(plan, Store(tmp_path / "other"), AMPLE))

    def training(**given):
        return CocoDetection(**given).stages(world)[0]

    assert not training(views=2).shares_with(training(views=3))
    assert not training(views=2).shares_with(training(views=2, masks="off"))
    assert not training().shares_with(training())
    assert training(views=2).shares_with(training(views=2, box_head="4conv1fc"))


def test_the_sets_of_a_suite_share_passes_too(suite_folder, tmp_path, monkeypatch):
    counts = _passes(monkeypatch)
    data = limit(open_data(str(suite_folder), tmp_path), 4)
    images = sum(len(part.splits["train"]) for part in data.parts.values())
    probe = Rf100Detection(recipe="smoke", iterations=4, views=1)
    plan, _ = _seeds(data, tmp_path, (probe,), (0, 1))
    assert counts["keep"] == images
    assert not counts["train"]
    said = "\n".join(bill(plan, Store(tmp_path / "other"), AMPLE))
    assert said.count(", kept: ") == len(data.parts)


class Quiet:
    """What a training, and detecting, need of a Work."""

    workers, companions = 0, ()
    ranks = Ranks(0, 1, torch.device("cpu"))

    def __init__(self, folder, encoder):
        self.folder, self.encoder = folder, encoder

    def progress(self, sequence, what):
        return iter(sequence)

    def share(self, errand):
        return errand.run(self.encoder, self.ranks, self.progress)

    def skip(self, item, reason):
        raise AssertionError(f"{item} {reason}")


@pytest.mark.slow
def test_the_oracle_is_found_and_noise_is_not(suite_folder, tmp_path):
    """Two categories of one small set: features that hold the truth give a high AP, random weights less, noise none."""
    data = open_data(str(suite_folder), tmp_path)
    part = data.parts[min(data.parts, key=lambda name: (len(data.parts[name].classes), name))]
    train, val = (read_ground_truth(part.annotations[s], part.splits[s], name=s) for s in ("train", "val"))
    recipe = CocoFormatDetection(recipe="mini", iterations=120, batch=2, rate=2e-3).settings()
    head = recipe.head.model_copy(update={"regions": 32, "proposals": 64, "rpn_width": 32, "conv_width": 32})
    recipe = recipe.model_copy(update={"head": head})
    ap = {}
    for name in ("oracle", "random-weights", "noise"):
        encoder = load_encoder(EncoderSpec.parse(f"synthetic:{name}"))
        stage = DetectorTraining(recipe.head, recipe.training, "ops", False, only(part, "train", labelled=False))
        work = Quiet(tmp_path / name, encoder)
        curve = stage.train(encoder, None, work.folder, seed=0, work=work)
        ready = Ready(work.folder, SimpleNamespace(skipped=(), curve=curve))
        learnt = found_in(encoder, train, val, stage, ready, recipe, work=work)
        ap[name] = score(val, learnt.found.results, masks=False, resamples=0).box.ap["AP50"]
    assert ap["oracle"] > 40, ap
    assert ap["noise"] < 5
    assert ap["noise"] < ap["random-weights"] < ap["oracle"]


def test_views_that_memory_does_not_hold_say_what_to_change(world, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 is full.")

    monkeypatch.setattr(fill, "tokens_of", full)
    (record,) = _run(world, tmp_path, CocoDetection(recipe="smoke", iterations=30, views=1)).records
    assert re.search("^keeping the features of .*oracle.*'s views: memory is full .*CUDA out of memory", record.error)
    assert "give accumulate=2" in record.error


def test_in_how_many_parts_a_step_is_made_is_no_part_of_a_number(world):
    one, other = (CocoDetection(recipe="smoke", accumulate=parts) for parts in (None, 2))
    assert one.spec == other.spec
    (training,), (parts,) = one.stages(world), other.stages(world)
    assert (training.spec, parts.training.accumulate) == (parts.spec, 2)


def test_what_is_misspelt_is_told_before_anything_runs():
    for given, said in (
        ({"recipe": "paper"}, "there is no recipe 'paper'"),
        ({"backend": "mmdet"}, "backend=auto, ops or detectron2"),
        ({"backend": "detectron2", "accumulate": 2}, "another training; write backend=ops, or leave out accumulate="),
        ({"unpool": "cubic"}, "unpool"),
        ({"iterations": 0}, "iterations"),
        ({"epochs": 0}, "^coco-det: epochs: .*greater than or equal to 1.$"),
        ({"epochs": -1}, "^coco-det: epochs: .*greater than or equal to 1.$"),
        ({"epochs": 10**6}, "^coco-det: epochs: .*less than or equal to 100000.$"),
    ):
        with pytest.raises(UserError, match=said):
            CocoDetection(**given)
    assert LvisDetection().settings().head.detections == 300
    assert LvisDetection().settings().training.repeat_threshold == 0.001
