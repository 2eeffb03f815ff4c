"""What a training leaves for its companions is found in their turn, though each reads other data; of another seed nothing is shared."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from probes.knn import Knn
from rice_core.datasets import Dataset, only, open_dataset
from rice_core.errors import UserError
from rice_core.features import Encoder
from rice_core.measure.follow import follow
from rice_core.measure.plan import Plan
from rice_core.measure.run import Engine, Runner, Settings
from rice_core.probe import Work
from rice_core.progress import Progress
from rice_core.ranks import join
from rice_core.record import Metric, Outcome
from rice_core.spec import EncoderSpec, ProbeSpec
from rice_core.stage import Curve, Stage, StageSpec, StageWork
from rice_core.store import Store
from rice_core.world.layouts.coco import write_coco

SEEN: list[tuple[str, int, list[tuple[str, int]], bool]] = []
"""Of each training: its split, its seed, its companions, and whether another had left something for it."""


@dataclass(frozen=True)
class First(Stage):
    """What both go on from."""

    @property
    def spec(self) -> StageSpec:
        return StageSpec(name="first")

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        if work.ranks.leads:
            (out / "made.txt").write_text(str(seed))
        return []


@dataclass(frozen=True)
class OfSplit(Stage):
    """Reads one split alone."""

    dataset: Dataset
    split: str

    @property
    def spec(self) -> StageSpec:
        return StageSpec(name="of-split", params={"split": self.split})

    @property
    def after(self) -> Stage:
        return First()

    @property
    def data(self) -> tuple[Dataset, ...]:
        return (only(self.dataset, self.split),)

    def shares_with(self, other: Stage) -> bool:
        return True

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        others = [(each.stage.split, each.seed) for each in work.companions]  # type: ignore[attr-defined]
        SEEN.append((self.split, seed, others, (work.folder / "left.txt").is_file()))
        for each in work.companions:
            each.folder.mkdir(parents=True, exist_ok=True)
            (each.folder / "left.txt").write_text("for you")
        (out / "made.txt").write_text(self.split)
        return []


@dataclass(frozen=True)
class Asking(Knn):
    """Asks for one."""

    split: str = "train"
    k: int = 1
    kept: ClassVar[list[Path]] = []

    @property
    def spec(self) -> ProbeSpec:
        return ProbeSpec(name="asking", version=1, params={"split": self.split})

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        return (OfSplit(dataset.alone, self.split),)

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        work.stage(work.stages[0])
        return Outcome(metrics=(Metric(name="m", value=1, n=1),))


@pytest.fixture
def world(tmp_path: Path) -> Dataset:
    return open_dataset(write_coco(tmp_path / "w", seed=3, train=3, val=2), name="mini")


@dataclass(frozen=True)
class Lacking(Asking):
    """Needs what is not there."""

    def lacks(self) -> str:
        return "it needs jieba; run: pip install jieba" if self.split == "val" else ""


def test_what_the_last_cell_lacks_is_said_before_the_first_one_is_trained(
    world: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SEEN.clear()
    said: list[tuple[str, int]] = []
    progress = Progress(quiet=True)
    monkeypatch.setattr(progress, "say", lambda line: said.append((line, len(SEEN))))
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), (Lacking(), Lacking(split="val")), world)
    Runner(Store(tmp_path / "s"), Settings(device="cpu", debug=True), progress).run(plan)
    told = [each for each in said if "jieba" in each[0]]
    assert [(line.partition(" ")[2], trained) for line, trained in told] == [
        ("is going to fail: it needs jieba; run: pip install jieba", 0)
    ]


def test_what_is_left_for_a_companion_of_other_data_is_found(world: Dataset, tmp_path: Path) -> None:
    SEEN.clear()
    probes = (Asking(split="train"), Asking(split="val"))
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), probes, world, seeds=(0, 1))
    summary = Runner(Store(tmp_path / "s"), Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan)
    assert summary.counts == {"done": 4}
    assert sorted(SEEN, key=lambda each: (each[1], each[0])) == [
        ("train", 0, [("val", 0)], False),
        ("val", 0, [], True),
        ("train", 1, [("val", 1)], False),
        ("val", 1, [], True),
    ]
    assert not list((tmp_path / "s" / "unfinished").glob("*"))


@dataclass(frozen=True)
class ByOne(Stage):
    """After what all ranks train; of one number it fails."""

    number: int

    @property
    def spec(self) -> StageSpec:
        return StageSpec(name="by-one", params={"number": self.number})

    @property
    def after(self) -> Stage:
        return First()

    @property
    def alone(self) -> bool:
        return True

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        assert (work.ranks.rank, work.ranks.size, work.ranks.control) == (0, 1, None)
        if self.number == 1:
            raise UserError("of one it fails")
        (out / "made.txt").write_text(str(self.number))
        return []


@dataclass(frozen=True)
class AskingOne(Asking):
    """Asks the first rank alone."""

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        return (ByOne(int(self.split)),)


def _rank(rank: int, root: Path, world: Dataset, meeting: Path) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    probes = tuple(AskingOne(split=str(number)) for number in (1, 2))
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), probes, world)
    settings, progress = Settings(device="cpu", debug=False), Progress(quiet=True)
    with join("cpu", init_method=f"file://{meeting}") as ranks:
        if ranks.leads:
            summary = Runner(Store(root), settings, progress, ranks=ranks).run(plan)
            assert sorted(record.error or "" for record in summary.records) == ["", "of one it fails"]
            assert summary.counts == {"failed": 1, "done": 1}
            ranks.agree(None)
        else:
            follow(plan, ranks, Engine.of(Store(root), settings, progress))


def test_what_one_rank_makes_alone_may_fail_without_the_others(world: Dataset, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=_rank, args=(rank, tmp_path / "s", world, tmp_path / "meet")) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0, 0]
