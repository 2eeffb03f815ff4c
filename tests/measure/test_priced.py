"""What `plan` prices: an encoder that was never measured by its place in the catalogue, and each stage that makes no steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from rice_core.budget import Budget, Passes
from rice_core.catalogue import resolve
from rice_core.datasets import Dataset
from rice_core.measure.bill import bill
from rice_core.measure.plan import Plan
from rice_core.spec import DatasetSpec, ProbeSpec
from rice_core.stage import Stage, StageSpec
from rice_core.store import Store


@dataclass(frozen=True)
class Asking(Stage):
    """Asks; one process asks all of a run."""

    task: str
    steps: int = 0
    instruments: ClassVar[tuple[str, ...]] = ()

    @property
    def spec(self) -> StageSpec:
        return StageSpec(name="asking", params={"task": self.task, "steps": self.steps})

    @property
    def data(self) -> tuple[Dataset, ...]:
        return ()

    def shares_with(self, other: Stage) -> bool:
        return isinstance(other, Asking)

    def cost(self, encoder, budget: Budget, *, companions: int = 0) -> Passes:
        return Passes(10, 96, f"{self.task} at {budget.side} of {budget.patch} with {companions}", self.steps)


@dataclass(frozen=True)
class Asks:
    stages_: tuple[Stage, ...]

    name: ClassVar[str] = "asks"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "asks"
    needs: ClassVar[frozenset[str]] = frozenset()
    data: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[tuple[()]] = ()

    @property
    def spec(self) -> ProbeSpec:
        return ProbeSpec(name=self.name, version=1)

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        return self.stages_

    def run(self, encoder, *, seed, work):
        raise NotImplementedError


def said(tmp_path: Path, encoder: str, stages: Iterable[Stage]) -> str:
    data = Dataset(DatasetSpec(name="none", layout="none", fingerprint="0" * 20), (), {}, frozenset())
    plan = Plan.over([resolve(encoder)], [Asks(tuple(stages))], data)
    return "\n".join(bill(plan, Store(tmp_path / "store"), Budget(1, 1)))


@pytest.mark.parametrize(
    ("encoder", "side"),
    [
        ("rice-l14-560", "560 of 14"),
        ("rice-l14-560?res=336", "336 of 14"),
        ("siglip-b16-512", "512 of 16"),
        ("hf:somebody/unheard-of", "None of None"),
        ("hf:google/siglip-base-patch16-512", "512 of 16"),
    ],
)
def test_an_encoder_that_was_never_measured_is_as_the_catalogue_has_it(tmp_path, encoder, side) -> None:
    assert f"one at {side} with 0" in said(tmp_path, encoder, [Asking("one")])


def test_what_makes_no_steps_is_priced_each_and_a_training_once(tmp_path) -> None:
    asked = said(tmp_path, "noise", [Asking("one"), Asking("two"), Asking("three")])
    assert all(f"{name} at 96 of 8" in asked for name in ("one", "two", "three"))
    assert "at most 30 images through the encoder" in asked
    trained = said(tmp_path, "noise", [replace(Asking(name), steps=5) for name in ("one", "two")])
    assert "one at 96 of 8 with 1" in trained
    assert "two at" not in trained
    assert "5 training steps in all" in trained
