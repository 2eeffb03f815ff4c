"""ClassCenters: one bank of class centers, as this rank's rows of a logical [K, D] matrix, and the step's negatives.

Letters: K classes, D width, R regions, M labels a region, S sampled classes.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from rice_core.errors import UserError
from rice_core.rice.loss.config import LossConfig
from rice_core.rice.loss.holders import Holders

_BLOCK = 4096
"""Rows drawn from one seed. A shard draws the blocks that it touches, so every world size sees the same matrix."""
_STD = 0.01
"""As in Partial FC. The loss sees directions alone; the length sets how far a step of fixed size turns a center."""
_DRAW, _SAMPLE = 0, 1
"""Keep the two uses of a bank's seed apart."""


class ClassCenters(nn.Module):
    """The centers of one region type, split over the ranks in contiguous blocks of rows.

    Rows are split as `torch.chunk` and DTensor's `Shard(0)` do: ceil(K / world) a rank, fewer or none on the last ones.
    Keep it out of DDP and FSDP: its gradient is sparse, is complete on the rank that owns the row, and is never averaged.

    Args:
        classes: K of the whole bank.
        dim: D, width of the embeddings.
        group: ranks that share the bank; None is the default group, or this process where none is initialised.
        seed: 0 or more; fixes the start and, with the step, the negatives. Give each bank another one.

    Raises:
        UserError: no classes or no width.
    """

    def __init__(self, classes: int, dim: int, *, group: dist.ProcessGroup | None = None, seed: int = 0) -> None:
        super().__init__()
        if classes < 1 or dim < 1:
            raise UserError(f"A bank of {classes} class centers of width {dim} is empty; give at least one of each.")
        self.classes, self.dim, self.seed = classes, dim, seed
        self.ranks = Holders.of(group)
        rows = -(-classes // self.ranks.world)
        self.start = min(self.ranks.rank * rows, classes)
        self.stop = min(self.start + rows, classes)
        self.weight = nn.Parameter(self._draw())

    def sample(self, config: LossConfig, labels_RM: torch.Tensor, *, step: int) -> torch.Tensor:
        """This shard's part of the step's negatives, (S,) ascending row indices of `weight`.

        A function of (seed, step) on global classes, so every world size and every micro-batch of a step draws the same.
        uniform: floor(rho K) classes, at least one. partial_fc: the positives of the step, then random others up to that
        number. all: every class.

        Args:
            labels_RM: the labels of *all* ranks, -1 for padding; partial_fc alone reads them.
        """
        if config.negatives == "all":
            return torch.arange(self.stop - self.start, device=self.weight.device)
        sampled_S = self._sample(config, labels_RM, step)
        low, high = np.searchsorted(sampled_S, [self.start, self.stop])
        return torch.from_numpy(sampled_S[low:high] - self.start).to(self.weight.device)

    def _sample(self, config: LossConfig, labels_RM: torch.Tensor, step: int) -> NDArray[np.int64]:
        # 0.29 * 100 is 28.999...: what was meant is 29.
        count = max(1, int(config.rho * self.classes + 1e-9))
        # numpy's generator: torch's draws otherwise on a GPU, and a training may move there and back.
        rng = np.random.default_rng([self.seed, _SAMPLE, step])
        if config.negatives == "uniform":
            return np.sort(rng.choice(self.classes, count, replace=False, shuffle=False))
        positives = torch.unique(labels_RM[labels_RM >= 0]).cpu().numpy()
        order = rng.permutation(self.classes)
        others = order[~np.isin(order, positives)][: max(0, count - len(positives))]
        return np.sort(np.concatenate([positives, others]))

    def _draw(self) -> torch.Tensor:
        weight = torch.empty(self.stop - self.start, self.dim)
        for block in range(self.start // _BLOCK, -(-self.stop // _BLOCK)):
            first = block * _BLOCK
            rng = np.random.default_rng([self.seed, _DRAW, block])
            rows = rng.standard_normal((min(_BLOCK, self.classes - first), self.dim), dtype=np.float32)
            low, high = max(first, self.start), min(first + len(rows), self.stop)
            weight[low - self.start : high - self.start] = torch.from_numpy(rows[low - first : high - first])
        return weight.mul_(_STD)
