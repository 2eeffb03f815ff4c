"""What a cheap probe may read: changed pictures, several layers for one pass, and numbers for each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from probes.knn import Knn
from rice_core.changes import Change
from rice_core.datasets import Dataset, Sample, open_dataset
from rice_core.datasets.seen import coverage_seen, labels_seen
from rice_core.encoders import base
from rice_core.errors import UserError
from rice_core.images import load_image
from rice_core.light import FunctionProbe, Work, Yielded, dense, metric, probe
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Read
from rice_core.progress import Progress
from rice_core.record import Record
from rice_core.spec import DatasetSpec, EncoderSpec
from rice_core.store import Store

VIT = "synthetic:random-weights"
MEAN = metric("mean", "neither")
LAYERS = (-4, -3, -2, -1)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images of each forward pass of the ViT."""
    seen: list[int] = []
    tokens = base.tokens_of

    def counted(trunk: Any, pixels: Any, layers: Any) -> Any:
        if not torch.is_inference_mode_enabled():  # in which it calls itself without
            seen.append(len(pixels))
        return tokens(trunk, pixels, layers)

    monkeypatch.setattr(base, "tokens_of", counted)
    return seen


def run(dataset: Dataset, root: Path, encoders: list[str], *probes: Any, **settings: Any) -> list[Record]:
    plan = Plan.over(tuple(map(EncoderSpec.parse, encoders)), probes, dataset)
    return Runner(Store(root), Settings(**settings), Progress(quiet=True)).run(plan).records


@pytest.fixture(scope="module")
def world(small_world: Path) -> Dataset:
    whole = open_dataset(small_world, name="mini")
    return replace(whole, splits={split: samples[:20] for split, samples in whole.splits.items()})


# changed views


@probe(
    "robust", reads=[dense("val"), dense("val", change="blur:{sigma}")], metric=metric("cosine", "higher", ceiling=1.0)
)
def robust(work: Work, *, sigma: float = 3.0) -> Iterator[Yielded]:
    """How near the tokens of a blurred picture are to those of the sharp one."""
    blurred = {image.id: image.dense_CHW for image in work.images("val", change=f"blur:{sigma}")}
    for image in work.images("val"):
        a, b = (
            image.dense_CHW.reshape(image.dense_CHW.shape[0], -1),
            blurred[image.id].reshape(len(image.dense_CHW), -1),
        )
        yield image, float(((a * b).sum(0) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)).mean())


def test_a_probe_is_swept_over_a_change(world: Dataset, tmp_path: Path, passes: list[int]) -> None:
    assert robust(sigma=2).reads == (Read("val", "dense"), Read("val", "dense", change="blur:2.0"))
    assert Read("val", "dense", change="blur:2.0") == Read("val", "dense", change="blur:2")
    little, much = run(world, tmp_path, [VIT], robust(sigma=0.5), robust(sigma=6.0))
    assert 1 > little.metrics[0].value > much.metrics[0].value + 0.001
    assert sum(passes) - 1 == 3 * 20  # the picture as it is once, and each change once; one is the try of a new encoder


def test_a_changed_picture_is_the_changed_file_encoded(world: Dataset, tmp_path: Path) -> None:
    """Blurred by the read, or blurred on the disk: the same pixels and the same features."""
    samples = []
    for sample in world.splits["val"][:3]:
        path = tmp_path / f"{len(samples)}.png"
        Change.parse("blur:2")(load_image(sample.path), sample.id).save(path)
        samples.append(replace(sample, path=path))
    found: dict[str, Any] = {}

    def keep(name: str, change: str) -> type[FunctionProbe]:
        @probe(name, reads=[dense("val", change=change)], metric=MEAN)
        def kept(work: Work) -> Iterator[Yielded]:
            for image in work.images("val", change=change):
                found.setdefault(image.id, []).append((image.dense_CHW, image.pixels_HW3, image.labels_HW))
                yield image, 0.0

        return kept

    few = replace(world, splits={"val": world.splits["val"][:3]})
    run(few, tmp_path / "a", [VIT], keep("changed", "blur:2")())
    run(replace(few, splits={"val": tuple(samples)}), tmp_path / "b", [VIT], keep("plain", "")())
    assert len(found) == 3
    for (dense_a, pixels_a, labels_a), (dense_b, pixels_b, labels_b) in found.values():
        np.testing.assert_array_equal(dense_a, dense_b)
        np.testing.assert_array_equal(pixels_a, pixels_b)
        np.testing.assert_array_equal(labels_a, labels_b)


