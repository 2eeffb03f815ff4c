"""Recipes: what the studies say, and one of them run end to end at its smallest."""

import contextlib
import json
import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from shards import write_shards
from typer.testing import CliRunner

from rice_core.cli import build_app
from rice_core.digest import file_digest
from rice_core.errors import UserError
from rice_core.measure.run import Settings
from rice_core.progress import Progress
from rice_core.rice.config import TrainConfig
from rice_core.rice.launch import train
from rice_core.rice.recipes import NAMES, recipe
from rice_core.rice.recipes.choose import best_rate, long_enough, skill_of
from rice_core.rice.recipes.compute import training_flops
from rice_core.rice.recipes.mini import OBJECTIVES, SCALES, curation, objective, training
from rice_core.rice.recipes.run import Workshop, run_study
from rice_core.rice.recipes.study import training_digest
from rice_core.rice.regions import MANIFEST
from rice_core.store import Store
from rice_core.train.metrics import HELD_OUT
from rice_core.world.mini import World


class Bench(Workshop):
    """A workshop whose trainings only leave a log: top-1 as a function of the configuration."""

    def held_out(self, config):
        return self.skill(config)

    def data(self, seed, scenes, curation, centers=None):
        folder = self.store.root / "data"
        folder.mkdir(exist_ok=True)
        (folder / MANIFEST).write_text("of seed and settings")
        return folder

    def train(self, wanted):
        folders = []
        for config in wanted:
            folder = self.store.root / training_digest(config, "data")
            folder.mkdir(parents=True, exist_ok=True)
            rows = [
                {"step": k, "object/top1": self.skill(config), "ocr/top1": self.skill(config), "loss": 1.0}
                for k in range(20)
            ]
            if config.validation is not None:
                digest = file_digest(config.validation.path / MANIFEST)
                rows.append({"step": sum(config.steps), HELD_OUT: digest, "val/object/top1": self.held_out(config)})
            (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            folders.append(folder)
        return folders


@pytest.fixture
def bench(tmp_path):
    return Bench(Store(tmp_path), Progress(quiet=True))


SIZE = SCALES["smoke"]


@pytest.mark.parametrize(("best", "tried"), [(2e-3, [1e-3, 2e-3, 4e-3]), (2.5e-4, [1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3])])
def test_rates_are_tried_beyond_the_edge(bench, best, tried):
    Bench.skill = staticmethod(lambda config: 1 - abs(math.log(config.optimizer.rate / best)) / 10)
    choice = best_rate(
        bench, "x", lambda rate: training(SIZE, "x", objective("rice"), rate=rate), (1e-3, 2e-3), 8, curation(SIZE)
    )
    assert choice.chosen == best
    assert list(choice.skill) == tried


def test_the_rate_with_the_best_curve_is_chosen(bench):
    Bench.skill = staticmethod(lambda config: 1 - abs(config.optimizer.rate - 1e-3) * 100)
    choice = best_rate(
        bench,
        "x",
        lambda rate: training(SIZE, "x", objective("rice"), rate=rate),
        (5e-4, 1e-3, 2e-3),
        8,
        curation(SIZE),
    )
    assert choice.chosen == 1e-3
    assert set(choice.skill) == {5e-4, 1e-3, 2e-3}


@pytest.mark.parametrize(
    ("gains", "chosen", "rising"),
    [((0.5, 0.51), 20, False), ((0.3, 0.6, 0.59), 20, False), ((0.1, 0.3, 0.6), 40, True)],
)
def test_length_doubles_until_it_stops_paying(bench, gains, chosen, rising):
    batch = SIZE.batch
    Bench.skill = staticmethod(lambda config: gains[{10: 0, 20: 1, 40: 2}[config.stages[0].samples // batch]])
    make = lambda steps: training(SIZE, "x", objective("rice"), steps=steps)  # noqa: E731
    choice = long_enough(bench, {"x": make}, 10, 8, 4, curation(SIZE), doublings=2)["x"]
    assert choice.chosen == chosen
    assert ("still rising" in choice.what) == rising == (not choice.settled)


def test_a_length_is_judged_on_scenes_that_are_held_out(bench, monkeypatch):
    """Accuracy in training goes on rising where images are learnt by heart."""
    Bench.skill = staticmethod(lambda config: config.stages[0].samples / 1e4)
    monkeypatch.setattr(Bench, "held_out", lambda _, config: 0.3)
    make = lambda steps: training(SIZE, "x", objective("rice"), steps=steps)  # noqa: E731
    choice = long_enough(bench, {"x": make}, 100, 8, 4, curation(SIZE), doublings=2)["x"]
    assert choice.chosen == 100
    assert "held-out" in str(choice)


def test_a_plateau_is_no_end_and_an_overfitted_training_no_best(bench):
    """Lengths of 10, 20 and 40 steps, as long as any objective still learns."""
    curves = {1e-3: (0.2, 0.2, 0.5), 2e-3: (0.3, 0.5, 0.4), 4e-3: (0.1, 0.4, 0.41)}
    Bench.skill = staticmethod(
        lambda config: curves[config.optimizer.rate][(10, 20, 40).index(config.stages[0].samples // SIZE.batch)]
    )

    def make(rate):
        return lambda steps: training(SIZE, "x", objective("rice"), rate=rate, steps=steps)

    makes = {"plateau": make(1e-3), "overfits": make(2e-3), "settles": make(4e-3)}
    found = long_enough(bench, makes, 10, 8, 4, curation(SIZE), doublings=2)
    assert {name: (choice.chosen, choice.settled) for name, choice in found.items()} == {
        "plateau": (40, False), "overfits": (20, True), "settles": (40, True),
    }  # fmt: skip
    assert found["overfits"].skill == {10: 0.3, 20: 0.5, 40: 0.4}


def test_lengths_are_looked_for_side_by_side(bench):
    asked = []
    train_all = bench.train

    def train(wanted):
        asked.append(len(wanted))
        return train_all(wanted)

    object.__setattr__(bench, "train", train)
    Bench.skill = staticmethod(lambda config: 0.5 if config.optimizer.rate == 1e-3 else config.stages[0].samples / 1e4)
    makes = {
        "done": lambda steps: training(SIZE, "done", objective("rice"), rate=1e-3, steps=steps),
        "rises": lambda steps: training(SIZE, "rises", objective("rice"), rate=2e-3, steps=steps),
    }
    found = long_enough(bench, makes, 100, 8, 4, curation(SIZE), doublings=2)
    assert asked == [2, 2, 2]
    assert (found["done"].chosen, found["rises"].chosen) == (100, 400)


def test_skill_is_the_end_of_the_curve_over_banks(tmp_path):
    rows = [{"step": k, "object/top1": k / 20, "ocr/top1": None, "loss": 9} for k in range(1, 21)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 21, "obj')
    assert skill_of(tmp_path) == pytest.approx((19 / 20 + 1) / 2)


def test_names_tags_and_probes_share_a_training_and_settings_do_not():
    config = training(SIZE, "a", objective("rice"))
    same = config.model_copy(update={"name": "b", "tags": {"x": "y"}, "log_every": 3})
    assert training_digest(config, "d") == training_digest(same, "d")
    assert training_digest(config, "d") != training_digest(config, "e")
    assert training_digest(config, "d") != training_digest(training(SIZE, "a", objective("rice"), rate=2e-3), "d")


def test_ablations_change_one_number(bench):
    Bench.skill = staticmethod(lambda config: 0.5)
    for which, path in (("5a", "regions"), ("5c", "rho"), ("5d", "ocr_labels")):
        (study,) = recipe(f"table:{which}", bench, "mini", (0, 1, 2))
        seen, rest = [], []
        for arm in study.arms:
            body = arm.config.objective.model_dump()
            seen.append(body["loss"].pop("rho") if path == "rho" else body.pop(path))
            rest.append(body)
            assert seen[-1] == arm.value
            others = arm.config.model_dump(exclude={"objective"})
            assert others == study.arms[0].config.model_dump(exclude={"objective"})
        assert all(body == rest[0] for body in rest)
        assert len(set(seen)) == len(study.arms) >= 3
        assert sum(arm.reference for arm in study.arms) == 1
    (study,) = recipe("table:5b", bench, "mini", (0,))
    assert [arm.curation.classes for arm in study.arms] == [arm.value for arm in study.arms]
    assert all(arm.config == study.arms[0].config for arm in study.arms)


def test_equal_compute_gives_fewer_steps_to_the_costlier_objective(bench):
    flops = {
        name: training_flops(training(SCALES["mini"], name, objective(name)), curation(SCALES["mini"]))
        for name in OBJECTIVES
    }
    assert flops["mlcd"] < flops["rice"] < 1.1 * flops["mlcd"]
    assert flops["siglip"] > flops["mlcd"]
    Bench.skill = staticmethod(lambda config: 0.5)
    equal, converged = recipe("mini:encoders", bench, "mini", (0, 1, 2))
    steps = {arm.label: arm.config.steps[0] for arm in equal.arms}
    for name in OBJECTIVES:
        assert steps[name] * flops[name] == pytest.approx(steps["rice"] * flops["rice"], rel=2e-3)
    assert (equal.control, converged.control) == ("equal compute", "converged on 2,500 scenes")
    assert (equal.scenes, converged.scenes) == (10_000, 2_500)
    steps = lambda config: config.stages[0].samples  # noqa: E731
    Bench.skill = staticmethod(lambda config: 0.5 if config.objective.name == "siglip" else steps(config) / 1e5)
    *_, longest = recipe("mini:encoders", bench, "mini", (0,))
    assert longest.control == "longest training on 2,500 scenes, rice and mlcd still rising"
    mini = longest.folder(longest.arms[0], 0)
    *_, longest = recipe("mini:encoders", bench, "long", (0,))
    assert longest.folder(longest.arms[0], 0) != mini
    assert {arm.label: arm.config.steps[0] for arm in longest.arms if not arm.yardstick} == {
        "rice": 600 << 6,
        "mlcd": 600 << 6,
        "siglip": 600,
    }
    assert {arm.label for arm in equal.arms if arm.yardstick} == {
        "random weights",
        "untrained start",
        "rice, told the categories",
    }


class InProcess(Workshop):
    """Trains where it stands: starting a process for each training takes longer than the training."""

    def _train_one(self, config, folder):
        train(config.model_copy(update={"name": folder.name}), folder, device="cpu", workers=0, quiet=True)


def _base(path, **changes) -> TrainConfig:
    body = {
        "name": "tiny",
        "model": {"vit": {"width": 16, "depth": 2, "heads": 2, "patch": 8, "resolution": 48}, "region_layers": 1},
        "objective": {"loss": {"margin": "cos", "s": 16}},
        "data": {"path": str(path)},
        "stages": [{"resolution": 48, "samples": 16}],
        "batch": 8,
        "precision": "fp32",
        "probe": {"every": 1000, "data": "mini", "probes": ["knn?recipe=mini"]},
    }
    return TrainConfig.model_validate(body | changes)


def test_an_ablation_over_a_training_of_ones_own_runs_to_its_table(tmp_path, monkeypatch):
    tiny = World(name="mini", seed=0, train=24, val=12, size=48)
    monkeypatch.setattr("rice_core.world.mini.WORLDS", {"mini": tiny})
    shards = write_shards(tmp_path / "shards")
    shop = InProcess(Store(tmp_path / "store"), Progress(quiet=True), "cpu")
    (study,) = recipe("table:5c", shop, "mini", (0, 1), _base(shards))
    assert [arm.config.objective.loss.rho for arm in study.arms] == [0.05, 0.1, 0.2, 0.5]
    summary = run_study(study, shop, Settings(device="cpu"))
    assert summary.counts == {"done": 8}, summary.errors
    facts = [record.evidence.encoder_facts for record in summary.records]
    assert {(f["study"], f["arm"], f["train_seed"]) for f in facts} == {
        ("table:5c", f"rho = {rho:g}", seed) for rho in (0.05, 0.1, 0.2, 0.5) for seed in "01"
    }
    assert [f["value"] for f in facts if f.get("reference")] == ["0.1", "0.1"]
    # Of so few classes the two smallest rates sample equally many.
    assert len({record.evidence.weights for record in summary.records}) == 6
    assert run_study(study, shop, Settings(device="cpu")).counts == {"reused": 8}
    shown = CliRunner().invoke(build_app(), ["study", "table:5c", "--store", str(tmp_path / "store")])
    assert "rho = 0.5" in shown.output


def test_a_failed_training_is_named_and_the_others_are_kept(tmp_path):
    shop = InProcess(Store(tmp_path / "store"), Progress(quiet=True), "cpu")
    good = _base(write_shards(tmp_path / "shards"))
    bad = good.model_copy(update={"model": good.model.model_copy(update={"init_from": "rice:nowhere"})})
    with pytest.raises(UserError, match="1 of 2 trainings failed; the first: rice:nowhere: there is no folder"):
        shop.train([bad, good])
    assert len(list((tmp_path / "store" / "trained").glob("*/encoder/encoder.json"))) == 1


def test_two_runs_of_one_study_train_each_training_once(tmp_path):
    """Another process trains one of two now: this one trains the other first, waits, and finds the first finished."""
    store = Store(tmp_path / "store")
    shop, said = InProcess(store, Progress(quiet=True), "cpu"), []
    first = _base(write_shards(tmp_path / "shards"))
    second = first.model_copy(update={"seed": 1})
    folders = [shop._folder(config) for config in (first, second)]
    order = []

    class Noting(InProcess):
        def _train_one(self, config, folder):
            order.append(folder)
            super()._train_one(config, folder)

    shop.progress.say = said.append
    with ThreadPoolExecutor(1) as other, contextlib.ExitStack() as theirs:
        assert theirs.enter_context(shop.claims.taken(folders[0].name, "training it"))

        def finish():
            until = time.monotonic() + 120
            while not ((folders[1] / "encoder" / "encoder.json").is_file() and said) and time.monotonic() < until:
                time.sleep(0.05)
            shop._train_one(first, folders[0])
            theirs.close()

        done = other.submit(finish)
        assert Noting(store, shop.progress, "cpu").train([first, second]) == folders
        done.result()
    assert order == [folders[1]]
    assert any("training it" in line and "waiting" in line for line in said)
    assert list((store.root / "claims").iterdir()) == []


def test_what_a_killed_run_still_trains_is_waited_for(tmp_path):
    shop = InProcess(Store(tmp_path / "store"), Progress(quiet=True), "cpu")
    config = _base(write_shards(tmp_path / "shards"))
    folder = shop._folder(config)
    folder.mkdir(parents=True)
    orphan = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from rice_core.disk.files import held\n"
            "with held(Path(sys.argv[1])): print(flush=True); time.sleep(4)",
            str(folder / ".lock"),
        ],
        stdout=subprocess.PIPE,
    )
    orphan.stdout.readline()
    assert shop.train([config]) == [folder]
    assert orphan.poll() == 0


def test_a_base_that_cannot_be_varied_is_refused(bench, tmp_path):
    with pytest.raises(UserError, match="tiny has no probe"):
        recipe("table:5a", bench, "mini", (0,), _base(tmp_path, probe=None))
    with pytest.raises(UserError, match=r"regions-\{K\}"):
        recipe("table:5b", bench, "mini", (0,), _base(tmp_path))
    with pytest.raises(UserError, match="--base is for table"):
        recipe("mini:losses", bench, "mini", (0,), _base(tmp_path))
    (study,) = recipe("table:5b", bench, "mini", (0,), _base(tmp_path / "k{K}"))
    assert [arm.config.data.path.name for arm in study.arms] == ["k200000", "k500000", "k1000000", "k2000000"]


def test_mistakes_are_said(bench):
    with pytest.raises(UserError, match="no recipe 'table:5e'"):
        recipe("table:5e", bench, "mini", (0,))
    with pytest.raises(UserError, match="no scale 'huge'"):
        recipe("table:5a", bench, "huge", (0,))
    answer = CliRunner().invoke(build_app(), ["run", "mini:losses", "--data", "mini"])
    assert isinstance(answer.exception, UserError)
    assert "leave out --encoders" in str(answer.exception)
    assert "table:5d" in NAMES


def test_a_training_in_another_ones_place_is_not_believed(tmp_path):
    shop = InProcess(Store(tmp_path / "store"), Progress(quiet=True), "cpu")
    one = _base(write_shards(tmp_path / "shards"))
    (folder,) = shop.train([one])
    assert shop.train([one]) == [folder]
    other = one.model_copy(update={"seed": 1})
    folder.rename(shop._folder(other))
    # It holds a training of another seed: refused, where it was taken for this one's.
    with pytest.raises(UserError, match=r"1 of 1 trainings failed; the first: .* holds a training of another config"):
        shop.train([other])
