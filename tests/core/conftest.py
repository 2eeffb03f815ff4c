"""A small world in COCO format, drawn once a session and read by the reader that real data takes."""

from pathlib import Path

import pytest

from rice_core.world.layouts.coco import write_coco


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = write_coco(tmp_path_factory.mktemp("world") / "coco", seed=7, train=140, val=80)
    return folder
