"""Holders: the processes that hold one bank together, and the four exchanges that the loss needs.

Letters: W ranks, c rows of one rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Holders:
    """A process group as this rank sees it. With one rank no exchange takes place, and torch.distributed is not asked."""

    group: dist.ProcessGroup | None = None
    rank: int = 0
    world: int = 1

    @classmethod
    def of(cls, group: dist.ProcessGroup | None) -> Holders:
        """The ranks of a group; None: of the default group, or this process alone where there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(group, dist.get_rank(group), dist.get_world_size(group))

    def gather(self, x_c: torch.Tensor) -> torch.Tensor:
        """Everyone's (c, ...) in the order of the ranks, (W, c, ...); shapes must be equal."""
        if self.world == 1:
            return x_c[None]
        all_Wc = x_c.new_empty((self.world * x_c.shape[0], *x_c.shape[1:]))
        dist.all_gather_into_tensor(all_Wc, x_c.contiguous(), group=self.group)
        return all_Wc.view(self.world, *x_c.shape)

    def greatest(self, x: torch.Tensor) -> torch.Tensor:
        """Elementwise maximum over the ranks, in place."""
        if self.world > 1:
            dist.all_reduce(x, dist.ReduceOp.MAX, group=self.group)
        return x

    def total(self, x: torch.Tensor) -> torch.Tensor:
        """Elementwise sum over the ranks, in place."""
        if self.world > 1:
            dist.all_reduce(x, group=self.group)
        return x

    def own_total(self, x_Wc: torch.Tensor) -> torch.Tensor:
        """Sum over the ranks of (W * c, ...), of which each keeps its own (c, ...)."""
        if self.world == 1:
            return x_Wc
        own_c = x_Wc.new_empty((x_Wc.shape[0] // self.world, *x_Wc.shape[1:]))
        dist.reduce_scatter_tensor(own_c, x_Wc, group=self.group)
        return own_c
