"""Features fresh from the encoder and features from the cache are the same bits, so an interruption changes no record."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch

from probes.detection.probe import CocoFormatDetection
from probes.knn import Knn
from probes.linear import Linear
from probes.linear_seg import LinearSeg
from probes.tokens import Tokens
from rice_core.datasets import Dataset, limit, open_dataset
from rice_core.encoders import load_encoder
from rice_core.encoders.rice import save_rice
from rice_core.encoders.synthetic import Untold
from rice_core.features import Encoder, Features
from rice_core.measure import extract
from rice_core.measure.cache import FeatureCache
from rice_core.measure.compact import compact
from rice_core.measure.extract import Extractor
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.model.vit import ViT, ViTConfig
from rice_core.probe import Probe, Read, View
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store

PROBES: dict[str, Probe] = {
    "knn": Knn(k=3),
    "linear": Linear(),
    "linear-seg": LinearSeg(grid=6, tokens_per_image=30),
    "tokens": Tokens(images=20, tsne_objects=40, perplexity=5),
}


@pytest.fixture(autouse=True)
def many_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "SHARD_IMAGES", 8)


@pytest.fixture(scope="module")
def dataset(small_world: Path) -> Dataset:
    return limit(open_dataset(small_world, name="mini"), 28)


@pytest.fixture(scope="module", params=["halved", "whole"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint whose features are kept as float16, and one whose features are too large for that."""
    torch.manual_seed(0)
    vit = ViT(ViTConfig(width=48, depth=2, heads=3, patch=8, resolution=96))
    if request.param == "whole":
        with torch.no_grad():
            vit.pre_norm.weight *= 1e6
    folder: Path = tmp_path_factory.mktemp("vit") / request.param
    save_rice(folder, vit, tags={"objective": "none"})
    return f"rice:{folder}"


def measured(root: Path, dataset: Dataset, encoder: str, *probes: Probe, **settings: Any) -> dict[str, Any]:
    """By probe, all that a run leaves but its times."""
    store = Store(root)
    plan = Plan.over((EncoderSpec.parse(encoder),), probes, dataset)
    records = Runner(store, Settings(device="cpu", debug=True, **settings), Progress(quiet=True)).run(plan).records
    assert {record.status for record in records} == {"done"}
    return {
        record.cell.probe.name: (
            record.model_dump(exclude={"seconds", "images_per_second", "created"}),
            store.scores(record),
            [store.artifact(record, artifact.name) for artifact in record.artifacts],
        )
        for record in records
    }


class AfterAShard(Knn):
    """Is stopped when the first shard of each split is there, in both views."""

    def run(self, encoder: Any, *, seed: int, work: Any) -> Any:
        for split in ("train", "val"):
            next(work.dense(encoder, split))
        raise KeyboardInterrupt


class AfterItems(Knn):
    """Is stopped when the items of one split are there, without their patch tokens."""

    def run(self, encoder: Any, *, seed: int, work: Any) -> Any:
        work.items(encoder, "val")
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", sorted(PROBES))
def test_a_record_is_the_same_cold_warm_and_after_an_interruption(
    dataset: Dataset, encoder: str, name: str, tmp_path: Path
) -> None:
    probe = PROBES[name]
    cold = measured(tmp_path / "cold", dataset, encoder, probe)
    assert measured(tmp_path / "cold", dataset, encoder, probe, only="all") == cold
    for stopped in (AfterAShard(), AfterItems()):
        root = tmp_path / type(stopped).__name__
        with pytest.raises(KeyboardInterrupt):
            measured(root, dataset, encoder, stopped)
        assert list((root / "cache").rglob("*.safetensors"))
        assert measured(root, dataset, encoder, probe) == cold


def test_a_detector_is_the_same_cold_and_warm(dataset: Dataset, tmp_path: Path) -> None:
    probe, few = CocoFormatDetection(recipe="smoke", iterations=2), limit(dataset, 8)
    cold = measured(tmp_path, few, "synthetic:random-weights", probe)
    assert measured(tmp_path, few, "synthetic:random-weights", probe, only="all", workers=0) == cold


