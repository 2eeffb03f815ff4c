"""One thread a process: pytest-xdist brings the parallelism, and spinning OpenMP threads would fight over the cores."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# `shards` and `training`, which tests of trainings share, here and in the processes that they start.
sys.path.insert(0, str(Path(__file__).parent / "rice"))


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world in COCO format, drawn once a session and read by the reader that real data takes."""
    from rice_core.world.layouts.coco import write_coco

    return write_coco(tmp_path_factory.mktemp("world") / "coco", seed=7, train=140, val=80)