@pytest.mark.parametrize(
    "text", ["blur:3", "noise:20", "jpeg:10", "brightness:0.5", "contrast:2", "saturation:0", "crop:0.5"]
)
def test_changes_are_what_they_are_called(text: str) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(40, 200, (40, 60, 3), dtype=np.uint8))
    change = Change.parse(text)
    once, again, other = (np.asarray(change(image, name)).astype(float) for name in ("a", "a", "b"))
    np.testing.assert_array_equal(once, again)
    before = np.asarray(image).astype(float)
    assert (once.shape == before.shape) == (change.name != "crop")
    assert change.box((40, 60)) == ((10, 15, 30, 45) if change.name == "crop" else None)
    match change.name:
        case "blur":
            assert once.std() < before.std() / 2
        case "noise":
            assert np.abs((once - before).std() - 20) < 1
            assert not np.array_equal(once, other)
        case "jpeg":
            assert 1 < np.abs(once - before).mean() < 60
        case "brightness":
            assert np.abs(once.mean() - before.mean() / 2) < 1
        case "contrast":
            assert once.std() > 1.3 * before.std()
        case "saturation":
            assert np.ptp(once, axis=2).max() == 0
        case "crop":
            np.testing.assert_array_equal(once, before[10:30, 15:45])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("blurr:3", r"did you mean blur\?"),
        ("blur", "write blur:A with A from 0.1 to 100"),
        ("blur:nan", "write blur:A"),
        ("crop:0", "share of each side"),
        ("jpeg:300", "from 1 to 95"),
    ],
)
def test_a_change_that_there_is_not_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Read("val", "dense", change=text)


def test_what_is_known_is_cropped_with_the_picture(world: Dataset) -> None:
    sample = next(s for s in world.splits["val"] if s.regions and s.regions[0].segmentation is not None)
    image_hw = (load_image(sample.path).height, load_image(sample.path).width)
    box = Change.parse("crop:0.5").box(image_hw)
    assert box is not None
    top, left, bottom, right = box
    whole = labels_seen(sample, image_hw, image_hw, None)
    crop_hw = (bottom - top, right - left)
    np.testing.assert_array_equal(labels_seen(sample, crop_hw, image_hw, box), whole[top:bottom, left:right])
    for region in (sample.regions[0], replace(sample.regions[0], segmentation=None)):
        cover = coverage_seen(region, crop_hw, image_hw, box)
        assert cover == pytest.approx(coverage_seen(region, image_hw, image_hw, None)[top:bottom, left:right], abs=1e-6)


# layers apart


@probe("depth", reads=[dense("val", layer=layer) for layer in LAYERS], metric=MEAN)
def depth(work: Work, *, shown: int = -1) -> Iterator[Yielded]:
    """Mean token length of one of four layers; all four are read."""
    for layer in LAYERS:
        for image in work.images("val", layer=layer):
            if layer == shown:
                yield image, float(np.linalg.norm(image.dense_CHW, axis=0).mean())


def test_a_sweep_over_layers_is_one_pass(world: Dataset, tmp_path: Path, passes: list[int]) -> None:
    found = run(world, tmp_path, [VIT], *(depth(shown=layer) for layer in LAYERS))
    assert sum(passes) - 1 == 20
    assert len({record.metrics[0].value for record in found}) == 4
    for layer, record in zip(LAYERS, found, strict=True):
        (alone,) = run(world, tmp_path / str(layer), [f"{VIT}?layers={layer}"], length())
        assert record.metrics == alone.metrics  # to the last bit


@probe("length", reads=[dense("val")], metric=MEAN)
def length(work: Work) -> Iterator[Yielded]:
    """Mean token length."""
    for image in work.images("val"):
        yield image, float(np.linalg.norm(image.dense_CHW, axis=0).mean())


def test_encoders_that_differ_by_their_layer_share_a_pass(world: Dataset, tmp_path: Path, passes: list[int]) -> None:
    found = run(world, tmp_path / "one", [f"{VIT}?layers={layer}" for layer in LAYERS], length(), Knn(k=3))
    assert sum(passes) - 4 == 2 * 20  # train and val; and each of four encoders is tried
    assert all(record.status == "done" for record in found)
    apart = [run(world, tmp_path / str(layer), [f"{VIT}?layers={layer}"], length(), Knn(k=3)) for layer in LAYERS]
    assert [record.metrics for record in found] == [record.metrics for records in apart for record in records]


def test_layers_of_several_that_end_alike_share_their_features(
    world: Dataset, tmp_path: Path, passes: list[int]
) -> None:
    run(world, tmp_path, [VIT], length())
    before = sum(passes)
    run(world, tmp_path, [f"{VIT}?layers=-2,-1"], length())
    assert sum(passes) == before + 1  # the try alone


