"""Stages, by a probe with two chained ones that the product knows nothing of: it tunes the encoder, then learns a head over it."""

import importlib
import json
import multiprocessing
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from rice_core.cli import main
from rice_core.datasets import Dataset, open_dataset
from rice_core.encoders import load_encoder
from rice_core.encoders.private import private, weights_now
from rice_core.errors import UserError
from rice_core.measure.bill import bill
from rice_core.measure.cache import FeatureCache
from rice_core.measure.claims import Claims
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.measure.summary import Summary
from rice_core.measure.trained import Shelf, all_trained
from rice_core.measure.verify import verify
from rice_core.progress import Progress
from rice_core.record import Evidence, Record
from rice_core.spec import EncoderSpec
from rice_core.store import Store
from rice_core.world.layouts.coco import write_coco

TUNING = '''
"""Both stages."""
import os, signal
from dataclasses import dataclass
from pathlib import Path
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from rice_core.budget import Passes
from rice_core.datasets import Dataset, only
from rice_core.errors import UserError
from rice_core.images import load_image
from rice_core.stage import Stage, StageSpec
from tuning.rate import RATE

LOG = Path()
KILL_AT = INTERRUPT_AT = None
GREEDY = False


def note(words):
    with LOG.open("a") as file:
        file.write(words + "\\n")


@dataclass(frozen=True)
class Tune(Stage):
    dataset: Dataset
    steps: int = 3

    @property
    def spec(self):
        return StageSpec(name="tune", params={"steps": self.steps})

    @property
    def data(self):
        return (self.dataset,)

    def cost(self, encoder, budget, *, companions=0):
        return Passes(self.steps, 96, f"tune: {self.steps} images")

    def train(self, encoder, start, out, *, seed, work):
        own = encoder if GREEDY else work.private(encoder)
        saved, done = work.folder / "state.safetensors", 0
        if saved.is_file():
            tensors = load_file(saved)
            done = int(tensors.pop("done"))
            own.module.load_state_dict(tensors)
        optimizer = torch.optim.SGD(own.module.parameters(), lr=RATE)
        sample = self.dataset.splits["train"][0]
        curve = []
        for step in range(done, self.steps):
            if step == KILL_AT:
                os.kill(os.getpid(), signal.SIGKILL)
            if step == INTERRUPT_AT:
                raise KeyboardInterrupt
            note(f"step {step}")
            loss = own.encode(own.preprocess([load_image(sample.path)])).dense_BCHW.square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            curve.append({"step": float(step), "loss": float(loss.detach())})
            work.folder.mkdir(parents=True, exist_ok=True)
            save_file({**own.module.state_dict(), "done": torch.tensor(step + 1)}, saved)
        save_file(own.module.state_dict(), out / "encoder.safetensors")
        work.skip("one.png", "is left out to see it")
        return curve


@dataclass(frozen=True)
class Learn(Stage):
    dataset: Dataset

    @property
    def spec(self):
        return StageSpec(name="learn")

    @property
    def after(self):
        return Tune(self.dataset)

    def cost(self, encoder, budget, *, companions=0):
        return Passes(7, 96, "learn: 7 images")

    def train(self, encoder, start, out, *, seed, work):
        note(f"learn after {start.parent.name}")
        total = sum(float(value.float().sum()) for value in load_file(start / "encoder.safetensors").values())
        save_file({"head": torch.tensor([total])}, out / "head.safetensors")
        return []
'''
PROBE = '''
"""The probe that asks for them."""
from dataclasses import dataclass
from typing import ClassVar
from rice_core.datasets import only
from rice_core.light import LightProbe
from rice_core.record import Metric, Outcome


@dataclass(frozen=True)
class Tuned(LightProbe):
    """How large the head is, times k."""

    name: ClassVar[str] = "tuned"
    k: int = 1

    @property
    def reads(self):
        return ()

    def stages(self, dataset):
        from tuning.stages import Learn
        return (Learn(only(dataset, "train")),)

    def run(self, encoder, *, seed, work):
        from safetensors.torch import load_file
        ready = work.stage(work.stages[0])
        head = float(load_file(ready.folder / "head.safetensors")["head"])
        return Outcome(metrics=(Metric(name="size", value=self.k * head, better="neither", n=1),))
'''
SPEC = EncoderSpec.parse("synthetic:random-weights")


