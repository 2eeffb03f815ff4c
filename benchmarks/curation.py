"""Curation: how fast regions are described, and k-means against scikit-learn: `python -m benchmarks curation`.

describe: the feature stage (decode, crop, HOG) of a drawn world, with one worker process and with two, started anew
each time as a user starts them. k-means: seconds of `FaissKmeans` over uneven groups, and of scikit-learn's
MiniBatchKMeans (its own start, k-means++; without its reassignment of small clusters, with which
it does far worse at the full size), which goes on until it reaches the same inertia or has taken twice as long.
`python -m benchmarks.curation --full` measures 1M x 512 and K = 10,000, six iterations (half an hour on two cores); the short
form 100k x 128 and K = 1000, twenty.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measuring import alternate, keep, machine, matmul_rate, median
from rice_core.progress import Progress
from rice_core.rice.curate.cluster import FaissKmeans
from rice_core.rice.curate.find import DescribeJob, FindJob, describe, find, read_found
from rice_core.rice.curate.pieces import spread
from rice_core.rice.curate.settings import CurateSettings
from rice_core.rice.curate.sources import list_sources
from rice_core.world.layouts.coco import write_coco

SCENES, CHUNK, ROUNDS = 3000, 128, 2
Floats = npt.NDArray[np.float32]


class Rows:
    """A stream that lies in memory."""

    def __init__(self, x_NC: Floats) -> None:
        self._x_NC, self.rows = x_NC, len(x_NC)

    def __iter__(self) -> Iterator[Floats]:
        return iter(np.array_split(self._x_NC, 20))

    def load(self) -> Floats:
        return self._x_NC


def main(full: bool = False) -> None:
    """Both parts."""
    before = machine()
    described = _describe()
    clustered = _cluster(*((1_000_000, 512, 10_000, 6) if full else (100_000, 128, 1000, 20)))
    claims = [
        f"HOG describes {described['regions_per_second_1']} regions/s with one worker and "
        f"{described['regions_per_second_2']} with two ({described['regions']} regions, start of the processes included)",
        f"k-means of {clustered['rows']} x {clustered['width']}, K = {clustered['k']}, {clustered['iterations']} "
        f"iterations: {clustered['faiss_seconds']} s ({clustered['floor_seconds']} s are its matrix products alone), "
        f"inertia {clustered['faiss_inertia']}; scikit-learn's MiniBatchKMeans {clustered['sklearn_seconds']} s, "
        f"inertia {clustered['sklearn_inertia']}",
    ]
    keep("curation-full" if full else "curation", claims, {"describe": described, "kmeans": clustered}, before)


def _describe() -> dict[str, Any]:
    settings = CurateSettings(proposals="coco", text="none", min_image=0, min_box=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources, _ = list_sources(write_coco(folder / "world", seed=5, train=SCENES, val=1, workers=2), settings)
        parts = [tuple(sources[start : start + CHUNK]) for start in range(0, len(sources), CHUNK)]
        pieces = [folder / f"found/{n:06d}.jsonl" for n in range(len(parts))]
        for part, piece in zip(parts, pieces, strict=True):
            find(FindJob(part, settings, "cpu", piece))
        regions = sum(len(found.objects) for piece in pieces for found in read_found(piece))

        def go(workers: int) -> None:
            jobs = [
                DescribeJob(part, settings, "cpu", piece, folder / f"x{workers}/{piece.stem}.safetensors", False)
                for part, piece in zip(parts, pieces, strict=True)
            ]
            spread(describe, jobs, workers=workers, progress=Progress(quiet=True), what="")

        one, two = alternate([lambda: go(1), lambda: go(2)], ROUNDS)
    return {
        "scenes": SCENES,
        "regions": regions,
        "regions_per_second_1": round(regions / median(one)),
        "regions_per_second_2": round(regions / median(two)),
    }


def _cluster(rows: int, width: int, k: int, iterations: int) -> dict[str, Any]:
    x_NC = _groups(rows, width, 2 * k)
    clusterer = FaissKmeans(iterations=iterations, refine=0, fit_rows=rows, seed=0)
    floor = iterations * 2 * rows * width * k / matmul_rate()
    began = time.perf_counter()
    centers_KC = clusterer.fit(Rows(x_NC), k, Path("unused"), lambda _: None)
    ours = time.perf_counter() - began
    target = _inertia(clusterer, x_NC, centers_KC)
    print(f"faiss: {ours:.0f} s, inertia {target:.5f}", flush=True)
    passes = _mini_batches(clusterer, x_NC, k, target, 2 * ours)
    theirs, reached = passes[-1]
    return {
        "rows": rows,
        "width": width,
        "k": k,
        "iterations": iterations,
        "floor_seconds": round(floor, 1),
        "faiss_seconds": round(ours, 1),
        "faiss_inertia": round(target, 5),
        "sklearn_seconds": round(theirs, 1),
        "sklearn_inertia": round(reached, 5),
        "sklearn_passes": [[round(seconds, 1), round(inertia, 5)] for seconds, inertia in passes],
    }


def _mini_batches(
    clusterer: FaissKmeans, x_NC: Floats, k: int, target: float, most: float
) -> list[tuple[float, float]]:
    """Seconds and inertia of MiniBatchKMeans after each pass, until within 1 % of the target or after `most` seconds."""
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(k, batch_size=max(10_000, 2 * k), reassignment_ratio=0.0, random_state=0)
    rng, spent, passes = np.random.default_rng(0), 0.0, list[tuple[float, float]]()
    while spent < most and not (passes and passes[-1][1] <= 1.01 * target):
        began = time.perf_counter()
        for batch_N in np.array_split(rng.permutation(len(x_NC)), max(1, len(x_NC) // model.batch_size)):
            model.partial_fit(x_NC[batch_N])
        spent += time.perf_counter() - began
        centers_KC = model.cluster_centers_ / np.linalg.norm(model.cluster_centers_, axis=1, keepdims=True).clip(1e-9)
        passes.append((spent, _inertia(clusterer, x_NC, centers_KC.astype(np.float32))))
        print(f"scikit-learn: {spent:.0f} s, inertia {passes[-1][1]:.5f}", flush=True)
    return passes


def _inertia(clusterer: FaissKmeans, x_NC: Floats, centers_KC: Floats) -> float:
    """Over the first 100,000 rows, which are as random as any."""
    return float(1 - clusterer.nearest(centers_KC)(x_NC[:100_000])[0].mean())


def _groups(rows: int, width: int, groups: int) -> Floats:
    """Unit vectors around uneven groups."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((groups, width), dtype=np.float32)
    x_NC = centers[rng.choice(groups, rows, p=rng.dirichlet(np.ones(groups)))]
    x_NC += rng.standard_normal(x_NC.shape, dtype=np.float32)
    x_NC /= np.linalg.norm(x_NC, axis=1, keepdims=True)
    return x_NC


if __name__ == "__main__":
    main(full="--full" in sys.argv[1:])
