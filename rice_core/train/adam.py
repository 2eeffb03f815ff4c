"""Adam: AdamW over a network.

A checkpoint holds of the two:

    network.NAME         weights
    adamw.NAME.SLOT      their moments
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


class Adam:
    """AdamW whose weight decay is for the matrices of layers alone: no norm, bias, token, angle, scale, or table of embeddings.

    Args:
        network: as it is trained: already on its device, and sharded where it is.
        rate: until the first `update`.
        clip: norm to which the gradient is clipped.
        factors: of the rate, by parameter; those that are not named have the rate itself.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        rate: float,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        clip: float | None = None,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        self._network, self._clip = network, clip
        groups = _groups(network, weight_decay, factors or {})
        self._optimizer = torch.optim.AdamW(groups, lr=rate, betas=betas, eps=eps)

    def gradient_norm(self) -> torch.Tensor:
        """Of all gradients together; under FSDP2 a DTensor."""
        return get_total_norm([p.grad for p in self._network.parameters() if p.grad is not None])

    def update(self, norm: torch.Tensor, rate: float) -> None:
        """Clip the gradients, whose norm this is, make the step and forget them."""
        if self._clip is not None:
            clip_grads_with_norm_(self._network.parameters(), self._clip, norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self._optimizer.step()
        self._optimizer.zero_grad()

    def parameters(self) -> dict[str, nn.Parameter]:
        """The network's, by name, as they are now."""
        return dict(self._network.named_parameters())

    # The rest as `rice_core.train.learner.Learner` says.

    def tensors(self) -> dict[str, torch.Tensor]:
        # Each once: a checkpoint takes no tensor under two names, as tied weights have them.
        own = self.parameters().keys() | {name for name, _ in self._network.named_buffers()}
        state = self._network.state_dict()
        out = {f"network.{name}": value.detach() for name, value in state.items() if name in own}
        for name, parameter in self.parameters().items():
            out |= {f"adamw.{name}.{key}": value for key, value in slots(self._optimizer, parameter).items()}
        return out

    def counts(self) -> dict[str, float]:
        state = self._optimizer.state
        return {f"adamw.{name}": float(state[p]["step"]) for name, p in self.parameters().items() if p in state}

    def recount(self, counts: Mapping[str, Any]) -> None:
        for name, parameter in self.parameters().items():
            if f"adamw.{name}" in counts:
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(counts[f"adamw.{name}"], dtype=torch.float32),
                    "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                    "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
                }


def slots(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
    """The tensors that an optimizer keeps of a parameter; the count of steps is no tensor of the checkpoint."""
    return {key: value for key, value in optimizer.state.get(parameter, {}).items() if key != "step"}


def _groups(network: nn.Module, weight_decay: float, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in names:  # tied weights belong to the module that comes first
                decays = parameter.ndim >= 2 and name.endswith("weight") and not isinstance(module, nn.Embedding)
                groups.setdefault((decays, factors.get(names.pop(parameter), 1.0)), []).append(parameter)
    return [
        {"params": own, "weight_decay": weight_decay if decays else 0.0, "factor": factor}
        for (decays, factor), own in groups.items()
    ]
