"""The settings of the region cluster discrimination loss; the defaults are the paper's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rice_core.spec import Frozen


class LossConfig(Frozen):
    """Equations 3 and 4 of the paper and what it leaves open (design: sim() shows neither s nor m)."""

    form: Literal["two_sided", "softmax"] = "two_sided"
    """two_sided: log(1 + sum of exp(-positive)) + log(1 + sum of exp(negative)). softmax: a margin softmax for each
    positive against the negatives, averaged over the positives."""
    margin: Literal["arc", "cos"] = "arc"
    """arc: cos(theta + m), continued by c - m sin m past theta + m = pi (ArcFace). cos: c - m (CosFace)."""
    m: float = Field(default=0.3, ge=0)
    margin_warm_up: int = Field(default=0, ge=0)
    """Steps over which m rises linearly from 0; an arc margin can collapse early in short trainings."""
    margin_grad: Literal["exact", "straight_through"] = "exact"
    """straight_through: the margin moves the value, and the gradient is that of the plain cosine."""
    s: float = Field(default=64.0, gt=0)
    negatives: Literal["uniform", "partial_fc", "all"] = "uniform"
    """uniform: floor(rho K) classes, independent of the positives. partial_fc: the step's positives first, then random
    ones up to floor(rho K). all: every class."""
    rho: float = Field(default=0.1, gt=0, le=1)
    interclass_filter: float | None = Field(default=None, gt=-1, le=1)
    """Leave out negatives whose cosine to the region exceeds this (likely the same class under another label)."""
    chunk: int = Field(default=4096, ge=1)
    """Regions whose logits exist at once. The result does not depend on it."""
