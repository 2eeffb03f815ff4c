"""Peak memory and time of the loss at K = 1M, rho = 0.1, for growing counts of regions: `python -m benchmarks loss`.

chunked: ours, chunks of 256 regions. whole: ours, all regions in one chunk. plain: the head of Partial FC as usually
written, positives and sampled rows, margin softmax, full logits by autograd's cross-entropy. The three compute the same
loss of the same sample, which is checked. Each runs in a fresh process, forward and backward, after a small warm-up.

Memory is what a lap adds to the process: embeddings, bank and libraries are there before. With a GPU it is torch's peak.

    python -m benchmarks.loss KIND REGIONS      one process; prints a JSON
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.measuring import best, keep, machine, timed
from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.cluster import cluster_loss
from rice_core.rice.loss.config import LossConfig

CLASSES, WIDTH, CHUNK, LAPS = 1_000_000, 64, 256, 2
REGIONS = (256, 1024, 4096)
KINDS = ("chunked", "whole", "plain")
CONFIG = LossConfig(form="softmax", negatives="partial_fc", rho=0.1, chunk=CHUNK)
"""The form and the sample of Partial FC, so that all compute the same number; the paper's form costs the same."""
SAMPLED = int(CONFIG.rho * CLASSES)
GIB = 2**30


def main() -> None:
    """Every kind at every count."""
    before = machine()
    laps = {kind: {count: _measure(kind, count) for count in REGIONS} for kind in KINDS}
    most = REGIONS[-1]
    for count in REGIONS:
        losses = [laps[kind][count]["loss"] for kind in KINDS]
        if max(losses) - min(losses) > 1e-4 * max(losses):
            raise SystemExit(f"The losses of {count} regions differ ({losses}): this would compare different things.")
    top = {kind: laps[kind][most] for kind in KINDS}
    times = {
        key: {count: round(laps["plain"][count][key] / laps["chunked"][count][key], 2) for count in REGIONS}
        for key in ("seconds", "cpu_seconds")
    }
    body = {
        "classes": CLASSES,
        "rho": CONFIG.rho,
        "width": WIDTH,
        "chunk": CHUNK,
        "device": top["plain"]["device"],
        "one_copy_of_the_logits_mib": {count: round(count * SAMPLED * 4 / 2**20, 1) for count in REGIONS},
        "measured": laps,
        "plain_over_chunked_memory": round(top["plain"]["peak_mib"] / top["chunked"]["peak_mib"], 1),
        "plain_over_chunked_time": times,
        "computed_at_the_paper_s_scale": paper_scale(),
    }
    computed = body["computed_at_the_paper_s_scale"]
    claims = [
        f"{most} regions, K = 1M, rho = 0.1, D = {WIDTH}: {top['chunked']['peak_mib']} MiB chunked, "
        f"{top['whole']['peak_mib']} MiB in one chunk, {top['plain']['peak_mib']} MiB by the plain head "
        f"({body['plain_over_chunked_memory']}x chunked)",
        "CPU time (wall time) of the plain head over the chunked loss, best of two laps: "
        + ", ".join(
            f"{times['cpu_seconds'][count]}x ({times['seconds'][count]}x) at {count} regions" for count in REGIONS
        ),
        f"computed, not measured: 327,680 regions on 8 GPUs take {computed['ours_gib']} GiB a GPU, "
        f"Partial FC's logits alone {computed['partial_fc_logits_gib']} GiB",
    ]
    keep("loss", claims, body, before)


