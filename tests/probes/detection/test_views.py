"""Views that are drawn once: their features kept and read back, and the choice between keeping and computing again."""

import dataclasses
import hashlib
import json
import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from probes.detection.annotations import read_ground_truth
from probes.detection.fill import keep_views, views_kept
from probes.detection.loader import training_batches
from probes.detection.recipe import RECIPES
from probes.detection.tokens import tokens_of
from probes.detection.views import rounded
from probes.detection.ways import cheapest
from rice_core.budget import Budget
from rice_core.datasets import open_dataset
from rice_core.encoders import load_encoder
from rice_core.ranks import Ranks
from rice_core.spec import EncoderSpec
from rice_core.world.layouts.coco import write_coco

CONFIG = RECIPES["mini"].training.model_copy(update={"views": 3, "flip": True})
SIDE = 96


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    data = open_dataset(write_coco(tmp_path_factory.mktemp("world") / "w", seed=3, train=13, val=2))
    return read_ground_truth(data.annotations["train"], data.splits["train"], name="train")


class KeptWork:
    """What `keep_views` needs of a Work, with a cache in a folder."""

    ranks = Ranks(0, 1, torch.device("cpu"))

    def __init__(self, folder):
        self.folder, self.put = folder, []

    def has(self, about):
        return self._path(about).is_file()

    def find(self, about):
        path = self._path(about)
        return path if path.is_file() else None

    def keep(self, about, shard):
        path = self._path(about)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(array) for name, array in shard.arrays.items()}
        save_file(arrays, path, metadata={"notes": json.dumps(shard.notes)})
        self.put.append(path)
        return path

    def progress(self, sequence, what):
        return iter(sequence)

    def _path(self, about):
        return self.folder / f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()}.safetensors"


def _encoder(name="random-weights"):
    return load_encoder(EncoderSpec.parse(f"synthetic:{name}"))


def _kept(truth, work, encoder=None):
    return keep_views(encoder or _encoder(), truth, CONFIG, side=SIDE, what="x", work=work)


def _batches(truth, steps, told=False, **given):
    settings = {"side": SIDE, "masks": True, "told": told, "seed": 0} | given
    return list(islice(training_batches(truth.images, CONFIG, **settings), steps))


def test_half_precision_holds_any_scale():
    tokens = torch.randn(6, 8, 3, 4, generator=torch.Generator().manual_seed(0))
    tokens[:, 0] *= 1e-3
    scale_B = torch.tensor([1e-36, 1e-6, 1.0, 3e5, 1e36, 0.0])
    tokens *= scale_B[:, None, None, None]
    for again, view, scale in zip(rounded(tokens), tokens, scale_B.tolist(), strict=True):
        torch.testing.assert_close(again, view, rtol=2**-11, atol=scale * 1e-6)
    assert torch.equal(rounded(rounded(tokens)), rounded(tokens))


@pytest.mark.parametrize("name", ["random-weights", "oracle"])
def test_what_is_kept_is_what_the_encoder_gives(truth, tmp_path, name):
    """In four epochs each image comes in all its views, so features are of the view whose boxes go with them."""
    encoder = _encoder(name)
    kept = _kept(truth, KeptWork(tmp_path), encoder)
    told = name == "oracle"
    for live, read in zip(_batches(truth, 13, told), _batches(truth, 13, kept=kept), strict=True):
        assert [e.placing for e in live.examples] == [e.placing for e in read.examples]
        torch.testing.assert_close(
            tokens_of(encoder, read, "fp32", "none"),
            rounded(tokens_of(encoder, live, "fp32", "none")),
            rtol=2e-3,
            atol=2e-3,
        )
        for one, other in zip(live.examples, read.examples, strict=True):
            assert torch.equal(one.target.boxes_N4, other.target.boxes_N4)
            assert torch.equal(one.target.masks_NHW, other.target.masks_NHW)


def test_views_are_the_same_for_every_seed_of_the_order(truth):
    seen = [{(e.image.key, e.placing) for b in _batches(truth, 20, seed=s) for e in b.examples} for s in (0, 1)]
    assert all(len(each) <= 3 * 13 for each in seen)
    assert len(seen[0] & seen[1]) > 20


def test_features_are_made_once_and_by_what_they_depend_on(truth, tmp_path):
    work = KeptWork(tmp_path)
    assert views_kept(truth, CONFIG, side=SIDE, work=work) == 0
    _kept(truth, work)
    assert views_kept(truth, CONFIG, side=SIDE, work=work) == 39
    made = len(work.put)
    assert made == 2  # 30 views and 9
    _kept(truth, work)
    assert len(work.put) == made
    for change in (
        {"side": 104},
        {"jitter": (0.5, 1.0)},
        {"flip": False},
        {"precision": "bf16"},
        {"norm": "layer"},
        {"views": 2},
    ):
        side = change.pop("side", SIDE)
        assert views_kept(truth, CONFIG.model_copy(update=change), side=side, work=work) == 0
    assert views_kept(dataclasses.replace(truth, sha256="0" * 64), CONFIG, side=SIDE, work=work) == 0


