"""RegionLearner: an objective with its optimizers and moving average. Of the names of a checkpoint `Adam` gives those of the
trunk and of what trains beside it; here are

    ema.NAME             their moving average
    banks.TYPE.weight    class centers, one logical [K, D] whatever the number of ranks
    banks.TYPE.SLOT      the moments and step counts of their rows
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from rice_core.ranks import Ranks, reducing, reshard, spread
from rice_core.rice.batch import Batch
from rice_core.rice.config import TrainConfig
from rice_core.rice.loss.row_adamw import RowAdamW
from rice_core.rice.networks import TRUNK
from rice_core.train.adam import Adam, slots
from rice_core.train.ema import Ema
from rice_core.train.learner import StepOutcome

if TYPE_CHECKING:
    from rice_core.rice.objectives import Objective


UNTRAINED = 1 << 40
"""From here on step numbers are of no training: they draw the negatives of measurements, with the whole margin."""


class RegionLearner(nn.Module):
    """What is trained, spread over the ranks: a `rice_core.train.learner.Learner` whose rate is the trunk's.

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
        self._mesh = init_device_mesh(ranks.device.type, (ranks.size,)) if ranks.control is not None else None
        wanted = config.optimizer
        self.adam = Adam(
            self.network,
            rate=wanted.rate,
            weight_decay=wanted.weight_decay,
            betas=wanted.betas,
            eps=wanted.eps,
            clip=wanted.clip,
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
        self.ema = Ema(self.adam.parameters(), config.ema) if config.ema else None

    def step(self, parts: Sequence[Batch], *, step: int, rate: float) -> StepOutcome:
        self.train()
        totals = self._totals(parts) if len(parts) > 1 else None
        outcomes = []
        for number, part in enumerate(parts, start=1):
            with reducing(self.module, last=number == len(parts)):
                loss, stats = self.module(part.to(self._ranks.device), step, totals)
                loss.backward()
            outcomes.append(stats | {"loss": loss.detach()})
        stats = outcomes[0] if totals is None else _joined(outcomes)
        norm = self.adam.gradient_norm()
        outcome = StepOutcome(float(stats.pop("loss")), float(_whole(norm)), stats)
        outcome.check(self._ranks, finite=self._finite_centers())
        self.adam.update(norm, rate)
        for optimizer in self.rows.values():
            optimizer.param_groups[0]["lr"] = rate * self._config.optimizer.centers_rate
            optimizer.step()
            optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.adam.parameters())
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
        source = self.ema.average if self.ema else self.adam.parameters()
        own = {name: source[f"{TRUNK}.{name}"] for name, _ in self.network.trunk.named_parameters()}
        return {name: _whole(value.detach()).cpu().clone() for name, value in own.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        out = self.adam.tensors()
        if self.ema:
            out |= {f"ema.{name}": value for name, value in self.ema.average.items()}
        for name, bank in self.banks.items():
            own = {"weight": bank.weight.detach()} | slots(self.rows[name], bank.weight)
            out |= {f"banks.{name}.{key}": self._logical(value, bank.classes) for key, value in own.items()}
        return out

    def counts(self) -> dict[str, Any]:
        steps = {name: self.rows[name].state[bank.weight]["step"] for name, bank in self.banks.items()}
        return self.adam.counts() | {f"banks.{name}.weight": float(step) for name, step in steps.items()}

    def recount(self, counts: Mapping[str, Any]) -> None:
        self.adam.recount(counts)
        for name, bank in self.banks.items():
            self.rows[name].state[bank.weight]["step"].fill_(int(counts[f"banks.{name}.weight"]))

    def _totals(self, parts: Sequence[Batch]) -> dict[str, float]:
        """What the losses of an accumulated step are divided by: the weights of all its parts, of all ranks."""
        each = [self.objective.weights(part) for part in parts]
        names = list(each[0])
        return dict(zip(names, self._ranks.total([sum(one[name] for one in each) for name in names]), strict=True))

    def _finite_centers(self) -> bool:
        """Whether the centers' gradients are, which are this rank's alone: a bad row would show one step too late."""
        for weight in (bank.weight for bank in self.banks.values()):
            if weight.grad is not None:
                weight.grad = weight.grad.coalesce()
                if not weight.grad.values().isfinite().all():
                    return False
        return True

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


def _joined(outcomes: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The statistics of an accumulated step from those of its parts."""
    every = {name: torch.stack([outcome[name].float() for outcome in outcomes]) for name in outcomes[0]}
    return {
        name: values.sum() if name.rpartition("/")[2] == "loss" else values.nanmean() for name, values in every.items()
    }


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
