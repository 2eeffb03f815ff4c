"""Learner: an objective with its optimizers and moving average. It makes one step, and names what a checkpoint holds:

network.NAME         weights of the trunk and of what trains beside it
adamw.NAME.SLOT      their moments
ema.NAME             their moving average
banks.TYPE.weight    class centers, one logical [K, D] whatever the number of ranks
banks.TYPE.SLOT      the moments and step counts of their rows
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from rice_core.ranks import Ranks, reducing, reshard, spread
from rice_core.rice.batch import Batch
from rice_core.rice.config import OptimizerConfig, TrainConfig
from rice_core.rice.loss.row_adamw import RowAdamW
from rice_core.train.ema import Ema

if TYPE_CHECKING:
    from rice_core.rice.objectives import Objective


UNTRAINED = 1 << 40
"""From here on step numbers are of no training: they draw the negatives of measurements, with the whole margin."""


class NonFinite(Exception):
    """A loss or a gradient that is no number; no weight has moved. The message lists the step's statistics."""


@dataclass(frozen=True)
class Outcome:
    """What a step came to; tensors stay on the device until something is logged."""

    loss: float
    grad_norm: float
    """Of the trunk's gradient before clipping."""
    stats: dict[str, torch.Tensor]
    """Of an accumulated step: losses added up over its parts, the others averaged over those that have them."""


class Learner(nn.Module):
    """What is trained, spread over the ranks.

    Args:
        objective: built from the same seed on every rank; its network and banks are moved to the device and wrapped here.
    """

    def __init__(self, objective: Objective, config: TrainConfig, ranks: Ranks) -> None:
        super().__init__()
        self.objective, self._ranks, self._config = objective, ranks, config
        self.network = objective.network.to(ranks.device)
        self.banks = {name: bank.to(ranks.device) for name, bank in objective.banks.items()}
        blocks = [*self.network.trunk.blocks, *(self.network.vit.head or ())]
        if config.compile:
            for block in blocks:
                block.compile()
        self.module = spread(_Forward(objective, config, ranks.device), blocks, ranks, config.parallel)
        self._mesh = init_device_mesh(ranks.device.type, (ranks.size,)) if ranks.size > 1 else None
        wanted = config.optimizer
        self.adamw = torch.optim.AdamW(
            _groups(self.network, wanted), lr=wanted.rate, betas=wanted.betas, eps=wanted.eps
        )
        self.rows = {
            name: RowAdamW(
                bank.parameters(),
                lr=wanted.rate * wanted.centers_rate,
                betas=wanted.betas,
                eps=wanted.eps,
                weight_decay=wanted.centers_decay,
                state_dtype=getattr(torch, wanted.centers_moments),
            )
            for name, bank in self.banks.items()
        }
        self.ema = Ema(self._parameters_by_name(), config.ema) if config.ema else None

    def step(self, parts: Sequence[Batch], *, step: int, rate: float) -> Outcome:
        """One optimizer step over the parts of this rank's share of the batch.

        Args:
            step: number of the step, from 0. rate: the trunk's learning rate.

        Raises:
            NonFinite: the loss or a gradient is NaN or infinite, on any rank; then it is raised on all.
        """
        self.train()
        totals = self._totals(parts) if len(parts) > 1 else None
        outcomes = []
        for number, part in enumerate(parts, start=1):
            with reducing(self.module, last=number == len(parts)):
                loss, stats = self.module(part.to(self._ranks.device), step, totals)
                loss.backward()
            outcomes.append(stats | {"loss": loss.detach()})
        stats = outcomes[0] if totals is None else _joined(outcomes)
        norm = self._gradient_norm()
        outcome = Outcome(float(stats.pop("loss")), float(_whole(norm)), stats)
        if self._ranks.any(not self._finite(outcome)):
            self._clear()
            raise NonFinite(_sentence(outcome))
        self._update(norm, rate)
        return outcome

    @torch.no_grad()
    def measure(self, parts: Iterable[Batch]) -> dict[str, float]:
        """Loss and statistics on the weights as they stand, averaged over the parts; nothing is learnt.

        A bank's are averaged over the parts that have something of its type, and are left out where no part has.
        """
        self.eval()
        found: dict[str, list[float]] = {}
        for number, part in enumerate(parts, start=UNTRAINED):
            loss, stats = self.module(part.to(self._ranks.device), number)
            numbers = {name: float(value) for name, value in (stats | {"loss": loss}).items()}
            for name, value in numbers.items():
                bank = name.rpartition("/")[0]
                # A bank of which nothing was asked has no top-1, and a loss of zero that means nothing.
                if not (bank and math.isnan(numbers[f"{bank}/top1"])):
                    found.setdefault(name, []).append(value)
        reshard(self.module)
        return {name: sum(values) / len(values) for name, values in found.items()}

    @torch.no_grad()
    def trunk_state(self) -> dict[str, torch.Tensor]:
        """The trunk's weights, averaged where an average is kept: whole, on the CPU. Every rank has to call it."""
        prefix = _prefix_of(self.network, self.network.trunk)
        source = self.ema.average if self.ema else self._parameters_by_name()
        own = {name.removeprefix(prefix): value for name, value in source.items() if name.startswith(prefix)}
        return {name: _whole(value.detach()).cpu().clone() for name, value in own.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors of a checkpoint, by name, as they stand: writing into them restores. Sharded ones are DTensors."""
        out = {f"network.{name}": value.detach() for name, value in self.network.state_dict().items()}
        if self.ema:
            out |= {f"ema.{name}": value for name, value in self.ema.average.items()}
        for name, parameter in self._parameters_by_name().items():
            out |= {f"adamw.{name}.{key}": value for key, value in _slots(self.adamw, parameter).items()}
        for bank_name, bank in self.banks.items():
            for name, parameter in bank.named_parameters():
                own = {name: parameter.detach()} | _slots(self.rows[bank_name], parameter)
                out |= {f"banks.{bank_name}.{key}": self._logical(value, bank.classes) for key, value in own.items()}
        return out

    def _parameters_by_name(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    def counts(self) -> dict[str, float]:
        """The optimizers' step counts, which are numbers and no tensors: the other half of a checkpoint."""
        out = {}
        for name, parameter in self._parameters_by_name().items():
            if parameter in self.adamw.state:
                out[f"adamw.{name}"] = float(self.adamw.state[parameter]["step"])
        for bank_name, optimizer in self.rows.items():
            for name, parameter in self.banks[bank_name].named_parameters():
                out[f"banks.{bank_name}.{name}"] = float(optimizer.state[parameter]["step"])
        return out

    def recount(self, counts: Mapping[str, float]) -> None:
        """Make room for the moments that a checkpoint holds, and take its counts; then write into `tensors()`."""
        for name, parameter in self._parameters_by_name().items():
            if f"adamw.{name}" in counts:
                self.adamw.state[parameter] = {
                    "step": torch.tensor(counts[f"adamw.{name}"], dtype=torch.float32),
                    "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                    "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
                }
        for bank_name, optimizer in self.rows.items():
            for name, parameter in self.banks[bank_name].named_parameters():
                optimizer.state[parameter]["step"].fill_(int(counts[f"banks.{bank_name}.{name}"]))

    def _totals(self, parts: Sequence[Batch]) -> dict[str, float]:
        """What the losses of an accumulated step are divided by: the weights of all its parts, of all ranks."""
        each = [self.objective.weights(part) for part in parts]
        names = list(each[0])
        return dict(zip(names, self._ranks.total([sum(one[name] for one in each) for name in names]), strict=True))

    def _gradient_norm(self) -> torch.Tensor:
        return get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])

    def _finite(self, outcome: Outcome) -> bool:
        """Also looks at the centers' gradients, which are this rank's alone: a bad row would show one step too late."""
        if not (math.isfinite(outcome.loss) and math.isfinite(outcome.grad_norm)):
            return False
        for bank in self.banks.values():
            for parameter in bank.parameters():
                if parameter.grad is not None:
                    parameter.grad = parameter.grad.coalesce()
                    if not parameter.grad.values().isfinite().all():
                        return False
        return True

    def _update(self, norm: torch.Tensor, rate: float) -> None:
        if self._config.optimizer.clip is not None:
            clip_grads_with_norm_(self.network.parameters(), self._config.optimizer.clip, norm)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        for optimizer in self.rows.values():
            optimizer.param_groups[0]["lr"] = rate * self._config.optimizer.centers_rate
            optimizer.step()
        self._clear()
        if self.ema:
            self.ema.update(self._parameters_by_name())

    def _clear(self) -> None:
        self.adamw.zero_grad()
        for optimizer in self.rows.values():
            optimizer.zero_grad()

    def _logical(self, local: torch.Tensor, classes: int) -> torch.Tensor:
        """This rank's rows of a bank as the part that they are of the whole; ranks split rows as `Shard(0)` does."""
        if self._mesh is None:
            return local
        shape = torch.Size((classes, *local.shape[1:]))
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(local, self._mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)


