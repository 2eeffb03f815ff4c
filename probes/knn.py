"""k-NN on pooled patch features: what lies near what, without any training.

Features that do not depend on the image must land on chance, 1 / classes.
Letters: M val and N train items, C channels, K classes, k neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from probes.classify import BEST, ItemProbe, outcome
from rice_core.errors import UserError
from rice_core.record import Outcome

if TYPE_CHECKING:
    import torch

    from rice_core.features import Encoder
    from rice_core.probe import Work

COLDEST, HOTTEST = 1e-6, 100.0
"""Of temperatures: cosines are told apart by a millionth, and differ by 2 at most."""
_SIMILARITIES = 2**25
"""Entries of one block of the similarity matrix: 128 MiB."""


@dataclass(frozen=True)
class Knn(ItemProbe):
    """The k nearest train items by cosine vote; equal votes go to the class with the nearest one.

    `temperature` 0 is a plain majority; above 0 a vote weighs exp(cosine / temperature), as in DINO (0.07).
    """

    k: Annotated[int, Field(ge=1)] = 10
    temperature: float = 0.0

    name: ClassVar[str] = "knn"
    summary: ClassVar[str] = "k-NN classification of pooled object (or image) features"
    instruments: ClassVar[tuple[str, ...]] = ("torch",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature != 0 and not COLDEST <= self.temperature <= HOTTEST:
            raise UserError(
                f"knn: temperature={self.temperature:g} cannot be; write 0 for a plain majority, 0.07 as DINO, or another number from "
                f"{COLDEST:g}, below which only the nearest item votes (k=1), to {HOTTEST:g}, above which all votes weigh the same."
            )
        # Zero below zero is zero, and must be one cell with it.
        object.__setattr__(self, "temperature", abs(self.temperature))

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """See `rice_core.probe.Probe`. Nothing here is random: every seed gives the same numbers."""
        import torch

        train, val = self.split(work, encoder)
        if self.k > len(train.ids):
            raise UserError(
                f"knn: k={self.k} neighbours of only {len(train.ids)} train items would give every item the same votes; "
                f"write a smaller k, such as knn?k={max(1, len(train.ids) // 10)}."
            )
        x_NC, y_N = (torch.from_numpy(array).to(encoder.device) for array in (train.x_NC, train.y_N))
        # Five of five classes are no guess, and fewer than five neighbours cannot vote for five.
        best = BEST if len(np.unique(train.y_N)) > BEST and self.k >= BEST else 1
        rows = max(1, _SIMILARITIES // len(x_NC))
        starts = work.progress(range(0, len(val.x_NC), rows), f"{encoder.spec.title}: nearest neighbours")
        blocks = (torch.from_numpy(val.x_NC[start : start + rows]).to(encoder.device) for start in starts)
        ranked_MR = torch.cat(
            [ranked(votes(block_MC, x_NC, y_N, self.k, self.temperature), best) for block_MC in blocks]
        )
        return outcome(ranked_MR.cpu().numpy().astype(np.int64), val, self.pooling, self._assumptions(best))

    def _assumptions(self, best: int) -> tuple[str, ...]:
        how = f"weighted by exp(cosine / {self.temperature})" if self.temperature else "by plain majority"
        said = f"The {self.k} nearest train items by cosine vote {how}; equal votes go to the class with the nearest."
        if best == 1:
            return (said,)
        return said, "top5 takes the five classes with the most votes; a class without a vote is no guess."


def votes(
    x_MC: torch.Tensor, train_NC: torch.Tensor, train_y_N: torch.Tensor, k: int, temperature: float
) -> torch.Tensor:
    """What the k most similar of the unit vectors `train_NC` vote for each class, [M, K]; k is at most N."""
    import torch

    # Equal vectors must stay equal: the product's rounding differs by position, and would break their ties by it.
    cosine_MN = (x_MC @ train_NC.T).mul_(2**20).round_().div_(2**20)
    cosine_Mk, nearest_Mk = cosine_MN.topk(k, dim=1)
    # Halves of halves never sum to a whole vote, and a nearer one outweighs all that are farther.
    rank_k = torch.arange(1, cosine_Mk.shape[1] + 1, dtype=torch.float64, device=x_MC.device)
    weight_Mk = (1 + 0.5**rank_k).expand(cosine_Mk.shape)
    if temperature:
        # Relative to the nearest, so that a small temperature cannot overflow.
        weight_Mk = torch.exp((cosine_Mk - cosine_Mk[:, :1]).double() / temperature)
    votes_MK = torch.zeros(len(x_MC), int(train_y_N.max()) + 1, dtype=torch.float64, device=x_MC.device)
    return votes_MK.scatter_add_(1, train_y_N[nearest_Mk], weight_Mk)


def ranked(votes_MK: torch.Tensor, best: int) -> torch.Tensor:
    """The classes with the most votes, [M, best], -1 where none is left with any; of equal ones the first, as argmax."""
    sorted_MK, class_MK = votes_MK.sort(dim=1, descending=True, stable=True)
    return class_MK.masked_fill(sorted_MK <= 0, -1)[:, :best]
