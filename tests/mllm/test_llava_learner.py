"""One step of the model's training: what each label weighs, over micro-batches and ranks; who has text alone, or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from forked import exit_codes
from tiny_llava import batch_of, noise, picture, tiny_llava
from torch.distributed.tensor import DTensor

from mllm.llava import learner as learning
from mllm.llava.batch import CutImage
from mllm.llava.learner import LlavaLearner, blocks_of
from mllm.llava.loader import LlavaPart
from mllm.llava.model import Llava
from mllm.llava.packing import Anyres
from mllm.llava.recipe import LlavaLearning
from mllm.llava.text import IGNORED, IMAGE
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.ranks import Ranks, join
from rice_core.record import Skipped
from rice_core.spec import EncoderSpec
from rice_core.train.learner import NonFinite

ALONE = Ranks(0, 1, torch.device("cpu"))
ALL = LlavaLearning(projector_rate=1e-3, tower_rate=2e-4, lm_rate=5e-4, clip=1.0, precision="fp32")
PROJECTOR = ALL.model_copy(update={"tower_rate": None, "lm_rate": None})
Sample = tuple[list[int], list[int], list[CutImage]]


def made() -> Llava:
    return tiny_llava(load_encoder(EncoderSpec.parse("synthetic:random-weights?res=32")))


def seen(model: Llava, *learnt: int, height: int = 40, width: int = 90, seed: int = 0) -> Sample:
    shown = picture(model, noise(height, width, seed), Anyres(model.tower.side, model.tower.patch))
    ids = [5, *[IMAGE] * shown.plan.tokens, 6, *learnt]
    return ids, [IGNORED] * (len(ids) - len(learnt)) + list(learnt), [shown]


def text(*learnt: int) -> Sample:
    return [5, 6, *learnt], [IGNORED, IGNORED, *learnt], []


def part(samples: Sequence[Sample], *skipped: Skipped) -> LlavaPart:
    labels = sum(label != IGNORED for _, own, _ in samples for label in own)
    return LlavaPart(batch_of(list(samples)) if samples else None, labels, skipped)


def learner(config: LlavaLearning = ALL, ranks: Ranks = ALONE) -> LlavaLearner:
    return LlavaLearner(made(), config, steps=3, ranks=ranks)


def weights(own: LlavaLearner) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in own.model.named_parameters()}


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((each - other[name]).abs().max()) for name, each in one.items())


def test_micro_batches_of_1_and_7_labels_are_a_mean_over_8() -> None:
    whole, accumulated = learner(), learner()
    one, seven = seen(whole.model, 7), seen(whole.model, 9, 8, 7, 6, 5, 4, 3, seed=1)
    together = whole.step([part([one, seven])], step=0, rate=1e-3)
    apart_ = accumulated.step([part([one]), part([seven])], step=0, rate=1e-3)
    assert together.stats["labels"] == apart_.stats["labels"] == 8
    assert apart_.loss == pytest.approx(together.loss, rel=1e-5)
    assert apart_.grad_norm == pytest.approx(together.grad_norm, rel=1e-4)
    # Adam makes a whole step of a gradient that is rounding alone; of two ways of weighing labels it would make nearly all of one.
    moved = [
        (weights(each)["projector.0.weight"] - weights(learner())["projector.0.weight"])
        for each in (whole, accumulated)
    ]
    torch.testing.assert_close(moved[0], moved[1], atol=2e-5, rtol=0)


STEPS: list[list[list[Callable[[Llava], Sample]]]] = [
    # A step's parts, one a rank: a single label beside seven, text alone beside a picture, nothing beside text, no label at all.
    [[lambda m: seen(m, 7)], [lambda m: seen(m, 9, 8, 7, 6, 5, 4, 3, seed=1, width=40)]],
    [[lambda m: text(3, 4)], [lambda m: seen(m, 4, 5, seed=2)]],
    [[], [lambda m: text(6)]],
    [[lambda m: seen(m, 4, 5, seed=3)], []],
    [[lambda m: seen(m, seed=4)], [lambda m: text()]],
]


def steps(own: LlavaLearner, ranks: Ranks) -> list[tuple[float, float, float]]:
    """Loss, labels and length of the gradient of each."""
    found = []
    for number, parts in enumerate(STEPS):
        mine = parts if ranks.size == 1 else [parts[ranks.rank]]
        built = [part([make(own.model) for make in each]) for each in mine]
        outcome = own.step(built, step=number, rate=1e-3)
        found.append((outcome.loss, float(outcome.stats["labels"]), outcome.grad_norm))
    return found


@pytest.mark.parametrize("config", [ALL, PROJECTOR], ids=["all", "projector"])
def test_two_ranks_make_the_steps_of_one_whatever_each_of_them_has(config: LlavaLearning, tmp_path: Path) -> None:
    alone = learner(config)
    expected = steps(alone, ALONE)
    assert [labels for _, labels, _ in expected] == [8, 4, 1, 2, 0]
    assert expected[-1] == (0, 0, 0)
    wanted = weights(alone)

    def do(ranks: Ranks) -> None:
        own = learner(config, ranks)
        found = steps(own, ranks)
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-3)
        there = {name: each.full_tensor() for name, each in weights(own).items()}
        assert float((there["projector.0.weight"] - wanted["projector.0.weight"]).abs().mean()) < 1e-5
        assert own.counts()["bare"] == 1

    assert exit_codes(ranked, do, tmp_path / "meet") == [0, 0]


def ranked(rank: int, do: Callable[[Ranks], None], meeting: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with join("cpu", init_method=f"file://{meeting}") as ranks:
        do(ranks)


def test_a_step_without_labels_moves_nothing_and_is_counted() -> None:
    own = learner()
    before = weights(own)
    outcome = own.step([part([seen(own.model)])], step=0, rate=1e-3)
    assert (outcome.loss, outcome.grad_norm, own.curve[0]["without labels"]) == (0, 0, 1)
    assert apart(before, weights(own)) == 0


def test_rates_are_those_of_the_parts() -> None:
    own = learner()
    before = weights(own)
    own.step([part([seen(own.model, 7, 8)])], step=0, rate=ALL.projector_rate)
    after = weights(own)
    # Adam's first step is as long as its rate, whatever the gradient.
    for part_, rate in (("projector", 1e-3), ("image_newline", 1e-3), ("language_model", 5e-4), ("tower", 2e-4)):
        moved = max(float((after[name] - before[name]).abs().max()) for name in before if name.startswith(part_))
        assert moved == pytest.approx(rate, rel=0.02), part_


def test_what_is_frozen_has_no_gradient_and_no_moments() -> None:
    own = learner(PROJECTOR)
    before = weights(own)
    own.step([part([seen(own.model, 7, 8)])], step=0, rate=1e-3)
    moved = {name for name, each in weights(own).items() if not torch.equal(each, before[name])}
    names = {"image_newline", *(f"projector.{k}.{kind}" for k in (0, 2) for kind in ("weight", "bias"))}
    assert moved == names
    kept = {f"network.{name}" for name in names} | {
        f"adamw.{name}.exp_avg{end}" for name in names for end in ("", "_sq")
    }
    assert own.tensors().keys() == kept


def test_blocks_that_are_computed_again_give_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = learner()
    parts = [part([seen(plain.model, 7, 8), text(3)])]
    one = plain.step(parts, step=0, rate=1e-3)
    monkeypatch.setattr(learning, "_BIG", 0)
    again = learner()
    ran: list[int] = []
    for block in blocks_of(again.model):
        inner = block.forward.args[0]  # type: ignore[attr-defined]
        block.forward = learning.partial(
            block.forward.func, lambda *a, f=inner, **k: (ran.append(1), f(*a, **k))[1], use_reentrant=False
        )  # type: ignore[attr-defined]
    other = again.step(parts, step=0, rate=1e-3)
    read = len(blocks_of(again.model)) - 1  # no gradient asks for the tower's last one
    assert len(ran) == read + 1 + read
    assert (one.loss, one.grad_norm) == (other.loss, other.grad_norm)
    assert apart(weights(plain), weights(again)) == 0


def test_computing_again_goes_with_two_ranks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = steps(learner(), ALONE)
    monkeypatch.setattr(learning, "_BIG", 0)

    def do(ranks: Ranks) -> None:
        found = steps(learner(ranks=ranks), ranks)
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-3)

    assert exit_codes(ranked, do, tmp_path / "meet") == [0, 0]


def test_half_precision_learns_in_whole_weights() -> None:
    own = learner(ALL.model_copy(update={"precision": "bf16"}))
    exact = learner()
    parts = [part([seen(own.model, 7, 8), text(3)])]
    assert own.step(parts, step=0, rate=1e-3).loss == pytest.approx(exact.step(parts, step=0, rate=1e-3).loss, rel=0.02)
    assert {each.dtype for each in own.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("config", [ALL, PROJECTOR], ids=["all", "projector"])
def test_half_precision_goes_with_two_ranks(config: LlavaLearning, tmp_path: Path) -> None:
    half = config.model_copy(update={"precision": "bf16"})

    def own(ranks: Ranks) -> LlavaLearner:
        model = made()
        if half.lm_rate is None:  # frozen weights are read in half precision, between others that are not
            model.language_model.to(torch.bfloat16)
        return LlavaLearner(model, half, steps=3, ranks=ranks)

    expected = steps(own(ALONE), ALONE)

    def do(ranks: Ranks) -> None:
        for one, other in zip(steps(own(ranks), ranks), expected, strict=True):
            assert one == pytest.approx(other, rel=0.05)

    assert exit_codes(ranked, do, tmp_path / "meet") == [0, 0]


def test_no_rank_holds_the_gradients_of_a_whole_model(tmp_path: Path) -> None:
    def do(ranks: Ranks) -> None:
        own = learner(ranks=ranks)
        after: list[bool] = []
        backward = torch.Tensor.backward

        def watched(loss: torch.Tensor, *given: object, **named: object) -> None:
            backward(loss, *given, **named)  # type: ignore[arg-type]
            after.append(isinstance(own.model.projector[0].weight.grad, DTensor))

        torch.Tensor.backward = watched  # type: ignore[method-assign]
        try:
            own.step([part([seen(own.model, 7)]), part([text(3)])], step=0, rate=1e-3)
        finally:
            torch.Tensor.backward = backward  # type: ignore[method-assign]
        assert after == [True, True]

    assert exit_codes(ranked, do, tmp_path / "meet") == [0, 0]


def test_no_copy_of_the_weights_outlives_its_use_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    own = learner(ALL.model_copy(update={"precision": "bf16"}))
    forward, kept = own.model.forward, []
    monkeypatch.setattr(
        own.model, "forward", lambda batch: (kept.append(torch.is_autocast_cache_enabled()), forward(batch))[1]
    )
    own.step([part([seen(own.model, 7)])], step=0, rate=1e-3)
    assert kept == [False]


def test_no_number_moves_no_weight() -> None:
    own = learner()
    with torch.no_grad():
        own.model.projector[0].weight[0, 0] = torch.nan
    before = weights(own)
    with pytest.raises(NonFinite, match="loss nan"):
        own.step([part([seen(own.model, 7)])], step=0, rate=1e-3)
    assert all(torch.equal(each.isnan(), before[name].isnan()) for name, each in weights(own).items())
    assert torch.equal(weights(own)["projector.2.weight"], before["projector.2.weight"])


def test_what_is_left_out_and_noted_is_there_again() -> None:
    own = learner()
    own.step([part([text(3)], Skipped(item="a", reason="is damaged"))], step=0, rate=1e-3)
    other = learner()
    other.recount(own.counts())
    assert other.skipped == {"a": "is damaged"}
    assert other.curve == own.curve
    assert other.tensors().keys() == own.tensors().keys()


def test_a_parameter_of_a_single_number_is_refused_over_ranks_alone() -> None:
    own = made()
    own.projector.register_parameter("scale", torch.nn.Parameter(torch.tensor(1.0)))
    LlavaLearner(own, ALL, steps=1, ranks=ALONE)
    with pytest.raises(UserError, match="single number"):
        LlavaLearner(own, ALL, steps=1, ranks=Ranks(0, 2, torch.device("cpu"), control=object()))