def test_a_record_is_the_same_whatever_other_probes_read_before(dataset: Dataset, encoder: str, tmp_path: Path) -> None:
    probes = [PROBES[name] for name in ("linear-seg", "tokens", "knn", "linear")]
    alone = {
        probe.name: measured(tmp_path / probe.name, dataset, encoder, probe, workers=5)[probe.name] for probe in probes
    }
    # Together one pass makes both views; which probe comes first says which of them asks for it.
    assert measured(tmp_path / "together", dataset, encoder, *probes) == alone
    assert measured(tmp_path / "turned", dataset, encoder, *reversed(probes)) == alone


def extractor(dataset: Dataset, encoder: Encoder, root: Path, **settings: Any) -> Extractor:
    return Extractor(encoder, dataset, FeatureCache(Store(root)), files={}, code="", **settings)


@pytest.mark.parametrize("views", [("items", "dense"), ("dense", "items")])
@pytest.mark.parametrize("most", [0, 28])
def test_a_fresh_shard_is_laid_out_as_a_kept_one(
    dataset: Dataset, encoder: str, tmp_path: Path, most: int, views: tuple[View, View]
) -> None:
    made = extractor(
        dataset,
        load_encoder(EncoderSpec.parse(encoder)),
        tmp_path,
        batch=3,
        reads=[Read("val", "dense", most)] if most else [],
    )
    for view in views:
        fresh, seen = made.shard(Read("val", view), 8), made.images
        kept = made.shard(Read("val", view), 8)
        assert made.images == seen  # from the cache
        assert fresh.arrays.keys() == kept.arrays.keys()
        assert fresh.notes == kept.notes
        for name, array in fresh.arrays.items():
            assert (array.dtype, array.shape, array.strides) == (
                kept.arrays[name].dtype,
                kept.arrays[name].shape,
                kept.arrays[name].strides,
            )
            np.testing.assert_array_equal(array, kept.arrays[name])
    made.close()


class Uneven(Untold):
    """Noise, and that of some images too large for float16."""

    def encode(self, pixels_B3HW: torch.Tensor) -> Features:
        dense_BCHW = super().encode(pixels_B3HW).dense_BCHW
        large_B = torch.tensor([crc32(pixels.numpy().tobytes()) % 2 for pixels in pixels_B3HW]) == 1
        return Features(dense_BCHW * torch.where(large_B, 1e6, 1.0)[:, None, None, None])


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_what_is_kept_of_an_image_does_not_depend_on_its_batch(dataset: Dataset, tmp_path: Path, batch: int) -> None:
    def features(batch: int) -> np.ndarray:
        made = extractor(
            dataset, Uneven(EncoderSpec.parse("synthetic:noise"), "noise"), tmp_path / str(batch), batch=batch
        )
        shards = [made.shard(Read("val", "dense"), start) for start in made.starts("val")]
        made.close()
        return np.concatenate([shard.arrays["dense_NCHW"].astype(np.float32) for shard in shards])

    at_once = features(8)
    large_N = np.abs(at_once).max((1, 2, 3)) > 6e4
    assert 0 < large_N.sum() < len(large_N)
    np.testing.assert_array_equal(features(batch), at_once)


@pytest.mark.parametrize(
    ("images", "dtype"),
    [((1.0, 5e4), np.float16), ((1.0, 7e4), np.float32), ((1.0, 1e-3), np.float32), ((0.0,), np.float32)],
)
def test_each_image_is_halved_by_its_own_range(images: tuple[float, ...], dtype: type) -> None:
    rng = np.random.default_rng(0)
    dense = np.stack([size * rng.uniform(0.5, 1, (2, 3, 4)) for size in images]).astype(np.float32)
    kept = compact(dense)
    assert kept.dtype == dtype
    for image, whole, size in zip(kept, dense, images, strict=True):
        expected = whole.astype(np.float16) if 1e-2 < size < 6e4 else whole
        np.testing.assert_array_equal(image.astype(np.float32), expected.astype(np.float32))
