"""A training of one's own on the loop, written here and nowhere in the product: a line through points."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import assert_same_bits, last_checkpoint

from rice_core.errors import UserError, lacks_memory, room_for
from rice_core.ranks import Ranks
from rice_core.record import Skipped
from rice_core.train.adam import Adam
from rice_core.train.checkpoint import Checkpoints, Position
from rice_core.train.hooks import CheckpointHook, LogHook
from rice_core.train.learner import StepOutcome, Trainee
from rice_core.train.metrics import MetricsLog
from rice_core.train.runner import SafeRunner, Training
from rice_core.train.schedule import Leg, cosine, legs

ALONE = Ranks(0, 1, torch.device("cpu"))


@dataclass(frozen=True)
class Points:
    x_B3: torch.Tensor
    skipped: tuple[Skipped, ...] = ()
    positions: Mapping[int, Position] | None = None


class LineLearner:
    """y = the sum of x; dropout draws from the global generator, whose state a checkpoint has to hold."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.line = nn.Linear(3, 1)
        self.adam = Adam(self.line, rate=0.1, weight_decay=0.01)
        self.counts, self.recount, self.tensors = self.adam.counts, self.adam.recount, self.adam.tensors

    def step(self, parts: Sequence[Points], *, step: int, rate: float) -> StepOutcome:
        loss = sum((self.line(nn.functional.dropout(p.x_B3)) - p.x_B3.sum(1, True)).square().mean() for p in parts)
        loss.backward()
        norm = self.adam.gradient_norm()
        outcome = StepOutcome(float(loss.detach()), float(norm), {})
        outcome.check(ALONE)
        self.adam.update(norm, rate)
        return outcome


def points(leg: Leg, step: int, positions: Mapping[int, Position] | None) -> Generator[Points]:
    while True:
        for part in range(2):
            yield Points(torch.randn(4, 3, generator=torch.Generator().manual_seed(2 * step + part)))
        step += 1


def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", ALONE, print, data="a line", foreign="it is no line", advice="go away")


def train(folder: Path, *learners: Any, reach: Any = None, folders: Sequence[Path] = ()) -> bool:
    trainees = [Trainee(learner, checkpoints(at)) for learner, at in zip(learners, folders or [folder], strict=True)]
    training = Training(
        name="line",
        folder=folder,
        ranks=ALONE,
        trainees=trainees,
        legs=legs([12, 8], ["far", "near"]),
        rate=lambda leg, step: cosine(step - leg.first, leg.end - leg.first, peak=0.1, warm_up=2),
        open_loader=points,
        accumulate=2,
        say=print,
        reach=reach,
    )
    log = LogHook(MetricsLog(folder), every=1, batch=8, about=[{"leg": "far"}, {"leg": "near"}])
    return SafeRunner(training, [log, CheckpointHook(3)]).train()


def stop_at(step: int) -> Any:
    return lambda done: os.kill(os.getpid(), signal.SIGINT) if done == step else None


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MetricsLog, "draw", lambda _: None)


def test_interrupted_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    assert train(tmp_path / "whole", LineLearner())
    # In the step after the one in which it is asked, at no round number, in both legs.
    for step in (4, 13):
        assert not train(tmp_path / "parts", LineLearner(), reach=stop_at(step))
    assert train(tmp_path / "parts", LineLearner())
    assert_same_bits(last_checkpoint(tmp_path / "parts"), last_checkpoint(tmp_path / "whole"))
    whole, parts = (MetricsLog(tmp_path / name).rows() for name in ("whole", "parts"))
    for row in (*whole, *parts):
        del row["images_per_second"]
    assert parts == whole
    assert [(row["step"], row["leg"], row["images"]) for row in whole[11:13]] == [(12, "far", 96), (13, "near", 104)]


def test_a_loss_that_is_no_number_names_step_leg_and_checkpoint(tmp_path: Path) -> None:
    class Spoilt(LineLearner):
        def step(self, parts: Sequence[Points], *, step: int, rate: float) -> StepOutcome:
            return super().step([Points(parts[0].x_B3 * (math.nan if step == 14 else 1))], step=step, rate=rate)

    said = r"step 14 of near: .*not finite \(loss nan, gradient norm nan\); lower the learning rate\. .*step-00000012"
    with pytest.raises(UserError, match=said):
        train(tmp_path, Spoilt())


def test_two_side_by_side_end_as_they_would_alone_and_a_failure_of_the_second_is_its_own(tmp_path: Path) -> None:
    class Seeded(LineLearner):
        """Draws nothing from the global generator, which two would share."""

        def step(self, parts: Sequence[Points], *, step: int, rate: float) -> StepOutcome:
            torch.manual_seed(step)
            made.append(step)
            return super().step(parts, step=step, rate=rate)

    class Refusing(Seeded):
        def step(self, parts: Sequence[Points], *, step: int, rate: float) -> StepOutcome:
            raise UserError("no")

    made: list[int] = []
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    assert train(tmp_path / "alone", Seeded())
    assert not train(one, Seeded(), reach=stop_at(4))
    made.clear()
    assert train(tmp_path / "all", Seeded(), Seeded(), Refusing(), folders=(one, two, three))
    assert sorted(made) == sorted([*range(5, 20), *range(20)])
    for folder in (one, two):
        assert_same_bits(last_checkpoint(folder), last_checkpoint(tmp_path / "alone"))
    assert not list(three.glob("checkpoints/step-*"))


def test_tied_weights_are_kept_once(tmp_path: Path) -> None:
    class Tied(LineLearner):
        def __init__(self) -> None:
            super().__init__()
            self.line.register_parameter("again", self.line.weight)

    assert train(tmp_path, Tied())
    assert set(last_checkpoint(tmp_path)) >= {"network.weight", "network.bias"}
    assert "network.again" not in last_checkpoint(tmp_path)


def test_a_step_that_memory_does_not_hold_says_what_to_change_and_loses_nothing(tmp_path: Path) -> None:
    class Large(LineLearner):
        def step(self, parts: Sequence[Points], *, step: int, rate: float) -> StepOutcome:
            if step == 14:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has none left.")
            return super().step(parts, step=step, rate=rate)

    said = r"step 14 of near: memory is full \(CUDA out of memory\. Tried to allocate 2\.00 GiB\); use a smaller batch, and the "
    with pytest.raises(UserError, match=said + r"same command goes on\. The step was not made, .*step-00000012"):
        train(tmp_path / "parts", Large())
    assert train(tmp_path / "parts", LineLearner())
    assert train(tmp_path / "whole", LineLearner())
    assert_same_bits(last_checkpoint(tmp_path / "parts"), last_checkpoint(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB). Tried to allocate 1 GB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_that_is_full_is_told_from_other_errors(error: Exception, full: bool) -> None:
    assert bool(lacks_memory(error)) is full
    said = "here: memory is full .*; go there" if full else None
    with pytest.raises(UserError if full else type(error), match=said), room_for("here", "go there"):
        raise error
