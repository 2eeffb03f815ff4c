"""Ema: an exponential moving average of the trunk's weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """average <- decay * average + (1 - decay) * weight, after every step; it starts as a copy of the weights.

    Args:
        parameters: by name; under FSDP2 each rank averages its own part.
        decay: 0 to 1.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor], decay: float) -> None:
        self.average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        self._update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Take the weights of this step in."""
        mine = [_local(average) for average in self.average.values()]
        self._update(mine, [_local(parameters[name].detach()) for name in self.average], None)


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
