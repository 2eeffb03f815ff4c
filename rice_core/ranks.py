"""The ranks of a training: who they are, what they agree on, and how the trunk is spread over them.

Started alone, a process is a world of one and no process group exists. Started by torchrun it takes RANK, WORLD_SIZE and
LOCAL_RANK from there: NCCL on CUDA, gloo on a CPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rice_core.errors import UserError, did_you_mean

_PATIENCE = timedelta(hours=12)
"""How long the others wait for rank 0 to probe or to write; a collective of the training itself has torch's own limit."""


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks."""

    rank: int
    size: int
    device: torch.device
    control: Any = None
    """gloo group for what is agreed on the host, with a long patience; None alone. torchrun's one rank has one: what it wraps
    a model in is then tried on the smallest machine."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until every rank is here."""
        if self.control is not None:
            dist.barrier(self.control)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on some rank."""
        return bool(self.greatest([int(flag)])[0])

    def greatest(self, numbers: list[int]) -> list[int]:
        """Of each number the greatest over the ranks."""
        if self.control is None:
            return numbers
        found = torch.tensor(numbers)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return [int(number) for number in found]

    def total(self, numbers: list[float]) -> list[float]:
        """Of each number the sum over the ranks."""
        if self.control is None:
            return numbers
        found = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.SUM, group=self.control)
        return [float(number) for number in found]

    def gather(self, value: Any) -> list[Any]:
        """A plain value of each rank, on every rank, in their order."""
        if self.control is None:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def collect(self, value: Any) -> list[Any]:
        """A plain value of each rank, in their order, on the first one; elsewhere nothing."""
        if self.control is None:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        dist.gather_object(value, values, group=self.control)
        return values or []

    def agree(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        return self.gather(value)[0]


@contextlib.contextmanager
def join(device: str, *, init_method: str = "env://") -> Iterator[Ranks]:
    """The ranks of this process; its process groups end with the block.

    Args:
        device: auto (CUDA where there is one, else the CPU), cpu, cuda, cuda:1, mps. Under torchrun CUDA means one GPU a rank.

    Raises:
        UserError: there is no such device, or fewer GPUs than ranks on this machine.
    """
    if "RANK" not in os.environ:
        yield Ranks(0, 1, _device(device, 0))
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = _device(device, int(os.environ.get("LOCAL_RANK", rank)))
    backend = "gloo"
    if place.type == "cuda":
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=size)
    try:
        yield Ranks(rank, size, place, dist.new_group(backend="gloo", timeout=_PATIENCE))
    finally:
        dist.destroy_process_group()


def spread(module: nn.Module, blocks: list[nn.Module], ranks: Ranks, how: Literal["ddp", "fsdp2"]) -> nn.Module:
    """`module` over the ranks: a copy on each with averaged gradients, or FSDP2 with every block a unit of its own.

    Raises:
        UserError: a parameter is a single number, which FSDP2 does not take.
    """
    if ranks.control is None:
        return module
    if how == "fsdp2":
        # A second of import that only this needs.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        single = [name for name, parameter in module.named_parameters() if parameter.ndim == 0]
        if single:
            raise UserError(
                f"fsdp2 does not take parameters of a single number ({', '.join(single)}); use parallel: ddp."
            )
        mesh = init_device_mesh(ranks.device.type, (ranks.size,))
        for block in blocks:
            fully_shard(block, mesh=mesh)
        return cast(nn.Module, fully_shard(module, mesh=mesh))
    ids = [ranks.device] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)


@contextlib.contextmanager
def reducing(module: nn.Module, last: bool) -> Iterator[None]:
    """Exchange gradients in the last part of an accumulated step alone."""
    if hasattr(module, "set_requires_gradient_sync"):  # FSDP2's
        cast(Any, module).set_requires_gradient_sync(last)
        yield
    elif isinstance(module, DistributedDataParallel) and not last:
        with module.no_sync():
            yield
    else:
        yield


def reshard(module: nn.Module) -> None:
    """After a forward pass without a backward one: FSDP2 leaves its weights gathered until then, under other names."""
    for part in module.modules():
        if hasattr(part, "reshard"):  # FSDP2's
            cast(Any, part).reshard()


def _device(wanted: str, local_rank: int) -> torch.device:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(f"cuda:{local_rank}") if wanted == "cuda" else _parse(wanted)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"there is no device {str(device)!r} here ({reason}); use --device cpu or fewer ranks."
        ) from None
    return device


def _parse(wanted: str) -> torch.device:
    try:
        return torch.device(wanted)
    except RuntimeError:
        raise UserError(
            f"there is no device {wanted!r}; {did_you_mean(wanted, ('auto', 'cpu', 'cuda'), {'gpu': 'cuda'})}use --device auto, cpu or cuda."
        ) from None
