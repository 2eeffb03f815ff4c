"""Spherical k-means with faiss: plain where everything fits in memory, else in two levels over a stream.

Two levels: k-means of each part of the stream, then k-means over those centers weighted by their counts, then a few
full Lloyd passes over the stream. Inertia is the mean of 1 - cos(x, its center), in [0, 2].

Shapes: N regions of a piece, M sub-centers, K clusters, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from rice_core.errors import MissingExtra
from rice_core.rice.curate.nouns import Floats
from rice_core.rice.curate.pieces import read_arrays, write_arrays

STARTS = 5
"""Random starts of the second level, of which the best is kept: it is cheap, and without them two levels came out up to
8 % worse than plain k-means on small sets of well-separated clusters, with them 1 to 3 % better on the mean of six seeds."""

Ints = npt.NDArray[np.int64]


class VectorStream(Protocol):
    """Pieces of unit rows, again and again in the same order."""

    @property
    def rows(self) -> int: ...

    def __iter__(self) -> Iterator[Floats]: ...

    def load(self) -> Floats: ...


class FaissKmeans:
    """The clusterer. One thread gives the same centers bit for bit, whatever the machine's number of cores.

    Args:
        fit_rows: rows that are clustered at once; a longer stream is clustered in two levels.
        refine: full Lloyd passes after the second level.
    """

    name, version, portable = "faiss-kmeans", "1", False

    def __init__(self, *, iterations: int, refine: int, fit_rows: int, seed: int) -> None:
        try:
            import faiss
        except ModuleNotFoundError as error:
            raise MissingExtra("Clustering", "curate") from error
        self._faiss = faiss
        self._iterations, self._refine, self._fit_rows, self._seed = iterations, refine, fit_rows, seed
        self._gpu = faiss.get_num_gpus() > 0

    def fit(self, stream: VectorStream, k: int, keep: Path, say: Callable[[str], None]) -> Floats:
        """Centers of unit length, (K, C). `stream` has at least k rows.

        Args:
            keep: folder where the centers of each part are left, so that a stopped run goes on.
        """
        if stream.rows <= self._fit_rows:
            return self._kmeans(stream.load(), k)
        n_parts = -(-stream.rows // self._fit_rows)
        sub_k = self._sub_clusters(stream.rows, n_parts, k)
        subs, weights = [], []
        for number, x_NC in enumerate(_regrouped(stream, self._fit_rows)):
            path = keep / f"part-{number:06d}.safetensors"
            if not path.is_file():
                write_arrays(path, self._part(x_NC, sub_k))
            part = read_arrays(path)
            subs.append(part["centers_MC"])
            weights.append(part["weight_M"])
            say(f"    first level of clustering: {number + 1}/{n_parts}")
        centers_KC = self._kmeans(np.concatenate(subs), k, np.concatenate(weights), starts=STARTS)
        for _ in range(self._refine):
            centers_KC = self._lloyd(stream, centers_KC)
        return centers_KC

    def nearest(self, centers_KC: Floats, k: int = 1) -> Callable[[Floats], tuple[Floats, Ints]]:
        """A function from rows to the cosine and number of their k nearest centers, (N, k) each, nearest first."""
        index: Any = self._faiss.IndexFlatIP(centers_KC.shape[1])
        if self._gpu:
            index = self._faiss.index_cpu_to_all_gpus(index)
        index.add(np.ascontiguousarray(centers_KC))
        return lambda x_NC: cast(tuple[Floats, Ints], index.search(np.ascontiguousarray(x_NC), k))

    def _sub_clusters(self, rows: int, n_parts: int, k: int) -> int:
        """Clusters of each part: four times k where all their centers fit into memory, and always k in all."""
        last = rows - (n_parts - 1) * self._fit_rows
        fewest = max(-(-k // n_parts), -(-(k - last) // (n_parts - 1)))
        return max(fewest, min(4 * k, self._fit_rows // n_parts))

    def _part(self, x_NC: Floats, k: int) -> dict[str, npt.NDArray[Any]]:
        if len(x_NC) <= k:
            return {"centers_MC": x_NC, "weight_M": np.ones(len(x_NC), np.float32)}
        centers_MC = self._kmeans(x_NC, k)
        _, label_N1 = self.nearest(centers_MC)(x_NC)
        count_M = np.bincount(label_N1[:, 0], minlength=k).astype(np.float32)
        return {"centers_MC": centers_MC[count_M > 0], "weight_M": count_M[count_M > 0]}

    def _kmeans(self, x_NC: Floats, k: int, weight_N: Floats | None = None, starts: int = 1) -> Floats:
        kmeans = self._faiss.Kmeans(
            x_NC.shape[1],
            k,
            niter=self._iterations,
            nredo=starts,
            seed=self._seed,
            spherical=True,
            gpu=self._gpu,
            # All rows count; faiss would draw 256 a cluster, and print a warning below 39.
            max_points_per_centroid=10**9,
            min_points_per_centroid=1,
        )
        kmeans.train(x_NC, weights=weight_N)
        return cast(Floats, kmeans.centroids)

    def _lloyd(self, stream: VectorStream, centers_KC: Floats) -> Floats:
        """One full pass: every row to its nearest center, every center to the direction of its rows' mean."""
        nearest = self.nearest(centers_KC)
        sum_KC = np.zeros(centers_KC.shape, np.float64)
        for x_NC in stream:
            if len(x_NC):
                _, label_N1 = nearest(x_NC)
                add_rows(sum_KC, label_N1[:, 0], x_NC)
        length_K1 = np.linalg.norm(sum_KC, axis=1, keepdims=True)
        # A center that lost all its rows stays where it is, and is pruned later.
        return np.where(length_K1 > 1e-9, sum_KC / length_K1.clip(1e-9), centers_KC).astype(np.float32)


def add_rows(sum_KC: npt.NDArray[np.float64], label_N: Ints, x_NC: Floats) -> None:
    """sum[k] += the sum of the rows labelled k; a sorted reduction, since np.add.at is slow."""
    order_N = np.argsort(label_N, kind="stable")
    labels, starts = np.unique(label_N[order_N], return_index=True)
    sum_KC[labels] += np.add.reduceat(x_NC[order_N].astype(np.float64), starts, axis=0)


def _regrouped(stream: Iterable[Floats], rows: int) -> Iterator[Floats]:
    """The same rows in runs of `rows`."""
    waiting: list[Floats] = []
    held = 0
    for x_NC in stream:
        while len(x_NC):
            taken = x_NC[: rows - held]
            x_NC = x_NC[len(taken) :]
            waiting.append(taken)
            held += len(taken)
            if held == rows:
                yield np.concatenate(waiting)
                waiting, held = [], 0
    if waiting:
        yield np.concatenate(waiting)
