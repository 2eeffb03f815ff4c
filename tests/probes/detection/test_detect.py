"""Detecting in a split: divided over ranks, and what a full memory costs."""

import dataclasses
import os
import pickle
import re

import pytest
import torch
from forked import exit_codes
from safetensors.torch import save_file
from torch import nn

from probes.detection import detect
from probes.detection.annotations import read_ground_truth
from probes.detection.detect import Detecting
from probes.detection.recipe import RECIPES
from probes.detection.training import WEIGHTS
from rice_core.datasets import open_dataset
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.ranks import Ranks, join
from rice_core.spec import EncoderSpec
from rice_core.world.layouts.coco import write_coco

ALONE = Ranks(0, 1, torch.device("cpu"))


def _encoder():
    return load_encoder(EncoderSpec.parse("synthetic:oracle"))


def _plainly(sequence, what):
    return iter(sequence)


@pytest.fixture(scope="module")
def detecting(tmp_path_factory):
    """An untrained detector that finds much, in eleven images of which one cannot be read."""
    folder = tmp_path_factory.mktemp("detect")
    data = open_dataset(write_coco(folder / "w", seed=3, train=2, val=11))
    val = read_ground_truth(data.annotations["val"], data.splits["val"], name="val")
    (folder / "bad.png").write_bytes(b"no image")
    bad = dataclasses.replace(val.images[4].sample, path=folder / "bad.png")
    images = tuple(
        dataclasses.replace(image, sample=bad) if image.sample.id == bad.id else image for image in val.images
    )
    smoke = RECIPES["smoke"]
    made = Detecting(
        head=smoke.head.model_copy(update={"score_threshold": 0.0, "detections": 20}),
        backend="ops",
        masks=True,
        frequencies=None,
        folder=folder,
        categories=val.categories,
        images=images,
        training=smoke.training.model_copy(update={"batch": 4}),
        what="detecting",
        workers=0,
    )
    torch.manual_seed(5)
    detector = _untrained(made)
    save_file({name: p.detach().contiguous() for name, p in detector.named_parameters()}, folder / WEIGHTS)
    return made


def _untrained(made):
    detector, _ = detect.build_detector(
        made.head, channels=_encoder().dim, classes=len(made.categories), patch=_encoder().patch, masks=True
    )
    for parameter in detector.parameters():
        nn.init.normal_(parameter, std=0.05)
    return detector


def _rank(rank, world, made, out, meeting):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with join("cpu", init_method=f"file://{meeting}") as ranks:
        try:
            found = made.run(_encoder(), ranks, _plainly)
        except UserError as error:
            found = str(error)
        if ranks.leads:
            out.write_bytes(pickle.dumps(found))


def _over(world, made, folder):
    assert exit_codes(_rank, world, made, folder / "found", folder / "meet", world=world) == [0] * world
    return pickle.loads((folder / "found").read_bytes())


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_find_what_one_process_finds_to_the_last_bit_and_in_its_order(detecting, tmp_path, world):
    alone, together = detecting.run(_encoder(), ALONE, _plainly), _over(world, detecting, tmp_path)
    assert len(alone.results) == 10 * 20
    assert all(row["segmentation"]["counts"] for row in alone.results)
    assert together.results == alone.results
    assert [skip.item for skip in together.skipped] == [detecting.images[4].sample.id]
    assert together.made_by == alone.made_by


def test_a_rank_has_batches_of_its_own(detecting, monkeypatch):
    seen, ask = [], detect.tokens_of
    monkeypatch.setattr(detect, "tokens_of", lambda e, batch, *rest: (seen.append(batch), ask(e, batch, *rest))[1])
    parts = dataclasses.replace(detecting, training=detecting.training.model_copy(update={"accumulate": 2}))
    list(parts._detected(_encoder(), parts.built(_encoder())[0], Ranks(1, 3, torch.device("cpu")), _plainly))
    keys = [image.key for image in detecting.images]
    assert [[e.image.key for e in batch.examples] for batch in seen] == [keys[2:4], keys[8:10]]


@pytest.mark.parametrize("world", [1, 2])
def test_memory_that_is_full_is_one_sentence_whichever_rank_it_is(detecting, tmp_path, monkeypatch, world):
    built = Detecting.built

    class Full(nn.Module):
        def detect(self, tokens_BCTU, sizes_hw):
            if int(os.environ.get("RANK", "0")) == world - 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 is full.")
            return built(detecting, _encoder())[0].detect(tokens_BCTU, sizes_hw)

    monkeypatch.setattr(Detecting, "built", lambda *_: (Full(), ""))
    said = (
        r"detecting: memory is full \(CUDA out of memory\. Tried to allocate 9 GiB\); give accumulate=2, which goes on with this training, "
        r"or a smaller side="  # more ranks would each detect in as many
    )
    if world == 2:
        assert re.match(said, _over(world, detecting, tmp_path))
        return
    with pytest.raises(UserError, match=said):
        detecting.run(_encoder(), ALONE, _plainly)
