"""Training views: their order, repetition, resumption, and images that cannot be read."""

import dataclasses
from itertools import islice

import numpy as np
import pytest
import torch

from probes.detection.annotations import read_ground_truth
from probes.detection.loader import Shuffled, repeat_factors, training_batches, whole_batches
from probes.detection.recipe import RECIPES
from rice_core.datasets import open_dataset
from rice_core.errors import UserError
from rice_core.world.layouts.coco import write_coco

CONFIG = RECIPES["mini"].training


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = write_coco(tmp_path_factory.mktemp("world") / "w", seed=3, train=10, val=2)
    data = open_dataset(folder)
    return read_ground_truth(data.annotations["train"], data.splits["train"], name="train").images


def _views(images, steps, **given):
    settings = {"side": 96, "masks": True, "told": False, "seed": 5} | given
    return list(islice(training_batches(images, CONFIG, **settings), steps))


def _same(a, b):
    assert torch.equal(a.pixels_B3SS, b.pixels_B3SS)
    for one, other in zip(a.examples, b.examples, strict=True):
        assert torch.equal(one.target.boxes_N4, other.target.boxes_N4)
        assert torch.equal(one.target.masks_NHW, other.target.masks_NHW)


def test_a_resumed_training_sees_what_it_would_have_seen(images):
    whole = _views(images, 6)
    for resumed, expected in zip(_views(images, 3, first=3), whole[3:], strict=True):
        _same(resumed, expected)


def test_workers_change_nothing(images):
    for one, other in zip(_views(images, 3), _views(images, 3, workers=2), strict=True):
        _same(one, other)


def test_ranks_share_each_step(images):
    whole = _views(images, 2)
    parts = [_views(images, 2, rank=rank, world=2) for rank in range(2)]
    for step, batch in enumerate(whole):
        keys = {e.image.key for e in batch.examples}
        assert {e.image.key for part in parts for e in part[step].examples} == keys


def test_each_image_is_shown_once_an_epoch_or_as_often_as_its_factor():
    order = Shuffled(np.array([1.0, 1.0, 2.5]), seed=0)
    first = [image for _, image in islice(iter(order), 4000)]
    share = np.bincount(first) / len(first)
    np.testing.assert_allclose(share, np.array([1, 1, 2.5]) / 4.5, atol=0.02)
    assert first[:4] != first[4:8] or first[8:12] != first[:4]
    assert [p for p, _ in islice(iter(dataclasses.replace(order, start=7)), 3)] == [7, 8, 9]


def test_rare_categories_are_repeated(images):
    labels = [{t.label for t in image.things} for image in images]
    rarest = min({x for each in labels for x in each}, key=lambda x: sum(x in each for each in labels))
    share = sum(rarest in each for each in labels) / len(images)
    factors = repeat_factors(images, 1.0)
    at = next(i for i, each in enumerate(labels) if rarest in each)
    assert factors[at] == pytest.approx((1 / share) ** 0.5)
    assert (repeat_factors(images, None) == 1).all()


def test_an_image_that_cannot_be_read_is_named_and_replaced(images, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    broken = [dataclasses.replace(i, sample=dataclasses.replace(i.sample, path=bad)) for i in images[:3]]
    smaller = dataclasses.replace(images[3], size_hw=(10, 10))
    given = [*broken, smaller, *images[4:]]
    batches = _views(given, 5)
    assert all(len(batch.examples) == CONFIG.batch for batch in batches)
    reasons = {skip.item: skip.reason for batch in batches for skip in batch.skipped}
    assert "annotated as 10x10" in reasons[smaller.sample.id]
    assert broken[0].sample.id in reasons
    with pytest.raises(UserError, match="no training image can be read"):
        _views(broken, 1)
    judged = list(whole_batches(given, side=96, batch=4, told=False))
    assert sum(len(batch.examples) for batch in judged) == 6
    assert sum(len(batch.skipped) for batch in judged) == 4


def test_a_batch_that_does_not_divide_is_refused(images):
    with pytest.raises(UserError, match="does not divide"):
        _views(images, 1, world=3)
