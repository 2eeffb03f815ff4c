"""The jobs of curation over a Ray cluster. Its machines see the same paths (a shared file system): jobs read images and
write their pieces by path, as local workers do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from rice_core.errors import MissingExtra
from rice_core.progress import Progress


def spread_over_ray(
    job: Callable[[Any], object], tasks: Sequence[Any], *, workers: int, progress: Progress, what: str
) -> None:
    """Run `job` on every task; Ray places them, so `workers` says nothing here.

    Raises:
        MissingExtra: ray is not installed.
    """
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingExtra("--ray", "ray") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)  # joins the cluster of RAY_ADDRESS, else starts one on this machine
    remote = ray.remote(job)
    waiting = [remote.remote(task) for task in tasks]
    for _ in progress.track(tasks, what):
        done, waiting = ray.wait(waiting, num_returns=1)
        ray.get(done)
