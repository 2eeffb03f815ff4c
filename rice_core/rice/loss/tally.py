"""Tally: what a training should log of the loss, summed chunk by chunk. The loss alone does not show a collapse.

Letters: C regions of a chunk, M places for positives, S sampled classes of this rank, D width.
"""

from __future__ import annotations

import torch

from rice_core.rice.loss.counted import Counted
from rice_core.rice.loss.holders import Holders

_BINS = 2000
"""Of the histogram of negative cosines over [-1, 1]: steps of 0.001."""
_COLUMNS = 1024
"""Sampled classes, over all ranks, that the histogram looks at: a percentile needs no more, and counting is slow."""


class Tally:
    """Sums over the chunks of one call."""

    def __init__(self, like: torch.Tensor, dim: int) -> None:
        self.cosines = like.new_zeros(2)
        self.regions = like.new_zeros(2)
        self.mean_D = like.new_zeros(dim)
        self.histogram = torch.zeros(_BINS, dtype=torch.int64, device=like.device)

    def positives(
        self,
        unit_CD: torch.Tensor,
        cos_CM: torch.Tensor,
        valid_CM: torch.Tensor,
        top_C: torch.Tensor,
        found_C1: torch.Tensor,
    ) -> None:
        """Embeddings, cosines to the positives, the greatest to a negative, how many positives the ranks hold."""
        best_C = cos_CM.masked_fill(~valid_CM, -torch.inf).amax(1)
        self.mean_D += unit_CD.sum(0)
        self.cosines += torch.stack([(cos_CM * valid_CM).sum(), valid_CM.sum().to(cos_CM)])
        self.regions += torch.stack([((best_C > top_C) & valid_CM.any(1)).sum(), (found_C1 > 0).sum()]).to(self.regions)

    def negatives(self, cos_CS: torch.Tensor, valid_CM: torch.Tensor, world: int) -> None:
        """Cosines to the negatives of this rank; -inf where a class is none of the region's negatives."""
        step = 1 + cos_CS.shape[1] * world // _COLUMNS
        # Rows without a positive are the missing regions of emptier ranks.
        some = cos_CS[:, ::step].masked_fill(~valid_CM.any(1, keepdim=True), -torch.inf)
        self.histogram += torch.histc(some, _BINS, -1, 1).long()

    def stats(self, counted: Counted, classes: int, ranks: Holders) -> dict[str, torch.Tensor]:
        """Scalars, equal on every rank; NaN where nothing was counted."""
        regions = (counted.weight_WN > 0).sum()
        seen = ranks.total(self.histogram).cumsum(0)
        bin = torch.searchsorted(seen, (0.95 * seen[-1:]).ceil().long())[0]
        high = (2 * bin + 1) / _BINS - 1
        return {
            "cosine_positive": self.cosines[0] / self.cosines[1],
            "cosine_negative_p95": torch.where(seen[-1] > 0, high, torch.nan),
            "top1": self.regions[0] / regions,
            "no_positive": 1 - self.regions[1] / counted.weighted if counted.weighted else self.regions[0] * torch.nan,
            "coverage": self.cosines.new_tensor(len(counted.classes) / classes),
            "mean_feature_norm": torch.linalg.vector_norm(self.mean_D) / regions,
        }
