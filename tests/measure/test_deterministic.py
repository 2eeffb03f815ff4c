"""`--deterministic`: torch's mode reaches what is measured, trained, helped with and done in children, and ends with it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from rice_core.budget import Budget, Passes
from rice_core.cli import main
from rice_core.datasets import Dataset, only, open_dataset
from rice_core.deterministic import ASKED, cannot_repeat, deterministic, prepare
from rice_core.errors import UserError
from rice_core.light import LightProbe
from rice_core.measure.child import run_child
from rice_core.measure.follow import follow
from rice_core.measure.plan import Plan
from rice_core.measure.run import Engine, Runner, Settings
from rice_core.measure.trained import all_trained
from rice_core.progress import Progress
from rice_core.ranks import join
from rice_core.record import Metric, Outcome, Record
from rice_core.spec import EncoderSpec
from rice_core.stage import Stage, StageSpec
from rice_core.store import Store
from rice_core.world.layouts.coco import write_coco

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
SPEC = EncoderSpec.parse("synthetic:random-weights")


def on() -> bool:
    return torch.are_deterministic_algorithms_enabled()


@dataclass(frozen=True)
class Once(Stage):
    """Writes whether torch was in the mode."""

    dataset: Dataset

    @property
    def spec(self) -> StageSpec:
        return StageSpec(name="once")

    @property
    def data(self) -> tuple[Dataset, ...]:
        return (self.dataset,)

    def cost(self, encoder: EncoderSpec, budget: Budget, *, companions: int = 0) -> Passes:
        return Passes(1, 96, "once")

    def train(self, encoder: Any, start: Any, out: Path, *, seed: int, work: Any) -> Any:
        work.folder.mkdir(parents=True, exist_ok=True)
        (work.folder.parents[1] / f"mode-of-{work.ranks.rank}").write_text(str(on()))
        if work.ranks.leads:
            save_file({"on": torch.tensor([float(on())])}, out / "on.safetensors")
        return []


@dataclass(frozen=True)
class Modes(LightProbe):
    """Which of its parts were in the mode."""

    name: ClassVar[str] = "modes"
    refuses: bool = False
    trains: bool = False

    @property
    def reads(self) -> tuple[()]:
        return ()

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        return (Once(only(dataset, "train")),) if self.trains else ()

    def run(self, encoder: Any, *, seed: int, work: Any) -> Outcome:
        if self.refuses:
            torch.zeros(3).put_(torch.tensor([0, 1]), torch.tensor([1.0, 2.0]))
        values = {"run": float(on())}
        if self.trains:
            ready = work.stage(work.stages[0])
            values["stage"] = float(load_file(ready.folder / "on.safetensors")["on"])
        return Outcome(metrics=tuple(Metric(name=name, value=value, n=1) for name, value in values.items()))


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(WORKSPACE, ":4096:8")  # so that it is put back whatever is done to it
    monkeypatch.delenv(WORKSPACE)
    yield
    assert not on()
    assert ASKED not in os.environ


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(write_coco(tmp_path_factory.mktemp("drawn") / "w", seed=3, train=4, val=3), name="mini")


def ran(dataset: Dataset, root: Path, *probes: Modes, **settings: Any) -> dict[str, Record]:
    plan = Plan.over((SPEC,), probes, dataset)
    summary = Runner(Store(root), Settings(device="cpu", **settings), Progress(quiet=True)).run(plan)
    return {record.cell.probe.name: record for record in summary.records}


def test_the_mode_is_entered_whole_and_left_as_it_was() -> None:
    cudnn = torch.backends.cudnn

    def state() -> list[object]:
        modes = on(), torch.is_deterministic_algorithms_warn_only_enabled()
        return [*modes, cudnn.benchmark, cudnn.deterministic, torch.get_float32_matmul_precision(), ASKED in os.environ]

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("high")
    cudnn.benchmark = True
    before = state()
    try:
        with deterministic("cpu"):
            assert state() == [True, False, False, True, "highest", True]
            with pytest.raises(KeyboardInterrupt), deterministic("cpu"):
                raise KeyboardInterrupt
            assert state() == [True, False, False, True, "highest", True]
        assert state() == before
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision("highest")
        cudnn.benchmark = False


def test_cublas_is_told_before_cuda_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()
    assert os.environ.pop(WORKSPACE) == ":4096:8"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(UserError, match=r"set CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python starts"):
        prepare()
    with pytest.raises(UserError, match="before Python starts"), deterministic("cuda:1"):
        pass
    with deterministic("cpu"):  # which needs none of it
        assert WORKSPACE not in os.environ
    os.environ[WORKSPACE] = ":16:8"
    prepare()
    assert os.environ[WORKSPACE] == ":16:8"
    os.environ[WORKSPACE] = ":0:0"
    with pytest.raises(UserError, match="the environment has :0:0; unset it"):
        prepare()


def test_a_device_that_promises_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"mps promises nothing; use --device cpu\."), deterministic("mps"):
        pass


def test_of_auto_the_device_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(UserError, match="mps promises nothing"), deterministic("auto"):
        pass
    with deterministic("auto", wanted=False):
        assert not on()


def test_it_reaches_cells_and_trainings_and_stands_in_their_evidence(world: Dataset, tmp_path: Path) -> None:
    probe = Modes(trains=True)
    for wanted in (False, True):
        record = ran(world, tmp_path / str(wanted), probe, deterministic=wanted)["modes"]
        assert record.status == "done", record.error
        assert {metric.name: metric.value for metric in record.metrics} == {"run": wanted, "stage": wanted}
        assert record.evidence is not None
        assert record.evidence.deterministic is wanted
        (trained,) = all_trained(Store(tmp_path / str(wanted)))
        assert trained.evidence.deterministic is wanted
        again = Record.model_validate_json(record.model_dump_json())
        assert again.evidence == record.evidence
    without = record.model_dump()
    del without["evidence"]["deterministic"]  # as an older version wrote it
    assert Record.model_validate(without).evidence.deterministic is False


def test_what_was_made_without_it_is_taken_and_said_so(
    world: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = Modes(trains=True)
    ran(world, tmp_path, probe)
    plan = Plan.over((SPEC,), (probe,), world)

    def said(**settings: Any) -> tuple[Record, str]:
        with Progress() as progress:
            found = Runner(Store(tmp_path), Settings(device="cpu", deterministic=True, **settings), progress).run(plan)
        told = capsys.readouterr()
        return found.records[0], told.out + told.err

    record, lines = said()
    assert (record.evidence.deterministic, "measured without --deterministic" in lines) == (False, True)
    record, lines = said(only="all")
    assert "taken as it was trained, without --deterministic" in lines
    assert {metric.name: metric.value for metric in record.metrics} == {"run": 1, "stage": 0}
    assert record.evidence.deterministic is False  # since its training is not


def test_what_cannot_repeat_is_one_sentence_and_no_number(world: Dataset, tmp_path: Path) -> None:
    probe = Modes(refuses=True)
    assert ran(world, tmp_path, probe)["modes"].status == "done"
    record = ran(world, tmp_path, probe, deterministic=True, only="all")["modes"]
    assert record.status == "failed"
    assert record.error == (
        "put_ has no algorithm here that repeats itself to the bit; leave out --deterministic, or use --device cpu."
    )
    assert cannot_repeat(ValueError("another thing")) == ""


def test_half_a_training_of_another_mode_is_not_gone_on_with(world: Dataset, tmp_path: Path) -> None:
    record = ran(world, tmp_path, Modes())["modes"]
    plain, steady = (record.evidence.model_copy(update={"deterministic": it}) for it in (False, True))
    assert plain.reuse_key() == steady.reuse_key()
    assert plain.origin() == plain.reuse_key() != steady.origin()


def test_a_child_process_is_in_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child_in_mode.py").write_text(
        "def main(request):\n    import torch\n    return torch.are_deterministic_algorithms_enabled()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("child_in_mode")

    def asked() -> Any:
        return run_child(module, {}, cwd=tmp_path / "own", timeout=100, say=lambda _: None)

    try:
        assert asked() is False
        with deterministic("cpu"):
            assert asked() is True
    finally:
        del sys.modules["child_in_mode"]


def _rank(rank: int, dataset: Dataset, root: Path, meeting: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    plan, settings = Plan.over((SPEC,), (Modes(trains=True),), dataset), Settings(device="cpu", deterministic=True)
    with join("cpu", init_method=f"file://{meeting}") as ranks:
        if ranks.leads:
            Runner(Store(root), settings, Progress(quiet=True), ranks=ranks).run(plan)
            ranks.agree(None)
        else:
            follow(plan, ranks, Engine.of(Store(root), settings, Progress(quiet=True)))
    assert not on()


def test_every_rank_is_in_it(world: Dataset, tmp_path: Path) -> None:
    import multiprocessing

    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=_rank, args=(rank, world, tmp_path / "s", tmp_path / "meet")) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
    assert [process.exitcode for process in ranks] == [0, 0]
    assert {path.name: path.read_text() for path in (tmp_path / "s").rglob("mode-of-*")} == {
        "mode-of-0": "True",
        "mode-of-1": "True",
    }


def test_the_flag_is_the_runs_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "mini:encoders", "--deterministic", "--store", str(tmp_path)])
    assert ended.value.code == 2
    assert "--deterministic is for cells" in capsys.readouterr().err