def test_an_image_that_cannot_be_read_is_named_and_replaced(truth, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    first = dataclasses.replace(truth.images[0], sample=dataclasses.replace(truth.images[0].sample, path=bad))
    broken = dataclasses.replace(truth, images=(first, *truth.images[1:]))
    kept = _kept(broken, KeptWork(tmp_path / "store"))
    assert set(kept.reasons) == {0}
    live, read = _batches(broken, 4), _batches(broken, 4, kept=kept)
    for one, other in zip(live, read, strict=True):
        assert [e.placing for e in one.examples] == [e.placing for e in other.examples]
        assert one.skipped == other.skipped
    assert any(batch.skipped for batch in read)


def test_a_file_that_leaves_the_cache_stays_readable(truth, tmp_path):
    work = KeptWork(tmp_path)
    kept = _kept(truth, work)
    before = _batches(truth, 2, kept=kept)
    for path in work.put:
        path.unlink()
    for one, other in zip(before, _batches(truth, 2, kept=kept), strict=True):
        assert torch.equal(one.kept.half_BCTU, other.kept.half_BCTU)


def test_a_file_that_is_put_out_before_it_is_opened_is_made_again(truth, tmp_path):
    class Crowded(KeptWork):
        def keep(self, about, shard):
            path = super().keep(about, shard)
            if self.put.count(path) == 1:
                path.unlink()
            return path

    work = Crowded(tmp_path)
    assert len(_kept(truth, work).rows) == 39
    assert len(work.put) == 4


def test_workers_read_the_files_themselves(truth, tmp_path):
    kept = _kept(truth, KeptWork(tmp_path))
    alone = _batches(truth, 3, kept=kept)
    again = pickle.loads(pickle.dumps(kept))
    for one, other in zip(alone, _batches(truth, 3, kept=again, workers=2), strict=True):
        assert torch.equal(one.kept.half_BCTU, other.kept.half_BCTU)


TRAINING = RECIPES["paper@1"].training.model_copy(update={"views": 4})
"""1,440,000 views shown at 1024 pixels."""


def _way(images=2000, heads=1, training=TRAINING, **budget):
    return cheapest(
        training, images=images, heads=heads, side=1024, budget=Budget(**({"cache": 10**12, "free": 10**12} | budget))
    )


def test_the_cheapest_way_is_chosen_and_says_why():
    assert _way(training=RECIPES["paper@1"].training, heads=3).name == "alone"
    small = _way(dim=768, patch=16, tokens=1024, tokens_per_second=1e5)
    assert (small.name, small.images) == ("kept", 8000)
    assert "8,000 views (4 of each image, 50.3 GB)" in small.why
    assert "in place of 1,440,000 training views" in small.why
    # COCO does not fit; three heads then share each pass.
    large = _way(images=118_000, heads=3, dim=768, patch=16, tokens=1024, tokens_per_second=1e5)
    assert (large.name, large.images) == ("together", 1_440_000)
    assert "do not fit into the cache's 1000.0 GB" in large.why
    full = _way(dim=768, patch=16, tokens=1024, tokens_per_second=1e5, free=10**10)
    assert (full.name, full.images) == ("alone", 1_440_000)
    assert "do not fit into the 10.0 GB that are free" in full.why
    # One rank makes what is kept; 300 share the training.
    ranked = {"images": 2000, "heads": 1, "side": 1024, "budget": Budget(10**12, 10**12)}
    assert cheapest(TRAINING, **ranked, ranks=8).name == "kept"
    assert cheapest(TRAINING, **ranked, ranks=300).name == "alone"
    # A fast encoder gives a view again sooner than a disk does.
    fast = _way(dim=768, patch=16, tokens=1024, tokens_per_second=1e7)
    assert (fast.name, fast.images) == ("alone", 1_440_000)
    assert "would not pay" in fast.why
    # Nothing is known yet, and more views than are shown.
    assert "assumed; if they fit" in _way().why
    assert _way(training=TRAINING.model_copy(update={"iterations": 400})).name == "alone"


def test_what_is_kept_already_costs_nothing():
    few = TRAINING.model_copy(update={"iterations": 400})
    assert cheapest(few, images=2000, heads=1, side=1024, budget=Budget(10**12, 0), kept=8000).name == "kept"
