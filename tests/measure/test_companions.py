"""What a training leaves for its companions is found in their turn, though each reads other data; of another seed nothing is shared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from probes.knn import Knn
from rice_core.datasets import Dataset, only, open_dataset
from rice_core.features import Encoder
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Work
from rice_core.progress import Progress
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
