"""`pool=` and `layers=` end to end: which vectors are made, what cannot be pooled, and where the yardsticks land."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from probes.knn import Knn
from probes.linear import Linear
from rice_core.budget import Budget
from rice_core.datasets import Dataset, file_digests, open_dataset
from rice_core.encoders import load_encoder
from rice_core.encoders.rice import save_rice
from rice_core.errors import NotApplicable, UserError
from rice_core.images import load_image
from rice_core.measure.bill import bill
from rice_core.measure.cache import FeatureCache
from rice_core.measure.extract import Extractor
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.model.vit import ViT, ViTConfig
from rice_core.pooling import MEAN, Pooling, check_poolable
from rice_core.probe import Probe, Read
from rice_core.progress import Progress
from rice_core.record import Cell, Record
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeRequest, ProbeSpec
from rice_core.store import Store

CLASSES = 7
POOLS = [Pooling("cls"), Pooling("cls+mean"), Pooling("mean", 4), Pooling("cls", 3), Pooling("cls+mean", 2)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven classes of noise: nothing of an image tells its class."""
    root, rng = tmp_path_factory.mktemp("folders"), np.random.default_rng(0)
    for split, each in (("train", 12), ("val", 8)):
        for k in range(CLASSES):
            folder = root / split / f"class-{k}"
            folder.mkdir(parents=True)
            for i in range(each):
                Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def images(folders: Path) -> Dataset:
    return open_dataset(folders, name="noise")


def run(dataset: Dataset, root: Path, encoders: list[str], *probes: Probe) -> list[Record]:
    plan = Plan.over(tuple(EncoderSpec.parse(text) for text in encoders), probes, dataset)
    return Runner(Store(root), Settings(), Progress(quiet=True)).run(plan).records


@pytest.mark.parametrize("pooling", POOLS, ids=str)
def test_yardsticks_of_every_pooling(images: Dataset, tmp_path: Path, pooling: Pooling) -> None:
    settings = {"pool": pooling.kind, "layers": pooling.layers}
    found = run(images, tmp_path, ["synthetic:noise", "synthetic:oracle"], Knn(**settings), Linear(**settings))
    for record in found:
        accuracy, top1, top5 = record.metrics
        assert accuracy.chance == pytest.approx(100 / CLASSES)
        if record.cell.encoder.model == "oracle":
            assert accuracy.value == top1.value == top5.value == 100
            assert accuracy.ci95 is not None
            assert accuracy.ci95[0] < 98
        else:
            assert abs(accuracy.value - accuracy.chance) < 3 * accuracy.stderr
            # Five of seven classes at most; k-NN may have votes for fewer.
            assert top5.value < 100 * 5 / 7 + 15


def vectors(dataset: Dataset, typed: str, root: Path, pooling: Pooling) -> np.ndarray:
    encoder = load_encoder(EncoderSpec.parse(typed))
    cache = FeatureCache(Store(root))
    extractor = Extractor(encoder, dataset, cache, files=file_digests(dataset), code="c", batch=5, workers=1)
    shard = extractor.shard(Read("val", "items", pooling=pooling), 0)
    again = extractor.shard(Read("val", "items", pooling=pooling), 0)
    extractor.close()
    assert np.array_equal(shard.arrays["x_NC"], again.arrays["x_NC"])
    assert extractor.images == len(dataset.splits["val"])
    return shard.arrays["x_NC"]


def test_the_vectors_of_whole_images_are_those_of_the_blocks(images: Dataset, tmp_path: Path) -> None:
    typed = "synthetic:random-weights"
    encoder = load_encoder(EncoderSpec.parse(typed))
    pixels = encoder.preprocess([load_image(sample.path) for sample in images.splits["val"]])
    with torch.inference_mode():
        two = encoder.blocks(pixels, 2)
        plain = encoder.encode(pixels)
    want = {
        Pooling("cls"): [plain.cls_BC],
        Pooling("cls+mean"): [plain.cls_BC, plain.dense_BCHW.mean((2, 3))],
        Pooling("mean"): [plain.dense_BCHW.mean((2, 3))],
        Pooling("mean", 2): [block.dense_BCHW.mean((2, 3)) for block in two],
        Pooling("cls", 2): [block.cls_BC for block in two],
        Pooling("cls+mean", 2): [*(block.cls_BC for block in two), two[-1].dense_BCHW.mean((2, 3))],
    }
    for pooling, parts in want.items():
        found = vectors(images, typed, tmp_path, pooling)
        assert found == pytest.approx(torch.cat(parts, 1).numpy(), abs=1e-5), pooling


