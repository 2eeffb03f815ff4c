"""kill -9 at many random points, then the same command again: nothing torn, nothing lost, the same results."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rice_core.store import Store

HARNESS = Path(__file__).with_name("killing.py")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def results(root: Path) -> dict[str, Any]:
    """Everything of every record that a clock does not touch, with its scores."""
    store = Store(root)
    records, problems = store.scan()
    assert problems == []
    timed = {"seconds": True, "images_per_second": True, "created": True}
    # Sources may be edited while the tests run; what they say of the code is tested elsewhere.
    code = {"evidence": {"code", "commit", "dirty"}, "taints": True}
    return {r.cell.id: (r.model_dump(exclude=timed | code), store.scores(r)) for r in records}


@pytest.fixture(scope="module")
def uninterrupted(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("whole")
    subprocess.run([sys.executable, HARNESS, small_world, root], check=True, env=ENVIRONMENT)
    return results(root)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_and_resumed_equals_uninterrupted(
    small_world: Path, uninterrupted: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    words = [sys.executable, HARNESS, small_world, tmp_path, str(seed), "0.6"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    kills, lost = map(int, done.stdout.split())
    assert kills >= 3
    assert lost == 0
    assert len(uninterrupted) == 8
    assert results(tmp_path) == uninterrupted
    assert not list(tmp_path.rglob("*.tmp"))
