"""Ranks of one training, each in a process that is forked from the test's."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


def exit_codes(target: Callable[..., None], *given: Any, world: int = 2) -> list[int | None]:
    """Of `target(rank, *given)` in `world` processes; None of one that had not ended after 100 seconds."""
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=target, args=(rank, *given)) for rank in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    return codes