def test_regions_are_pooled_over_layers_by_the_same_patches(small_world: Path, tmp_path: Path) -> None:
    dataset, typed = open_dataset(small_world, name="mini"), "synthetic:random-weights"
    one, two = (vectors_of_regions(dataset, typed, tmp_path, pooling) for pooling in (MEAN, Pooling("mean", 2)))
    assert two.shape == (len(one), 2 * one.shape[1])
    normed = vectors_of_regions(dataset, f"{typed}?norm=1", tmp_path, MEAN)
    assert two[:, one.shape[1] :] == pytest.approx(normed, abs=1e-5)


def vectors_of_regions(dataset: Dataset, typed: str, root: Path, pooling: Pooling) -> np.ndarray:
    encoder = load_encoder(EncoderSpec.parse(typed))
    extractor = Extractor(encoder, dataset, FeatureCache(Store(root)), files={}, code="c", workers=1)
    found = extractor.shard(Read("val", "items", pooling=pooling), 0).arrays["x_NC"]
    extractor.close()
    return found


def test_what_cannot_be_pooled_is_not_applicable_with_a_sentence(
    small_world: Path, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = run(open_dataset(small_world, name="mini"), tmp_path, ["synthetic:oracle"], Knn(pool="cls"))
    assert (record.status, record.error) == (
        "not_applicable",
        "pool=cls needs whole labelled images: an image has one class token, and the items of this data set are regions of "
        "images; write pool=mean",
    )
    monkeypatch.setattr("rice_core.encoders.synthetic.Untold.provides", frozenset({"dense"}))
    (record,) = run(images, tmp_path, ["synthetic:noise"], Knn(pool="cls+mean"))
    assert record.status == "not_applicable"
    assert record.error == "pool=cls+mean needs cls, which synthetic:noise does not give; write pool=mean"
    bare = SimpleNamespace(provides=frozenset({"dense"}), encode=None)
    with pytest.raises(NotApplicable, match="layers=2 needs an encoder that gives its blocks, and mine does not"):
        check_poolable(Pooling("mean", 2), bare, "mine", {"labels"})
    check_poolable(MEAN, bare, "mine", {"labels"})


def test_more_layers_than_there_are_fail_with_the_most_there_could_be(images: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_rice(tmp_path / "vit", ViT(ViTConfig(width=48, depth=2, heads=3, patch=8, resolution=96)), tags={})
    (record,) = run(images, tmp_path / "store", [f"v=rice:{tmp_path / 'vit'}"], Linear(layers=3))
    assert record.status == "failed"
    assert record.error == "v has 2 blocks; write layers=1 to layers=2."


def test_cells_of_before_the_parameters_keep_their_ids() -> None:
    assert Knn().spec.params == {"k": 10, "temperature": 0.0}
    assert Linear().spec.params == {"holdout": 0.2}
    assert Knn(pool="cls", layers=4).spec.params == {"k": 10, "temperature": 0.0, "pool": "cls", "layers": 4}
    old = ProbeSpec(name="knn", version=1, params={"k": 10, "temperature": 0.0})
    data, encoder = DatasetSpec(name="d", layout="coco", fingerprint="f"), EncoderSpec.parse("synthetic:noise")
    asked = [Cell(encoder=encoder, probe=probe, dataset=data).id for probe in (old, Knn().spec, Knn(layers=2).spec)]
    assert asked[0] == asked[1] != asked[2]


def test_a_plus_typed_is_a_plus() -> None:
    request = ProbeRequest.parse("knn?pool=cls+mean&layers=4")
    assert request.params == {"pool": "cls+mean", "layers": 4}
    assert ProbeRequest.parse(Knn(pool="cls+mean").spec.shorthand).params["pool"] == "cls+mean"
    for bad, hint in (({"pool": "max"}, "'mean', 'cls' or 'cls"), ({"layers": 0}, "greater than or equal to 1")):
        for probe in (Knn, Linear):
            with pytest.raises(UserError, match=hint):
                probe(**bad)


def test_reads_and_the_bill_know_that_each_pooling_is_a_pass(images: Dataset, tmp_path: Path) -> None:
    assert Knn(pool="cls").reads == (
        Read("train", "items", pooling=Pooling("cls")),
        Read("val", "items", pooling=Pooling("cls")),
    )
    probes = (Knn(), Linear(), Knn(pool="cls"), Linear(pool="cls"), Linear(layers=4))
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), probes, images)
    lines = list(bill(plan, Store(tmp_path), Budget(cache=1 << 30, free=1 << 30)))
    assert f"at most {3 * CLASSES * 20} images" in lines[-1]
    probes_run = run(images, tmp_path, ["synthetic:noise"], *probes)
    assert sum(record.images_per_second is not None for record in probes_run) == 3
