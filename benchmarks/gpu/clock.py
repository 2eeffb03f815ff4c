"""Time and memory of calls on a device."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Timing:
    """What a measurement found."""

    claims: list[str]
    numbers: dict[str, Any] = field(default_factory=dict)


def milliseconds(call: Callable[[], object], device: torch.device, *, rounds: int, warm_up: int = 2) -> float:
    """Median over the rounds, each from an idle device to an idle device."""
    for _ in range(warm_up):
        call()
    laps = []
    for _ in range(rounds):
        idle(device)
        began = time.perf_counter()
        call()
        idle(device)
        laps.append(time.perf_counter() - began)
    return round(1000 * statistics.median(laps), 3)


def idle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """The next `peak_gib` is of what comes after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float | None:
    """The most memory that tensors took since; None on a CPU."""
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if device.type == "cuda" else None


def waits(call: Callable[[], object], device: torch.device, *, kernels: int = 12) -> dict[str, Any]:
    """Of one call: how often the host launched something and waited for the device, and the kernels that took longest, in milliseconds."""
    call()
    idle(device)
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=kinds) as found:
        call()
        idle(device)
    names = Counter(event.name for event in found.events())
    busy = Counter[str]()
    for event in found.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            busy[event.name[:80]] += event.device_time
    return {
        "launches": sum(count for name, count in names.items() if name.startswith("cudaLaunchKernel")),
        "waits": sum(count for name, count in names.items() if name.startswith("cudaStreamSynchronize")),
        "operations": sum(count for name, count in names.items() if name.startswith("aten::")),
        "busy_ms": round(sum(busy.values()) / 1000, 2),
        "kernels_ms": {name: round(time / 1000, 2) for name, time in busy.most_common(kernels)},
    }
