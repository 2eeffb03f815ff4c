"""The cluster stage: features -> centers -> a label for every region, without empty and tiny clusters.

Shapes: N regions of a piece, K clusters, C channels, M nearest clusters kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rice_core.digest import json_digest
from rice_core.disk.files import write_atomically
from rice_core.errors import UserError
from rice_core.rice.curate.cluster import FaissKmeans
from rice_core.rice.curate.nouns import Floats
from rice_core.rice.curate.pieces import read_arrays, write_arrays
from rice_core.rice.curate.stream import FeatureStream
from rice_core.rice.regions import CENTERS

_INERTIA = "inertia.safetensors"


@dataclass(frozen=True)
class Clusters:
    """A finished clustering; labels lie in the folder's pieces."""

    centers_KC: Floats
    inertia: float
    """Mean of 1 - cosine to the assigned center."""
    pruned: int
    folder: Path

    @property
    def classes(self) -> int:
        return len(self.centers_KC)

    def labels(self, chunk: int) -> npt.NDArray[np.int32]:
        """(N, M) of a chunk, nearest first; -1 for a region that could not be described."""
        return read_arrays(self.folder / f"{chunk:06d}.safetensors")["label_NM"]


def cluster_regions(
    stream: FeatureStream,
    clusterer: FaissKmeans,
    folder: Path,
    *,
    k: int,
    most: int,
    smallest: int,
    say: Callable[[str], None],
    what: str,
) -> Clusters:
    """Cluster the stream into at most `k` clusters, each of at least `smallest` rows; finished pieces are used again.

    Args:
        most: M, nearest clusters kept for each row.

    Raises:
        UserError: fewer rows than clusters.
    """
    if stream.rows < k:
        flag = "--classes" if what == "regions" else "--image-classes"
        raise UserError(
            f"{k} clusters were asked for and there are {stream.rows} {what} to cluster; "
            + (
                f"give {flag} {stream.rows} at most, or more images."
                if stream.rows > 1
                else "give more images, or smaller filters."
            )
        )
    path = folder / CENTERS
    if not path.is_file():
        centers_KC = clusterer.fit(stream, k, folder, say)
        count_K, _ = _assign(stream, clusterer, centers_KC, None, 1)
        kept_KC = centers_KC[count_K >= min(smallest, count_K.max())]
        _, inertia = _assign(stream, clusterer, kept_KC, folder, min(most, len(kept_KC)))
        arrays = {"centers_KC": kept_KC, "inertia": np.array([inertia]), "pruned": np.array([k - len(kept_KC)])}
        if stream.pca is not None:
            arrays |= {"pca_mean_D": stream.pca.mean_D, "pca_components_DC": stream.pca.components_DC}
        # Written last: labels are there when the centers are.
        write_arrays(path, arrays)
    found = read_arrays(path)
    return Clusters(found["centers_KC"], float(found["inertia"][0]), int(found["pruned"][0]), folder)


def label_regions(stream: FeatureStream, clusterer: FaissKmeans, centers: Path, folder: Path, *, most: int) -> Clusters:
    """Label the stream by centers that are there already; a cluster may have no row.

    Args:
        centers: a file as `cluster_regions` writes it. most: M, nearest clusters kept for each row.
    """
    centers_KC = read_arrays(centers)["centers_KC"]
    if not (folder / CENTERS).is_file():
        _, inertia = _assign(stream, clusterer, centers_KC, folder, min(most, len(centers_KC)))
        write_arrays(folder / _INERTIA, {"inertia": np.array([inertia])})
        # The same bytes, by which a training knows that two folders have the same classes; written last.
        write_atomically(folder / CENTERS, centers.read_bytes())
    return Clusters(centers_KC, float(read_arrays(folder / _INERTIA)["inertia"][0]), 0, folder)


def told_clusters(categories: Sequence[Sequence[int | None]], names: Sequence[str], folder: Path) -> Clusters:
    """The proposer's own categories in the place of clusters, for a ceiling; each is a center of its own.

    Args:
        categories: of the regions of each chunk, numbers in `names`.

    Raises:
        UserError: the proposer does not know them.
    """
    if any(category is None for chunk in categories for category in chunk) or not any(map(len, categories)):
        raise UserError("--labels truth needs regions whose category is known; use --proposals coco.")
    centers_KC = np.eye(len(names), dtype=np.float32)
    for number, chunk in enumerate(categories):
        label_NM = np.array(chunk, np.int32).reshape(-1, 1)
        write_arrays(folder / f"{number:06d}.safetensors", {"label_NM": label_NM})
    # With the names, so that equal files are equal categories.
    digest = np.frombuffer(bytes.fromhex(json_digest(list(names))), np.uint8)
    write_arrays(folder / CENTERS, {"centers_KC": centers_KC, "names_digest": digest})
    return Clusters(centers_KC, 0.0, 0, folder)


def _assign(
    stream: FeatureStream, clusterer: FaissKmeans, centers_KC: Floats, folder: Path | None, most: int
) -> tuple[npt.NDArray[np.int64], float]:
    """Rows of each cluster and the inertia; labels are written where a folder is given."""
    nearest = clusterer.nearest(centers_KC, most)
    count_K = np.zeros(len(centers_KC), np.int64)
    total = 0.0
    for chunk, x_NC in enumerate(stream):
        label_NM = np.zeros((0, most), np.int32)
        if len(x_NC):
            cosine_NM, found_NM = nearest(x_NC)
            count_K += np.bincount(found_NM[:, 0], minlength=len(centers_KC))
            total += float((1 - cosine_NM[:, 0].astype(np.float64)).sum())
            label_NM = found_NM.astype(np.int32)
        if folder is not None:
            lost_L = stream.lost[chunk]
            # np.insert counts places among the rows that are there.
            label_NM = np.insert(label_NM, lost_L - np.arange(len(lost_L)), -1, axis=0)
            write_arrays(folder / f"{chunk:06d}.safetensors", {"label_NM": label_NM})
    return count_K, total / max(1, stream.rows)
