"""What workers are handed: truth that is one object, batches in one piece."""

import dataclasses
import pickle
from itertools import islice

import pytest
import torch

from probes.detection.annotations import read_ground_truth
from probes.detection.loader import training_batches
from probes.detection.recipe import RECIPES
from probes.detection.shared import shared
from probes.detection.views import packed
from rice_core.datasets import open_dataset
from rice_core.datasets.in_bytes import InBytes
from rice_core.world.layouts.coco import write_coco

CONFIG = RECIPES["mini"].training


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    data = open_dataset(write_coco(tmp_path_factory.mktemp("world") / "w", seed=3, train=7, val=2))
    return read_ground_truth(data.annotations["train"], data.splits["train"], name="train")


def test_shared_images_are_the_images(truth):
    images = InBytes(truth.images)
    assert len(images) == 7
    assert tuple(images) == tuple(truth.images)
    assert [images[3], images[-1]] == [truth.images[3], truth.images[-1]]
    assert images[2:5] == tuple(truth.images[2:5])
    with pytest.raises(IndexError):
        images[7]
    assert tuple(pickle.loads(pickle.dumps(images))) == tuple(truth.images)
    assert len(InBytes([])) == 0


def test_a_training_holds_no_object_of_its_truth(truth):
    """A tuple of 118,000 images would be copied into each worker, page by page, as soon as it is looked at."""
    held = shared(truth)
    assert isinstance(held.images, InBytes)
    assert not held.body
    assert dataclasses.replace(held, images=truth.images, body=truth.body) == truth


def test_workers_see_in_shared_images_what_a_process_sees_alone(truth):
    settings = {"side": 96, "masks": True, "told": False, "seed": 5}
    alone = list(islice(training_batches(truth.images, CONFIG, **settings), 2))
    for one, other in zip(training_batches(InBytes(truth.images), CONFIG, **settings, workers=1), alone, strict=False):
        assert torch.equal(one.pixels_B3SS, other.pixels_B3SS)
        for mine, theirs in zip(one.examples, other.examples, strict=True):
            assert torch.equal(mine.target.masks_NHW, theirs.target.masks_NHW)
            assert mine.image == theirs.image
            assert mine.image.things == ()


def test_all_that_a_gpu_reads_is_pinned(truth, monkeypatch):
    batch = next(training_batches(truth.images, CONFIG, side=96, masks=True, told=False, seed=5))
    batch = dataclasses.replace(batch, kept=packed(torch.randn(2, 4, 3, 3)))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = batch.pin_memory()
    assert torch.equal(pinned.pixels_B3SS, batch.pixels_B3SS + 1)
    assert torch.equal(pinned.kept.half_BCTU, batch.kept.half_BCTU + 1)
    for one, other in zip(pinned.examples, batch.examples, strict=True):
        assert torch.equal(one.target.boxes_N4, other.target.boxes_N4 + 1)
        assert one.target.ignored_M4 is other.target.ignored_M4 is None
