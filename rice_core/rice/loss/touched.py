"""Touched: the centers of this rank that one step reads and writes.

Letters: T touched rows, S of them sampled as negatives, D width, C regions, M places for positives, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.config import LossConfig
from rice_core.rice.loss.counted import Counted


@dataclass(frozen=True)
class PositivePairs:
    """Positives that this rank owns: region, place among its labels, touched row."""

    region_P: torch.Tensor
    place_P: torch.Tensor
    row_P: torch.Tensor

    def split(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """At most `size` at a time, so that their vectors take no more than the embeddings of a chunk."""
        return zip(*(torch.split(index_P, size) for index_P in (self.region_P, self.place_P, self.row_P)), strict=True)


@dataclass(frozen=True)
class Touched:
    """The sampled negatives first, so that they are one slice, then the positives that are not among them."""

    index_T: torch.Tensor
    """Rows of `ClassCenters.weight`, each once."""
    sampled: int
    """S."""
    unit_TD: torch.Tensor
    norm_T1: torch.Tensor
    start: int
    """Global class of the shard's first row."""
    sorted_T: torch.Tensor
    order_T: torch.Tensor

    def pairs(self, labels_CM: torch.Tensor) -> PositivePairs:
        """Where the labels that this rank owns are; the other ranks find the rest."""
        local_CM = labels_CM - self.start
        slot_CM = torch.searchsorted(self.sorted_T, local_CM)
        padded_T = torch.cat([self.sorted_T, self.sorted_T.new_full((1,), torch.iinfo(torch.int64).min)])
        # Every label of this shard is among the touched rows, so what is not found is padding or another rank's.
        found_CM = (padded_T[slot_CM] == local_CM) & (labels_CM >= 0)
        region_P, place_P = found_CM.nonzero(as_tuple=True)
        return PositivePairs(region_P, place_P, self.order_T[slot_CM[region_P, place_P]])


def touch(centers: ClassCenters, counted: Counted, config: LossConfig, *, step: int, dtype: torch.dtype) -> Touched:
    """The step's sample and the positives, normalised; nothing at all where no region counts."""
    weight_KD = centers.weight.detach()
    labels = counted.classes
    sampled_S = centers.sample(config, labels, step=step) if len(labels) else labels
    positives = labels[(labels >= centers.start) & (labels < centers.stop)] - centers.start
    index_T = torch.cat([sampled_S, positives[~torch.isin(positives, sampled_S)]])
    unit_TD, norm_T1 = normalized(weight_KD[index_T].to(dtype))
    ordered = index_T.sort()
    return Touched(index_T, len(sampled_S), unit_TD, norm_T1, centers.start, ordered.values, ordered.indices)


def normalized(x_RD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows over their length, and the length, (R, 1); a row of zeros stays one."""
    norm_R1 = torch.linalg.vector_norm(x_RD, dim=1, keepdim=True)
    return x_RD / norm_R1.clamp(min=torch.finfo(x_RD.dtype).tiny), norm_R1


def denormalized_(d_RD: torch.Tensor, unit_RD: torch.Tensor, norm_R1: torch.Tensor) -> torch.Tensor:
    """The gradient at x from that at x / |x|, in place: (d - (d.u) u) / |x|; 0 where x = 0 has no direction."""
    along_R1 = torch.einsum("rd,rd->r", d_RD, unit_RD)[:, None]
    d_RD.addcmul_(unit_RD, along_R1, value=-1)
    return d_RD.mul_(torch.where(norm_R1 > 0, 1 / norm_R1, 0))