def test_a_layer_that_there_is_not_fails_its_probe_alone(world: Dataset, tmp_path: Path) -> None:
    @probe("deep", reads=[dense("val", layer=-9)], metric=MEAN)
    def deep(work: Work) -> Iterator[Yielded]:
        for image in work.images("val", layer=-9):
            yield image, 0.0

    failed, done = run(world, tmp_path, [VIT], deep(), length())
    assert failed.status == "failed"
    assert "has 4 blocks" in str(failed.error)
    assert done.status == "done"


# numbers for each pixel


@probe("depth-error", reads=[dense("val")], metric=metric("error", "lower", unit="m"), data=["targets"])
def depth_error(work: Work, *, guess: float = 2.0) -> Iterator[Yielded]:
    """How far a constant is from the truth, where it is known."""
    for image in work.images("val"):
        assert image.target_HW is not None
        assert image.valid_HW is not None
        assert image.target_HW.shape == image.valid_HW.shape == image.pixels_HW3.shape[:2]
        assert (image.target_HW[~image.valid_HW] == 0).all()
        yield image, float(np.abs(image.target_HW - guess)[image.valid_HW].mean())


def depths(folder: Path) -> Dataset:
    """What a reader of depth maps gives: 40 x 60 pictures, near at the left and far at the right, the top unknown."""
    samples = []
    for k in range(4):
        Image.new("RGB", (60, 40), (60 * k, 0, 0)).save(folder / f"{k}.png")
        map_HW = np.full((40, 60), 1.0 + k, np.float32)
        map_HW[:, 30:] = 5.0
        map_HW[:20] = np.nan
        np.save(folder / f"{k}.npy", map_HW)
        samples.append(Sample(f"{k}.png", folder / f"{k}.png", target=folder / f"{k}.npy"))
    spec = DatasetSpec(name="depths", layout="photos", fingerprint="f")
    return Dataset(spec, (), {"val": tuple(samples)}, frozenset({"targets"}))


def test_a_number_for_each_pixel_with_where_it_is_known(tmp_path: Path) -> None:
    (record,) = run(depths(tmp_path), tmp_path / "store", ["synthetic:noise"], depth_error())
    assert record.metrics[0].value == pytest.approx(np.mean([(abs(1 + k - 2) + 3) / 2 for k in range(4)]))
    # An edited target makes the number stale.
    np.save(tmp_path / "0.npy", np.full((40, 60), 2.0))
    (again,) = run(depths_again(tmp_path), tmp_path / "store", ["synthetic:noise"], depth_error())
    assert again.metrics[0].value == pytest.approx(np.mean([0, *((abs(1 + k - 2) + 3) / 2 for k in (1, 2, 3))]))


def depths_again(folder: Path) -> Dataset:
    samples = tuple(Sample(f"{k}.png", folder / f"{k}.png", target=folder / f"{k}.npy") for k in range(4))
    spec = DatasetSpec(name="depths", layout="photos", fingerprint="f")
    return Dataset(spec, (), {"val": samples}, frozenset({"targets"}))


def test_a_target_that_is_none_costs_its_image_and_is_counted(tmp_path: Path) -> None:
    dataset = depths(tmp_path)
    np.save(tmp_path / "1.npy", np.zeros((3, 3)))
    (tmp_path / "2.npy").write_bytes(b"no array")
    one, two, three, four = dataset.splits["val"]
    broken = replace(dataset, splits={"val": (one, two, three, replace(four, target=None))})
    (record,) = run(broken, tmp_path / "store", ["synthetic:noise"], depth_error())
    assert record.metrics[0].n == 1
    assert {skipped.item: skipped.reason[:31] for skipped in record.skipped} == {
        "1.png": "has a target (1.npy) of float64",
        "2.png": "has a target (2.npy) that canno",
        "3.png": "has no target",
    }
    (none,) = run(replace(dataset, provides=frozenset()), tmp_path / "other", ["synthetic:noise"], depth_error())
    assert none.status == "not_applicable"
    assert none.error == "depth-error needs targets, which the data set depths does not have"


def test_a_target_is_cropped_with_the_picture(tmp_path: Path) -> None:
    seen: list[np.ndarray] = []

    @probe("cropped", reads=[dense("val", change="crop:0.5")], metric=MEAN, data=["targets"])
    def cropped(work: Work) -> Iterator[Yielded]:
        for image in work.images("val", change="crop:0.5"):
            assert image.target_HW is not None
            seen.append(image.target_HW)
            yield image, 0.0

    run(depths(tmp_path), tmp_path / "store", ["synthetic:noise"], cropped())
    assert seen[2].shape == (96, 96)
    assert np.unique(seen[2][:48]).tolist() == [0]
    assert np.unique(seen[2][48:, :48]).tolist() == [3]
    assert np.unique(seen[2][48:, 48:]).tolist() == [5]
