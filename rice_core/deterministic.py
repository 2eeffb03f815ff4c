"""Deterministic: torch kept to what repeats itself to the bit, for as long as something is measured (`ricebench run --deterministic`).

On a CPU runs are alike without it, with as many threads. On a GPU some sums are made in whatever order threads come; torch has other algorithms for
most of them, cuBLAS repeats itself with a workspace of a fixed size, and cuDNN where it tries nothing out. What has no such algorithm is refused.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from rice_core.errors import UserError

ASKED = "RICEBENCH_DETERMINISTIC"
"""Set in the environment meanwhile: a child process is as deterministic as who started it."""
_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_REPEATS = (":4096:8", ":16:8")
"""NVIDIA's two."""


def prepare() -> None:
    """What has to be said before CUDA is begun; torch is not loaded for it.

    Raises:
        UserError: CUDA was begun without it, or the environment says something else.
    """
    said = os.environ.get(_WORKSPACE)
    if said not in (None, *_REPEATS):
        raise UserError(
            f"--deterministic needs {_WORKSPACE}={_REPEATS[0]}, and the environment has {said}; unset it, or leave out --deterministic."
        )
    torch = sys.modules.get("torch")
    if said is None and torch is not None and torch.cuda.is_initialized():
        raise UserError(
            f"CUDA was begun in this process, and then cuBLAS cannot be made deterministic any more; set {_WORKSPACE}={_REPEATS[0]} before Python starts."
        )
    os.environ[_WORKSPACE] = said or _REPEATS[0]


@contextlib.contextmanager
def deterministic(device: str, *, wanted: bool = True) -> Iterator[None]:
    """Torch as told above for this while, and as it was afterwards; float32 products are float32's, neither TF32 nor bfloat16.

    Args:
        device: auto, or such as cpu, cuda or cuda:1. wanted: where not, nothing is done, and torch is not loaded.

    Raises:
        UserError: the device promises nothing, or as `prepare`.
    """
    if not wanted:
        yield
        return
    import torch

    kind = _kind(device)
    if kind not in ("cpu", "cuda"):
        raise UserError(f"--deterministic holds on cpu and cuda, and {kind} promises nothing; use --device cpu.")
    if kind == "cuda":
        prepare()
    cudnn, asked = torch.backends.cudnn, os.environ.get(ASKED)
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    tried, repeats, precision = cudnn.benchmark, cudnn.deterministic, torch.get_float32_matmul_precision()
    torch.use_deterministic_algorithms(True)
    cudnn.benchmark, cudnn.deterministic, os.environ[ASKED] = False, True, "1"
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])
        cudnn.benchmark, cudnn.deterministic = tried, repeats
        torch.set_float32_matmul_precision(precision)
        if asked is None:
            os.environ.pop(ASKED, None)
        else:
            os.environ[ASKED] = asked


def _kind(device: str) -> str:
    import torch

    if device != "auto":
        return torch.device(device).type
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def cannot_repeat(error: Exception) -> str:
    """In words, where torch has refused an operation because of it; empty where it is something else."""
    if "use_deterministic_algorithms" not in str(error):
        return ""
    operation = str(error).split(" does not have")[0].split()[-1]
    return f"{operation} has no algorithm here that repeats itself to the bit; leave out --deterministic, or use --device cpu"