class _Forward(nn.Module):
    """Network and loss as one module: what DDP and FSDP2 wrap then returns plain tensors, whatever the network gives."""

    def __init__(self, objective: Objective, config: TrainConfig, device: torch.device) -> None:
        super().__init__()
        self.network, self._objective = objective.network, objective
        self._device, self._bf16 = device.type, config.precision == "bf16"

    def forward(
        self, batch: Batch, step: int, totals: Mapping[str, float] | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with torch.autocast(self._device, torch.bfloat16, enabled=self._bf16):
            outputs = self.network(batch)
        output = self._objective.loss(outputs, batch, step=step, totals=totals)
        return output.loss, output.stats


def _groups(network: nn.Module, wanted: OptimizerConfig) -> list[dict[str, Any]]:
    """Weight decay for the matrices of layers alone: no norm, bias, token, angle, scale, or table of embeddings."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            decays = parameter.ndim >= 2 and name.endswith("weight") and not isinstance(module, nn.Embedding)
            (matrices if decays else others).append(parameter)
    return [{"params": matrices, "weight_decay": wanted.weight_decay}, {"params": others, "weight_decay": 0.0}]


def _slots(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
    """The tensors that an optimizer keeps of a parameter; the count of steps is no tensor of the checkpoint."""
    return {key: value for key, value in optimizer.state.get(parameter, {}).items() if key != "step"}


def _joined(outcomes: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The statistics of an accumulated step from those of its parts."""
    every = {name: torch.stack([outcome[name].float() for outcome in outcomes]) for name in outcomes[0]}
    return {
        name: values.sum() if name.rpartition("/")[2] == "loss" else values.nanmean() for name, values in every.items()
    }


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _prefix_of(network: nn.Module, part: nn.Module) -> str:
    """How the names of the part's parameters begin in the network."""
    return next(f"{name}." for name, module in network.named_modules() if module is part)


def _sentence(outcome: Outcome) -> str:
    numbers = {"loss": outcome.loss, "gradient norm": outcome.grad_norm}
    numbers |= {name: float(value) for name, value in outcome.stats.items()}
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