def paper_scale(classes: int = 1_000_000, regions: int = 327_680, ranks: int = 8, width: int = 1024) -> dict[str, Any]:
    """Bytes a GPU from shapes alone, for 32K images x 10 object regions and the width of L/14."""
    config = LossConfig()
    distinct = classes * -math.expm1(-regions / classes) / ranks  # of uniform labels
    sampled = config.rho * classes / ranks
    touched = sampled + distinct * (1 - config.rho)
    parts = {
        "logits of a chunk": config.chunk * sampled * 4,
        # Unit vectors, their gradient, its sparse copy for the optimizer, and that coalesced.
        "touched centers": 4 * touched * width * 4,
        "embeddings and their gradient": 3 * regions / ranks * width * 4,
        "embeddings of a chunk": 4 * config.chunk * width * 4,
        "labels and weights of all ranks": regions * (3 * 8 + 4),
    }
    bank = {dtype: classes * width * (4 + 2 * size) for dtype, size in (("float32", 4), ("bfloat16", 2))}
    return {
        "classes": classes,
        "regions": regions,
        "ranks": ranks,
        "width": width,
        "ours_gib": round(sum(parts.values()) / GIB, 2),
        "ours_parts_gib": {name: round(size / GIB, 3) for name, size in parts.items()},
        "partial_fc_columns": round(max(sampled, distinct)),
        "partial_fc_logits_gib": round(regions * max(sampled, distinct) * 4 / GIB, 1),
        "bank_and_moments_gib": {dtype: round(size / ranks / GIB, 2) for dtype, size in bank.items()},
        "ten_million_classes_of_768_on_one_gpu_gb": {
            "moments in float32": round(10_000_000 * (768 * 12 + 4) / 1e9, 1),
            "moments in bfloat16": round(10_000_000 * (768 * 8 + 4) / 1e9, 1),
        },
    }


def _measure(kind: str, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.loss", kind, str(count)]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    lines = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()
    found: dict[str, Any] = json.loads(lines[-1])
    print(f"loss: {kind}, {count} regions: {found['peak_mib']} MiB, {found['seconds']} s", flush=True)
    return found


def one(kind: str, count: int) -> None:
    """Measure one kind at one count, in this process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rng = torch.Generator().manual_seed(0)
    centers = ClassCenters(CLASSES, WIDTH).to(device)
    x_RD = torch.randn(count, WIDTH, generator=rng).to(device).requires_grad_()
    labels_R = torch.randint(0, CLASSES, (count,), generator=rng).to(device)
    steps = {"chunked": _ours(CHUNK), "whole": _ours(count), "plain": _plain}
    steps[kind](centers, x_RD[:4].detach().requires_grad_(), labels_R[:4])
    peaks, laps, losses = [], [], []
    for _ in range(LAPS):
        x_RD.grad = centers.weight.grad = None
        base = _reset_peak(device)
        laps.append(timed(lambda: losses.append(steps[kind](centers, x_RD, labels_R))))
        peaks.append(_peak(device) - base)
    found = {
        "peak_mib": round(max(peaks) / 2**20, 1),
        "seconds": round(best(laps), 3),
        "cpu_seconds": round(min(lap.cpu for lap in laps), 3),
        "loss": losses[-1],
        "device": device,
    }
    print(json.dumps(found))


Step = Callable[[ClassCenters, torch.Tensor, torch.Tensor], float]


def _ours(chunk: int) -> Step:
    config = CONFIG.model_copy(update={"chunk": chunk})

    def step(centers: ClassCenters, x_RD: torch.Tensor, labels_R: torch.Tensor) -> float:
        weight_R = torch.ones(len(x_RD), device=x_RD.device)
        loss = cluster_loss(x_RD, labels_R[:, None], weight_R, centers, config, step=0).loss
        return _backward(loss)

    return step


def _plain(centers: ClassCenters, x_RD: torch.Tensor, labels_R: torch.Tensor) -> float:
    index_S = centers.sample(CONFIG, labels_R, step=0)
    weight_SD = centers.weight.detach()[index_S].requires_grad_()
    target_R = torch.searchsorted(index_S, labels_R)
    logits_RS = F.normalize(x_RD) @ F.normalize(weight_SD).T
    with torch.no_grad():  # the margin moves the positive alone, in place, as in Partial FC
        c_R = logits_RS[torch.arange(len(x_RD)), target_R]
        turned_R = c_R * math.cos(CONFIG.m) - (1 - c_R * c_R).clamp(min=1e-6).sqrt() * math.sin(CONFIG.m)
        logits_RS[torch.arange(len(x_RD)), target_R] = turned_R
    loss = F.cross_entropy(logits_RS.mul_(CONFIG.s), target_R)
    return _backward(loss)


def _backward(loss: torch.Tensor) -> float:
    loss.backward()
    if loss.is_cuda:
        torch.cuda.synchronize()
    return loss.item()


def _reset_peak(device: str) -> int:
    """Forget the peak so far; bytes in use now."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)  # what an earlier lap freed shall not hide what this one takes
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _peak(device: str) -> int:
    """The most bytes in use since."""
    if device == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


if __name__ == "__main__":
    one(sys.argv[1], int(sys.argv[2]))