class Tuning:
    """The package as it stands on disk, and its log of what was trained."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log.txt"
        (folder / "tuning").mkdir()
        for name, text in (("__init__", ""), ("rate", "RATE = 0.5\n"), ("stages", TUNING), ("probe", PROBE)):
            (folder / "tuning" / f"{name}.py").write_text(text)

    def load(self) -> ModuleType:
        for name in [name for name in sys.modules if name.split(".")[0] == "tuning"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        stages = importlib.import_module("tuning.stages")
        stages.LOG = self.log  # type: ignore[attr-defined]
        return stages

    def edit(self, name: str, before: str, after: str) -> None:
        path = self.folder / "tuning" / f"{name}.py"
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))
        self.load()

    def plan(self, dataset: Dataset, *ks: int) -> Plan:
        kind = importlib.import_module("tuning.probe").Tuned
        return plan_over(tuple(kind(k=k) for k in ks), dataset)

    def trained(self) -> list[str]:
        """What was done since it was asked last, a word a step."""
        words = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [word.split(" after")[0] for word in words]


def plan_over(probes: tuple[object, ...], dataset: Dataset) -> Plan:
    return Plan.over((SPEC,), probes, dataset)  # type: ignore[arg-type]


ONCE = ["step 0", "step 1", "step 2", "learn"]


@pytest.fixture
def tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuning]:
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    made = Tuning(folder)
    made.load()
    yield made
    for name in [name for name in sys.modules if name.split(".")[0] == "tuning"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = write_coco(tmp_path_factory.mktemp("drawn") / "w", seed=3, train=4, val=3)
    return folder


@pytest.fixture
def world(drawn: Path, tmp_path: Path) -> Dataset:
    return open_dataset(Path(shutil.copytree(drawn, tmp_path / "w")), name="mini")


def ricebench(*words: str | Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    assert ended.value.code == 0


def run(plan: Plan, root: Path) -> Summary:
    return Runner(Store(root), Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan)


def values(summary: Summary) -> dict[int, float]:
    assert [record.status for record in summary.records] == ["done"] * len(summary.records)
    return {int(record.cell.probe.params["k"]): record.metrics[0].value for record in summary.records}


def folder_of(root: Path, name: str) -> Path:
    (found,) = [each for each in all_trained(Store(root)) if each.request.stage.name == name]
    return Store(root).stage(found.request.id)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_trained_once_for_all_cells_and_runs_and_written_down(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    first = values(run(tuning.plan(world, 1, 2), tmp_path / "s"))
    assert tuning.trained() == ONCE
    assert first[2] == 2 * first[1]
    again = run(tuning.plan(world, 1, 2), tmp_path / "s")
    assert again.counts == {"reused": 2}
    third = run(tuning.plan(world, 1, 2, 3), tmp_path / "s")
    assert third.counts == {"reused": 2, "done": 1}
    assert values(third)[3] == 3 * first[1]
    assert tuning.trained() == []
    store = Store(tmp_path / "s")
    tune, learn = (Shelf(store).find(folder_of(tmp_path / "s", name).name) for name in ("tune", "learn"))
    assert tune is not None
    assert learn is not None
    assert list(tune.files) == ["encoder.safetensors"]
    assert [point["step"] for point in tune.curve] == [0, 1, 2]
    assert [skip.item for skip in tune.skipped] == ["one.png"]
    assert learn.request.after == tune.request
    assert learn.evidence.stages == (tune.used,)
    for record in store.records():
        assert record.evidence is not None
        assert record.evidence.stages == (learn.used, tune.used)
        assert "one.png" in [skip.item for skip in record.skipped]
    assert not list((tmp_path / "s" / "unfinished").glob("*"))
    assert verify(store, Progress(quiet=True)).sound["trained stages"] == 2


def test_what_a_training_made_inapplicable_is_asked_again_where_it_is_trained_again(
    tuning: Tuning, world: Dataset, tmp_path: Path
) -> None:
    judged = "return Outcome(metrics=(Metric("
    tuning.edit(
        "probe",
        judged,
        f"from rice_core.errors import NotApplicable\n        raise NotApplicable('no')\n        {judged}",
    )
    (record,) = run(tuning.plan(world, 1), tmp_path / "s").records
    assert record.status == "not_applicable"
    assert run(tuning.plan(world, 1), tmp_path / "s").counts == {"reused": 1}
    tuning.trained()
    flip(folder_of(tmp_path / "s", "learn") / "head.safetensors")
    assert run(tuning.plan(world, 1), tmp_path / "s").counts == {"not_applicable": 1}
    assert tuning.trained() == ["learn"]


def test_another_val_set_is_judged_without_training(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    run(tuning.plan(world, 1), tmp_path / "s")
    tuning.trained()
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "w", other)
    path = other / "annotations" / "instances_val.json"
    body = json.loads(path.read_text())
    gone = body["images"].pop()["id"]
    body["annotations"] = [entry for entry in body["annotations"] if entry["image_id"] != gone]
    path.write_text(json.dumps(body))
    less = open_dataset(other, name="mini")
    assert less.spec != world.spec
    assert run(tuning.plan(less, 1), tmp_path / "s").counts == {"done": 1}
    assert tuning.trained() == []


@pytest.mark.parametrize(
    ("change", "trained", "outcome"),
    [
        (lambda tuning, world: tuning.edit("rate", "0.5", "0.25"), ONCE, "done"),
        (
            lambda tuning, world: tuning.edit("stages", 'note(f"learn', 'note("learn") if False else note(f"learn'),
            ONCE,
            "done",
        ),
        (lambda tuning, world: tuning.edit("rate", "RATE", "# said anew\nRATE"), [], "reused"),
        (lambda tuning, world: tuning.edit("probe", "self.k * head", "2 * self.k * head"), [], "done"),
    ],
)
def test_what_its_weights_depend_on_trains_it_again_and_measures_its_cells_anew(
    tuning: Tuning,
    world: Dataset,
    tmp_path: Path,
    change: Callable[[Tuning, Dataset], None],
    trained: list[str],
    outcome: str,
) -> None:
    run(tuning.plan(world, 1, 2), tmp_path / "s")
    tuning.trained()
    comment = (not trained and "said") or ""
    change(tuning, world)
    counts = run(tuning.plan(world, 1, 2), tmp_path / "s").counts
    assert tuning.trained() == trained
    same = comment and "said anew" in (tuning.folder / "tuning" / "rate.py").read_text()
    assert counts == ({"reused": 2} if same else {"done": 2})
    assert len(all_trained(Store(tmp_path / "s"))) == 2


def test_changed_images_train_it_again(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    before = values(run(tuning.plan(world, 1), tmp_path / "s"))
    tuning.trained()
    first, second = (sample.path for sample in world.splits["train"][:2])
    shutil.copyfile(second, first)
    after = values(run(tuning.plan(world, 1), tmp_path / "s"))
    assert tuning.trained() == ONCE
    assert after != before


def test_a_flipped_bit_is_found_and_trained_again(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    root = tmp_path / "s"
    before = values(run(tuning.plan(world, 1, 2), root))
    tuning.trained()
    path = folder_of(root, "learn") / "head.safetensors"
    whole = path.read_bytes()
    flip(path)
    (problem,) = verify(Store(root), Progress(quiet=True)).problems
    assert problem.file == str(path.relative_to(root))
    assert problem.moved
    assert not path.exists()
    (problem,) = verify(Store(root), Progress(quiet=True)).problems
    assert problem.reason == "is not there"
    summary = run(tuning.plan(world, 1, 2), root)
    assert tuning.trained() == ["learn"]
    assert summary.counts == {"done": 2}
    assert values(summary) == before
    assert path.read_bytes() == whole
    # Without verify too, and of what a stage goes on from.
    flip(folder_of(root, "tune") / "encoder.safetensors")
    assert values(run(tuning.plan(world, 1, 2), root)) == before
    assert tuning.trained() == ONCE
    flip(folder_of(root, "learn") / "stage.json")
    assert [p.moved for p in verify(Store(root), Progress(quiet=True)).problems] == [True]
    assert values(run(tuning.plan(world, 3), root))[3] == 3 * before[1]
    assert tuning.trained() == ["learn"]


def test_removed_stages_leave_records_standing(
    tuning: Tuning, world: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "s"
    run(tuning.plan(world, 1), root)
    tuning.trained()
    ricebench("cache", "show", "--store", root)
    assert "of 2 trained stages" in capsys.readouterr().out
    ricebench("cache", "clear", "--store", root)
    assert len(all_trained(Store(root))) == 2
    ricebench("cache", "clear", "--stages", "--store", root)
    assert not list((root / "stages").glob("*"))
    assert run(tuning.plan(world, 1), root).counts == {"reused": 1}
    assert tuning.trained() == []
    run(tuning.plan(world, 2), root)
    assert tuning.trained() == ONCE


def _killed(tuning: Tuning, world: Dataset, root: Path, at: int | None) -> int:
    def go() -> None:
        torch.set_num_threads(1)
        sys.modules["tuning.stages"].KILL_AT = at  # type: ignore[attr-defined]
        run(tuning.plan(world, 1), root)

    process = multiprocessing.get_context("fork").Process(target=go)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def test_killed_it_goes_on_where_it_was(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    whole = values(run(tuning.plan(world, 1), tmp_path / "whole"))
    tuning.trained()
    assert _killed(tuning, world, tmp_path / "s", 2) == -signal.SIGKILL
    assert tuning.trained() == ["step 0", "step 1"]
    assert all_trained(Store(tmp_path / "s")) == []
    assert values(run(tuning.plan(world, 1), tmp_path / "s")) == whole
    assert tuning.trained() == ["step 2", "learn"]
    digests = [{each.request.id: each.files for each in all_trained(Store(tmp_path / name))} for name in ("whole", "s")]
    assert digests[0] == digests[1]


def test_two_runs_at_once_train_it_once(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")

    def go(k: int) -> None:
        torch.set_num_threads(1)
        run(tuning.plan(world, k), tmp_path / "s")

    both = [fork.Process(target=go, args=(k,)) for k in (1, 2)]
    for process in both:
        process.start()
    for process in both:
        process.join(90)
    assert [process.exitcode for process in both] == [0, 0]
    assert sorted(tuning.trained()) == sorted(ONCE)
    assert len(Store(tmp_path / "s").records()) == 2


def test_plan_prices_each_once(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    def said() -> str:
        return "\n".join(
            bill(tuning.plan(world, 1, 2, 3), Store(tmp_path / "s"), FeatureCache(Store(tmp_path / "s")).space())
        )

    before = said()
    assert before.count("tune: 3 images") == before.count("learn: 7 images") == 1
    assert "/ tune, for 3 cells: to be trained, once" in before
    assert "at most 10 images through the encoder" in before
    run(tuning.plan(world, 1), tmp_path / "s")
    after = said()
    assert "/ learn, for 2 cells: trained; reused" in after
    assert "nothing to extract" in after
    assert "recorded; reused if weights, data and code are unchanged" in after


def test_plan_says_what_a_run_would_make_again(
    tuning: Tuning, world: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "s"

    def said() -> str:
        return "\n".join(bill(tuning.plan(world, 1), Store(root), FeatureCache(Store(root)).space()))

    run(tuning.plan(world, 1), root)
    (folder_of(root, "tune") / "encoder.safetensors").unlink()
    assert "recorded over a training whose files are gone; to be measured again" in said()
    assert "/ tune, for 1 cell: to be trained, once" in said()
    assert "/ learn, for 1 cell: trained; reused" in said()
    ricebench("status", "--store", root)
    lines = {line.split(" / ")[-1].split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert (lines["tune"], lines["learn"]) == ("incomplete", "trained")
    run(tuning.plan(world, 1), root)
    tuning.edit("rate", "RATE = ", "RATE = 1 * ")
    assert "recorded by other code; to be measured again" in said()
    assert said().count(": to be trained, once") == 2


def test_a_training_that_failed_is_not_tried_again_by_the_next_cell(
    tuning: Tuning, world: Dataset, tmp_path: Path
) -> None:
    tuning.edit("stages", "return []", 'note("failed"); raise UserError("It diverged; lower the rate.")')
    summary = run(tuning.plan(world, 1, 2), tmp_path / "s")
    assert [record.error for record in summary.records] == ["It diverged; lower the rate."] * 2
    assert tuning.trained().count("failed") == 1
    run(tuning.plan(world, 1), tmp_path / "s")
    assert tuning.trained().count("failed") == 1


def test_status_and_the_report_name_them(
    tuning: Tuning, world: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from reports.site.record_page import _facts

    summary = run(tuning.plan(world, 1, 2), tmp_path / "s")
    ricebench("status", "--store", tmp_path / "s")
    lines = [line for line in capsys.readouterr().out.splitlines() if "stage synthetic:random-weights / " in line]
    assert len(lines) == 2
    assert all("trained" in line and "2 cells rest on it" in line for line in lines)
    ricebench("show", folder_of(tmp_path / "s", "tune").name, "--store", tmp_path / "s")
    shown = capsys.readouterr().out
    assert "stage synthetic:random-weights / tune: trained" in shown
    assert "encoder.safetensors" in shown
    assert "ends at loss 0" in shown
    facts = {name: words for name, words, _ in _facts(summary.records[0])}
    assert facts["stage learn"].startswith(folder_of(tmp_path / "s", "learn").name)


def test_who_trains_the_shared_encoder_is_refused(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    sys.modules["tuning.stages"].GREEDY = True  # type: ignore[attr-defined]
    summary = run(tuning.plan(world, 1, 2), tmp_path / "s")
    assert [record.status for record in summary.records] == ["failed", "failed"]
    assert "changed the weights of the encoder that it shares with other cells" in str(summary.records[0].error)
    assert str(summary.records[1].error).startswith("was not measured")
    assert all_trained(Store(tmp_path / "s")) == []
    sys.modules["tuning.stages"].GREEDY = False  # type: ignore[attr-defined]
    tuning.trained()
    shutil.rmtree(tmp_path / "s" / "unfinished")
    assert run(tuning.plan(world, 1, 2), tmp_path / "s").counts == {"done": 2}


def test_a_cell_that_changes_weights_fails_and_leaves_no_features(world: Dataset, tmp_path: Path) -> None:
    from probes.knn import Knn

    class Careless(Knn):
        def run(self, encoder, *, seed, work):  # type: ignore[no-untyped-def]
            with torch.no_grad():
                next(encoder.module.parameters()).data.add_(1)
            return super().run(encoder, seed=seed, work=work)

    (record,) = run(plan_over((Careless(k=3),), world), tmp_path / "s").records
    assert record.status == "failed"
    assert str(record.error).startswith("knn changed the weights")
    assert not list((tmp_path / "s" / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize("how", ["train", "hook", "forward"])
def test_a_cell_that_changes_the_forward_pass_fails(how: str, world: Dataset, tmp_path: Path) -> None:
    from probes.knn import Knn

    class Careless(Knn):
        def run(self, encoder, *, seed, work):  # type: ignore[no-untyped-def]
            found = super().run(encoder, seed=seed, work=work)
            part = next(part for part in encoder.module.modules() if isinstance(part, torch.nn.LayerNorm))
            if how == "train":
                part.train()
            elif how == "hook":
                part.register_forward_hook(lambda _module, _inputs, output: 0 * output)
            else:
                part.forward = lambda x: 0 * x
            return found

    both = run(plan_over((Careless(k=3), Knn(k=4)), world), tmp_path / "s").records
    assert [record.status for record in both] == ["failed", "failed"]
    assert str(both[0].error).startswith("knn changed the forward pass")


def test_a_private_copy_shares_nothing() -> None:
    encoder = load_encoder(SPEC)
    own = private(encoder)
    assert own.weights_digest() == encoder.weights_digest()
    with torch.no_grad():
        for parameter in own.module.parameters():  # type: ignore[attr-defined]
            parameter.add_(1)
    assert weights_now(encoder) == encoder.weights_digest() != weights_now(own)
    with pytest.raises(UserError, match="no weights that can be trained"):
        private(load_encoder(EncoderSpec.parse("synthetic:noise")))


def test_a_private_copy_of_a_forward_that_closes_over_its_network() -> None:
    encoder = load_encoder(SPEC)
    module = encoder.module  # type: ignore[attr-defined]
    object.__setattr__(encoder._trunk, "forward", lambda pixels: module(pixels))  # type: ignore[attr-defined]
    own = private(encoder)
    pixels = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        before = own.encode(pixels).dense_BCHW
        assert torch.equal(before, encoder.encode(pixels).dense_BCHW)
        next(own.module.parameters()).mul_(2)  # type: ignore[attr-defined]
        assert not torch.equal(own.encode(pixels).dense_BCHW, before)
        assert torch.equal(encoder.encode(pixels).dense_BCHW, before)


def test_records_of_before_stages_are_read() -> None:
    body = Evidence(weights="w", data="d", code="c").model_dump()
    del body["stages"]
    assert Evidence.model_validate(body).stages == ()
    assert "stages" in Record.model_fields["evidence"].annotation.__args__[0].model_fields  # type: ignore[union-attr]


def test_only_named_stages_are_given(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    tuning.edit(
        "probe", "work.stage(work.stages[0])", "work.stage(type(work.stages[0].after)(work.stages[0].dataset, 9))"
    )
    with pytest.raises(ValueError, match="names the stages that it asks for"):
        run(tuning.plan(world, 1), tmp_path / "s")


def test_a_claimed_stage_is_not_removed(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    root = tmp_path / "s"
    run(tuning.plan(world, 1), root)
    with Claims(root / "claims").taken(folder_of(root, "tune").name):
        ricebench("cache", "clear", "--stages", "--store", root)
        assert [each.request.stage.name for each in all_trained(Store(root))] == ["tune"]


def test_what_has_to_be_unpickled_is_not_kept(tuning: Tuning, world: Dataset, tmp_path: Path) -> None:
    tuning.edit("stages", "return []", "(out / 'more.pkl').write_bytes(b'x'); return []")
    with pytest.raises(ValueError, match="safetensors, JSON and text"):
        run(tuning.plan(world, 1), tmp_path / "s")
    assert [each.request.stage.name for each in all_trained(Store(tmp_path / "s"))] == ["tune"]
    assert [*(tmp_path / "s" / "stages").iterdir()] == [folder_of(tmp_path / "s", "tune")]
