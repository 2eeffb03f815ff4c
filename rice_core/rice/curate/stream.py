"""Features as a stream: the pieces of the feature stage one after the other, reduced and of unit length.

Shapes: N regions of a piece, L more of it that could not be described, D width of the descriptor, C width after the reduction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rice_core.rice.curate.described import problems
from rice_core.rice.curate.nouns import Floats
from rice_core.rice.curate.pieces import read_arrays


@dataclass(frozen=True)
class Pca:
    """x -> (x - mean) components, the directions of largest variance, in float32."""

    mean_D: Floats
    components_DC: Floats

    def __call__(self, x_ND: Floats) -> Floats:
        reduced: Floats = (x_ND - self.mean_D).astype(np.float32) @ self.components_DC
        return reduced


class FeatureStream:
    """All features of the pieces, in their order; iterating reads them from disk, so they need not fit in memory.

    Args:
        reduction: a PCA, or the width of one that is fitted over the whole stream; None, or no fewer than D, leaves the
            features.
    """

    def __init__(self, pieces: Sequence[Path], reduction: Pca | int | None) -> None:
        self._pieces = pieces
        self.rows = 0
        self.lost: list[npt.NDArray[np.int64]] = []
        """lost_L of each piece: numbers, among all its regions, of those that are no rows."""
        self.problems: dict[str, str] = {}
        """Image -> why it could not be described."""
        for piece in pieces:
            arrays = read_arrays(piece)
            self.rows += len(arrays["x_ND"])
            self.lost.append(arrays.get("lost_L", np.zeros(0, np.int64)))
            self.problems |= problems(arrays)
        self.pca = reduction if isinstance(reduction, Pca) else None
        if isinstance(reduction, int) and self.rows:
            self.pca = self._fit(reduction)

    def __iter__(self) -> Iterator[Floats]:
        """(N, C) of each piece; a region without any signal is a row of zeros."""
        for piece in self._pieces:
            yield self._unit(read_arrays(piece)["x_ND"].astype(np.float32))

    def load(self) -> Floats:
        """All rows at once."""
        return np.concatenate([x_NC for x_NC in self if len(x_NC)])

    def _unit(self, x_ND: Floats) -> Floats:
        if not len(x_ND):
            return x_ND
        x_NC = x_ND if self.pca is None else self.pca(x_ND)
        unit: Floats = x_NC / np.linalg.norm(x_NC, axis=1, keepdims=True).clip(1e-9)
        return unit

    def _fit(self, components: int) -> Pca | None:
        """Exact, from the sums of x and of its products over the stream."""
        total_D: Any = None
        product_DD: Any = None
        for piece in self._pieces:
            x_ND = read_arrays(piece)["x_ND"].astype(np.float64)
            if len(x_ND):
                total_D = x_ND.sum(0) if total_D is None else total_D + x_ND.sum(0)
                product_DD = x_ND.T @ x_ND if product_DD is None else product_DD + x_ND.T @ x_ND
        if total_D is None or components >= len(total_D):
            return None
        mean_D = total_D / self.rows
        _, directions_DD = np.linalg.eigh(product_DD / self.rows - np.outer(mean_D, mean_D))
        components_DC = directions_DD[:, ::-1][:, :components]
        # The sign of an eigenvector is arbitrary: its largest entry is made positive.
        largest_C = np.abs(components_DC).argmax(0)
        components_DC = components_DC * np.sign(components_DC[largest_C, np.arange(components)])
        return Pca(mean_D.astype(np.float32), np.ascontiguousarray(components_DC, dtype=np.float32))
