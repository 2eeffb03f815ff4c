"""Batches are the same for any number of workers and ranks, from any step on."""

import dataclasses
from itertools import islice

import pytest
import torch
from drawn_clips import clip, dataset, moving

from rice_core.errors import UserError
from tracking.loader import PairPlaces, pair_batches
from tracking.pairs import PairSequence, sources_of
from tracking.recipe import RECIPES, LearningConfig
from tracking.views import PairViews

TRACKER = RECIPES["smoke"].tracker
CONFIG = LearningConfig(batch=8, part=2, gap=10)


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    torn = moving(folder, "torn")
    torn.frames[3].write_bytes(b"")
    data = dataset(moving(folder, "a"), moving(folder, "b", colour=(90, 200, 10)), torn)
    return PairViews(PairSequence(sources_of([data]), 5, CONFIG.gap), TRACKER, CONFIG, 8, told=True)


def _some(views, n=8, **given):
    return list(islice(pair_batches(views, CONFIG, **given), n))


def _equal(one, other):
    for name in ("template", "search"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.items == theirs.items
        assert torch.equal(mine.pixels_BSS3, theirs.pixels_BSS3)
        assert len(mine.truths) == len(theirs.truths) == len(mine.items)
    assert torch.equal(one.boxes_B4, other.boxes_B4)
    assert torch.equal(one.foreground_BTT, other.foreground_BTT)
    assert (one.skipped, one.redrawn) == (other.skipped, other.redrawn)


def test_a_batch_is_the_views_of_its_places(views):
    (batch,) = _some(views, 1)
    assert batch.search.pixels_BSS3.shape == (2, 64, 64, 3)
    assert batch.search.pixels_BSS3.dtype == torch.uint8
    assert batch.template.pixels_BSS3.shape == (2, 32, 32, 3)
    assert batch.foreground_BTT.shape == (2, 4, 4)
    for place in (0, 1):
        assert batch.boxes_B4[place].tolist() == views[place].search.box_4.tolist()
        assert torch.equal(batch.search.pixels_BSS3[place], torch.from_numpy(views[place].search.pixels_SS3))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(views, workers):
    state = torch.get_rng_state()
    for one, other in zip(_some(views, workers=workers), _some(views), strict=True):
        _equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_step_s_pairs_are_the_same_whatever_the_number_of_ranks(views):
    """And so are the pairs that are normalised together."""
    alone = _some(views, 8)
    for world in (2, 4):
        shares = [_some(views, 8 // world, rank=rank, world=world) for rank in range(world)]
        together = [shares[n % world][n // world] for n in range(8)]
        for one, other in zip(together, alone, strict=True):
            _equal(one, other)


def test_it_goes_on_at_any_step(views):
    for one, other in zip(_some(views, 4, first=1), _some(views, 8)[4:], strict=True):
        _equal(one, other)


def test_parts_that_do_not_divide_over_the_ranks_are_refused():
    with pytest.raises(UserError, match=r"a batch of 8 pairs in parts of 2 does not divide over 3 ranks; use 2\."):
        PairPlaces(8, 2, world=3)
    with pytest.raises(UserError, match=r"does not divide over 8 ranks; use 4\."):
        PairPlaces(8, 2, world=8)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_set_that_gives_nothing_is_said_in_its_sentence(tmp_path, workers):
    data = dataset(clip(tmp_path, "v", [(1, 1, 9, 9)]))
    views = PairViews(PairSequence(sources_of([data]), 0, 5), TRACKER, CONFIG, 8)
    with pytest.raises(UserError, match=r"^drawn: none of 200 draws gave a pair .* has 1 of 1 frames with a box"):
        _some(views, 1, workers=workers)


def test_all_that_a_gpu_reads_is_pinned(views, monkeypatch):
    (batch,) = _some(views, 1)
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda tensor: ~tensor if tensor.dtype != torch.float32 else -tensor
    )
    pinned = batch.pin_memory()
    assert torch.equal(pinned.search.pixels_BSS3, ~batch.search.pixels_BSS3)
    assert torch.equal(pinned.template.pixels_BSS3, ~batch.template.pixels_BSS3)
    assert torch.equal(pinned.boxes_B4, -batch.boxes_B4)
    assert torch.equal(pinned.foreground_BTT, ~batch.foreground_BTT)
    assert (pinned.search.items, pinned.skipped) == (batch.search.items, batch.skipped)
    assert {field.name for field in dataclasses.fields(batch)} == set(vars(pinned))
