"""A toy world for probes: encoders with known answers and a `Work` that holds everything in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from rice_core.features import IGNORE
from rice_core.pooling import MEAN, Pooling
from rice_core.probe import DenseBatch, DenseImage, Items
from rice_core.record import Artifact
from rice_core.spec import EncoderSpec


@dataclass
class ToyEncoder:
    """Vectors of a class (or constant) mixed with noise: `signal` 1 is the oracle, 0 noise."""

    signal: float = 1.0
    constant: bool = False
    dim: int = 24
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def spec(self) -> EncoderSpec:
        return EncoderSpec(source="synthetic", model="toy")

    def see(self, labels: np.ndarray, salt: int) -> np.ndarray:
        """Labels (-1 background) of any shape -> features with a last axis of `dim`."""
        if self.constant:
            return np.full((*labels.shape, self.dim), 0.3, np.float32)
        rng = np.random.default_rng([self.seed, salt])
        noise = rng.normal(size=(*labels.shape, self.dim)) / np.sqrt(self.dim)
        return (self.signal * np.eye(self.dim)[labels + 1] + (1 - self.signal) * noise).astype(np.float32)


@dataclass
class ToyWork:
    """A fake `rice_core.probe.Work`: `sizes` squares of `grid` x `grid` cells with a few square objects each."""

    kinds: int = 8
    sizes: dict[str, int] = field(default_factory=lambda: {"train": 80, "val": 60})
    grid: int = 6
    patch: int = 4
    uneven: bool = True
    shuffle: int | None = None
    without: tuple[str, ...] = ()
    """Of "labels" and "regions": what this data set lacks."""
    crowded: float = 0.0
    """The share of columns, from the left, that are covered by a crowd region."""
    seed: int = 0
    limit: int | None = None
    encoder: Any = None
    """The cell's, for `images`."""
    skipped: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"kind {k}" for k in range(self.kinds))

    def items(self, encoder: ToyEncoder, split: str, pooling: Pooling = MEAN) -> Items:
        rng = np.random.default_rng([self.seed, split == "val"])
        size = self.sizes[split] * 3
        y_N = rng.choice(self.kinds, size, p=self._shares())
        x_NC, order = encoder.see(y_N, split == "val"), self._order(size)
        if "labels" in self.without:
            y_N = np.full_like(y_N, -1)
        clusters = [f"{split}-{row // 3}" for row in order]
        ids = tuple(f"{cluster}#{row % 3}" for cluster, row in zip(clusters, order, strict=True))
        return Items(x_NC[order], y_N[order], ids, tuple(clusters), self.classes)

    def dense(self, encoder: ToyEncoder, split: str, *, most: int | None = None) -> Iterator[DenseBatch]:
        rows = self._order(self.sizes[split])[:most]
        for start in range(0, len(rows), 16):
            cells = np.stack([self._scene(split, row) for row in rows[start : start + 16]])
            seen = [encoder.see(c, 2 * int(r) + (split == "val")) for c, r in zip(cells, rows[start:], strict=False)]
            labels = cells.repeat(self.patch, 1).repeat(self.patch, 2)
            labels[:, :, : round(self.crowded * labels.shape[2])] = IGNORE
            pixels = np.repeat(((labels + 1) * 20).astype(np.uint8)[..., None], 3, -1)
            yield DenseBatch(
                tuple(f"{split}-{row}" for row in rows[start : start + 16]),
                np.stack(seen).transpose(0, 3, 1, 2),
                None if "regions" in self.without else labels,
                pixels,
            )

    def images(self, split: str, *, most: int | None = None) -> Iterator[DenseImage]:
        for batch in self.dense(self.encoder, split, most=most):
            yield from batch

    def skip(self, item: str, reason: str) -> None:
        self.skipped[item] = reason

    def progress(self, sequence: Any, what: str) -> Iterator[Any]:
        return iter(sequence)

    def artifact_json(self, name: str, body: Any, **told: str) -> Artifact:
        return self._keep(name, body, "json", **told)

    def artifact_png(self, name: str, pixels_HW3: np.ndarray, **told: str) -> Artifact:
        assert pixels_HW3.dtype == np.uint8
        assert pixels_HW3.shape[2:] == (3,)
        return self._keep(name, pixels_HW3, "png", **told)

    def _keep(self, name: str, body: Any, kind: str, **told: str) -> Artifact:
        self.artifacts[name] = body
        return Artifact(name=name, sha256=hashlib.sha256(repr(body).encode()).hexdigest(), kind=kind, **told)

    def _shares(self) -> np.ndarray:
        shares = 1 / np.arange(1, self.kinds + 1) if self.uneven else np.ones(self.kinds)
        return shares / shares.sum()

    def _order(self, size: int) -> np.ndarray:
        return np.arange(size) if self.shuffle is None else np.random.default_rng(self.shuffle).permutation(size)

    def _scene(self, split: str, row: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, split == "val", row])
        cells = np.full((self.grid, self.grid), -1)
        for _ in range(3):
            y, x, side = [*rng.integers(0, self.grid - 1, 2).tolist(), int(rng.integers(1, 3))]
            cells[y : y + side, x : x + side] = rng.choice(self.kinds, p=self._shares())
        return cells


@pytest.fixture
def toy_encoder() -> type[ToyEncoder]:
    return ToyEncoder


@pytest.fixture
def toy_work() -> type[ToyWork]:
    return ToyWork
