"""One thread a process: pytest-xdist brings the parallelism, and spinning OpenMP threads would fight over the cores."""

import os
import subprocess
import sys
from collections.abc import Callable
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


@pytest.fixture
def left_by_a_dead_process() -> Callable[[Path], Path]:
    """The name that a process which has ended gave to what it wrote beside a path."""

    def left(path: Path) -> Path:
        code = f"from pathlib import Path; from rice_core.disk.temporaries import beside; print(beside(Path({str(path)!r})))"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return Path(done.stdout.strip())

    return left
