"""k-means: two levels against plain faiss, reproducible, and the parts that it is made of."""

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest

from rice_core.errors import UserError
from rice_core.rice.curate.cluster import FaissKmeans, _regrouped, add_rows
from rice_core.rice.curate.label import cluster_regions
from rice_core.rice.curate.nouns import Floats
from rice_core.rice.curate.pieces import write_arrays
from rice_core.rice.curate.quality import purity, quality
from rice_core.rice.curate.stream import FeatureStream

K = 40


class Rows:
    """A stream that lies in memory."""

    def __init__(self, pieces: list[Floats]) -> None:
        self.pieces = pieces
        self.rows = sum(map(len, pieces))

    def __iter__(self) -> Iterator[Floats]:
        return iter(self.pieces)

    def load(self) -> Floats:
        return np.concatenate(self.pieces)


def blobs(rows: int, groups: int, noise: float, seed: int = 0) -> Floats:
    """Unit vectors around uneven groups."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((groups, 24))
    share = rng.dirichlet(np.ones(groups))
    x = centers[rng.choice(groups, rows, p=share)] + noise * rng.standard_normal((rows, 24))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def kmeans(fit_rows: int, seed: int = 0, refine: int = 5) -> FaissKmeans:
    return FaissKmeans(iterations=20, refine=refine, fit_rows=fit_rows, seed=seed)


def inertia(clusterer: FaissKmeans, x_NC: Floats, centers_KC: Floats) -> float:
    return float((1 - clusterer.nearest(centers_KC)(x_NC)[0]).mean())


def silent(_: str) -> None:
    pass


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_two_levels_reach_the_inertia_of_plain_faiss(noise: float, tmp_path: Path) -> None:
    """On the mean of some seeds: the seeds of one and the same method lie up to 20 % apart."""
    x_NC = blobs(6000, 60, noise)
    stream = Rows(list(np.array_split(x_NC, 13)))
    one, two = [], []
    for seed in range(4):
        plain, parted, keep = kmeans(6000, seed), kmeans(1500, seed), tmp_path / str(seed)
        own = faiss.Kmeans(24, K, niter=20, seed=seed, spherical=True, max_points_per_centroid=10**9)
        own.train(x_NC)
        np.testing.assert_array_equal(plain.fit(stream, K, keep, silent), own.centroids)
        assert not keep.exists()
        one.append(inertia(plain, x_NC, own.centroids))
        two.append(inertia(parted, x_NC, parted.fit(stream, K, keep, silent)))
        assert len(list(keep.glob("part-*"))) == 4
    assert np.mean(two) <= 1.01 * np.mean(one)


def test_refining_lowers_the_inertia_and_keeps_unit_length(tmp_path: Path) -> None:
    x_NC = blobs(4000, 60, 1.0)
    stream = Rows(list(np.array_split(x_NC, 5)))
    rough, fine = (kmeans(1000, refine=n).fit(stream, K, tmp_path / str(n), silent) for n in (0, 5))
    assert inertia(kmeans(1), x_NC, fine) < inertia(kmeans(1), x_NC, rough)
    np.testing.assert_allclose(np.linalg.norm(fine, axis=1), 1, atol=1e-5)


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    stream = Rows(list(np.array_split(blobs(2000, 50, 0.6), 4)))
    for fit_rows in (2000, 600):
        runs = [
            kmeans(fit_rows, seed).fit(stream, K, tmp_path / f"{fit_rows}-{n}", silent)
            for n, seed in enumerate((0, 0, 1))
        ]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert (runs[0] != runs[2]).any()


def test_parts_that_are_finished_are_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Rows(list(np.array_split(blobs(2000, 50, 0.6), 4)))
    first = kmeans(500).fit(stream, K, tmp_path, silent)
    (tmp_path / "part-000002.safetensors").unlink()
    made: list[int] = []
    real = FaissKmeans._part
    monkeypatch.setattr(FaissKmeans, "_part", lambda self, x, k: made.append(len(x)) or real(self, x, k))
    np.testing.assert_array_equal(kmeans(500).fit(stream, K, tmp_path, silent), first)
    assert made == [500]


def test_a_part_smaller_than_its_clusters_is_kept_row_by_row(tmp_path: Path) -> None:
    x_NC = blobs(130, 60, 0.6)
    assert kmeans(60).fit(Rows([x_NC]), 100, tmp_path, silent).shape == (100, 24)


def test_regrouping_keeps_every_row_in_order() -> None:
    x_NC = blobs(103, 5, 1.0)
    pieces = [x_NC[:40], x_NC[40:40], x_NC[40:41], x_NC[41:]]
    runs = list(_regrouped(pieces, 25))
    assert [len(run) for run in runs] == [25, 25, 25, 25, 3]
    np.testing.assert_array_equal(np.concatenate(runs), x_NC)


def test_sums_by_label() -> None:
    x_NC = blobs(50, 5, 1.0)
    label_N = np.random.default_rng(0).integers(0, 7, 50)
    label_N[label_N == 3] = 4
    expected, found = np.zeros((7, 24)), np.zeros((7, 24))
    np.add.at(expected, label_N, x_NC)
    add_rows(found, label_N, x_NC)
    np.testing.assert_allclose(found, expected)


def pieces(folder: Path, x_ND: Floats, sizes: list[int]) -> list[Path]:
    paths = [folder / f"{number}.safetensors" for number in range(len(sizes))]
    for path, part in zip(paths, np.split(x_ND, np.cumsum(sizes)[:-1]), strict=True):
        write_arrays(path, {"x_ND": part.astype(np.float16)})
    return paths


def test_the_reduction_is_a_pca_of_the_whole_stream(tmp_path: Path) -> None:
    from sklearn.decomposition import PCA

    x_ND = (np.random.default_rng(0).standard_normal((300, 20)) * np.arange(1, 21)).astype(np.float16)
    stream = FeatureStream(pieces(tmp_path, x_ND, [100, 0, 150, 50]), 6)
    expected = PCA(6, svd_solver="full").fit_transform(x_ND.astype(np.float64))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = stream.load()
    assert stream.rows == 300
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3)


def test_tiny_clusters_are_dropped_and_their_rows_move(tmp_path: Path) -> None:
    stream = FeatureStream(pieces(tmp_path, blobs(60, 60, 1.0), [25, 35]), None)
    options = {"k": 30, "most": 1, "say": silent, "what": "regions"}
    everything = cluster_regions(stream, kmeans(1000), tmp_path / "all", smallest=1, **options)
    found = cluster_regions(stream, kmeans(1000), tmp_path / "some", smallest=3, **options)
    label_N = np.concatenate([found.labels(0), found.labels(1)])[:, 0]
    assert everything.classes == 30
    assert 0 < found.pruned == 30 - found.classes
    assert set(label_N) == set(range(found.classes))
    assert np.bincount(label_N).min() >= 3
    assert found.inertia > everything.inertia


def test_fewer_regions_than_clusters_are_refused_with_the_most_there_can_be(tmp_path: Path) -> None:
    stream = FeatureStream(pieces(tmp_path, blobs(9, 3, 0.1), [9]), None)
    with pytest.raises(UserError, match="give --classes 9 at most"):
        cluster_regions(stream, kmeans(100), tmp_path, k=10, most=1, smallest=1, say=silent, what="regions")


def test_purity_and_its_control() -> None:
    truth_N = np.repeat(np.arange(4), 50)
    assert purity(truth_N + 3, truth_N) == 1
    assert purity(np.zeros(200, np.int64), truth_N) == 0.25
    assert purity(np.array([0, 0, 0, 1]), np.array([2, 2, 1, 1])) == 0.75
    measured = quality(truth_N, truth_N, seed=0)
    assert measured["nmi"] == pytest.approx(1)
    assert measured["purity_shuffled"] < 0.4
    assert measured["nmi_shuffled"] < 0.1
