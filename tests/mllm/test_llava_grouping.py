"""Which conversations share a step: every one once an epoch, alike in length, and the same for any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from mllm.llava.grouping import epoch_steps, padding_share, parts_of_step


def lengths(shown: int, told: int, seed: int = 0) -> np.ndarray:
    """Of a long tail, so many with and without a picture, in any order."""
    rng = np.random.default_rng(seed)
    found = np.minimum(4000, rng.lognormal(5, 1, shown + told).astype(np.int32) + 1)
    found[:told] *= -1
    return np.asarray(rng.permutation(found).astype(np.int32))


@pytest.mark.parametrize(
    ("shown", "told", "batch"),
    [
        (1000, 130, 128),
        (1000, 0, 128),
        (0, 300, 128),
        (5, 0, 128),
        (1, 1, 128),
        (1, 1, 1),
        (257, 256, 128),
        (999, 77, 10),
    ],
)
@pytest.mark.parametrize("grouped", [True, False])
def test_every_conversation_is_there_once(shown: int, told: int, batch: int, grouped: bool) -> None:
    """1000 and 130 by 128: the published sampler drops 106 of them."""
    lengths_N = lengths(shown, told)
    steps = epoch_steps(lengths_N, batch=batch, seed=0, epoch=0, grouped=grouped)
    assert sorted(np.concatenate(steps).tolist()) == list(range(shown + told))
    assert len(steps) == -(-(shown + told) // batch)
    assert sorted(map(len, steps), reverse=True)[:-1] == [batch] * (len(steps) - 1)


def test_kinds_share_a_step_only_where_neither_fills_one() -> None:
    lengths_N = lengths(1000, 130)
    steps = epoch_steps(lengths_N, batch=128, seed=0, epoch=0)
    mixed = [step for step in steps if len({*(lengths_N[step] > 0).tolist()}) == 2]
    assert [len(step) for step in mixed] == [106]


def test_what_cannot_be_read_is_met_too() -> None:
    """A conversation of length 0 is named when its turn comes."""
    lengths_N = np.array([5, 0, -3, 0, 7], np.int32)
    assert sorted(np.concatenate(epoch_steps(lengths_N, batch=2, seed=0, epoch=0)).tolist()) == [0, 1, 2, 3, 4]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    lengths_N = lengths(300, 40)
    told = {
        (seed, epoch): np.concatenate(epoch_steps(lengths_N, batch=16, seed=seed, epoch=epoch)).tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(order) for order in told.values()}) == 4
    assert np.concatenate(epoch_steps(lengths_N, batch=16, seed=1, epoch=0)).tolist() == told[1, 0]


def test_steps_are_no_curriculum_and_no_fixed_sets() -> None:
    lengths_N = lengths(2000, 0)
    one, other = (epoch_steps(lengths_N, batch=16, seed=0, epoch=epoch) for epoch in (0, 1))
    longest = [int(lengths_N[step].max()) for step in one]
    assert longest != sorted(longest, reverse=True)
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3
    sets = {frozenset(step.tolist()) for step in one}
    assert not any(frozenset(step.tolist()) in sets for step in other)


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_any_number_of_ranks_has_the_same_micro_batches(ranks: int) -> None:
    step = np.arange(100, 130)
    parts = -(-32 // (4 * ranks))
    of_rank = [parts_of_step(step, part=4, rank=rank, ranks=ranks, parts=parts) for rank in range(ranks)]
    assert {len(each) for each in of_rank} == {parts}
    found = [part.tolist() for each in zip(*of_rank, strict=True) for part in each]
    assert [part for part in found if part] == [step[k : k + 4].tolist() for k in range(0, 30, 4)]
    assert found[: len(step) // 4 + 1] == [step[k : k + 4].tolist() for k in range(0, 30, 4)]


def test_padding_is_a_share_of_the_batches() -> None:
    lengths_N = np.array([10, -10, 5, 0], np.int32)
    assert padding_share([np.array([0, 1])], lengths_N) == 0
    assert padding_share([np.array([0, 2]), np.array([], np.int64)], lengths_N) == 0.25
    assert padding_share([np.array([1, 2]), np.array([0])], lengths_N) == pytest.approx(1 - 25 / 30)


@pytest.mark.parametrize("part", [4, 16])
def test_grouping_leaves_a_fraction_of_the_padding(part: int) -> None:
    lengths_N = lengths(4000, 400)

    def wasted(grouped: bool) -> float:
        steps = epoch_steps(lengths_N, batch=16, seed=0, epoch=0, grouped=grouped)
        parts = [p for step in steps for p in parts_of_step(step, part=part, rank=0, ranks=1, parts=16 // part)]
        return padding_share(parts, lengths_N)

    assert wasted(False) > 0.4
    assert wasted(True) < 0.4 * wasted(False)
